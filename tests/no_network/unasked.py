"""What is asserted of a traced command: nothing sent, nothing written outside of what the privacy guide names."""

from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from tests.no_network import tracing

# The guide's table "What libraries create" names these, with the reason; paths are below the home or TMPDIR.
MTEB = ("home/.cache/mteb",)
MATPLOTLIB = ("home/.cache/matplotlib", "home/.config/matplotlib")
TORCH = ("tmp/torchinductor_*",)
RAY = ("home/.ray", "tmp/ray")
# What Ray tries at its start and has no switch for: it asks in which cloud it is, at the address of the metadata service
# and at that of its name, which is looked up; and it learns its own address by a socket that it sends nothing over.
RAY_ADDRESSES = ('inet_addr("169.254.169.254")', "htons(53)")


def assert_nothing(
    observed: tracing.Observed,
    place: Path,
    *,
    named: Sequence[str] = (),
    opens_sockets: bool = False,
    loopback: bool = False,
    addresses: Sequence[str] = (),
) -> None:
    """Fail where a command sent or wrote something that it was not asked to.

    Args:
        observed: What it did.
        place: The folder it was run in: it may write into ``work/`` and into ``tmp/``, which must be empty afterwards.
        named: Patterns of paths below ``place`` that may be made too, and stay, with what is in them.
        opens_sockets: Internet sockets may be opened, but not used: urllib3 does so at its import, to learn of IPv6.
        loopback: Its processes may talk to each other.
        addresses: Parts of calls that may be seen.
    """
    assert observed.returncode == 0, observed.output
    sent = observed.sent_beyond_this_machine() if loopback else observed.sent
    unasked = {
        "sent": [call for call in sent if not any(part in call for part in addresses)],
        "sockets": [] if opens_sockets else observed.internet,
        "written outside": [
            path
            for path in observed.written_outside(place / "work", place / "tmp")
            if not is_named(Path(path), place, named)
        ],
        "left behind": [
            str(path)
            for folder in ("home", "tmp")
            for path in (place / folder).rglob("*")
            if not is_named(path, place, named)
        ],
    }
    seen = {what: found for what, found in unasked.items() if found}
    assert not seen, seen


def is_named(path: Path, place: Path, named: Sequence[str]) -> bool:
    """Whether a path matches, lies below one that matches, or leads to it."""
    if not path.is_relative_to(place):
        return False
    below = path.relative_to(place).as_posix()
    return any(fnmatch(f"{below}/", f"{name}/*") or name.startswith(f"{below}/") for name in named)

"""A command as its user runs it, under strace: what it and its children send, and what they write."""

import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SENDING = ("connect", "sendto", "sendmsg", "sendmmsg")
WRITING = (
    "open", "openat", "openat2", "creat", "mkdir", "mkdirat", "mknod", "mknodat", "rename", "renameat", "renameat2",
    "link", "linkat", "symlink", "symlinkat", "unlink", "unlinkat", "rmdir", "truncate",
)  # fmt: skip
# "?" before a name: not every processor's Linux has each of these calls.
TRACED = ",".join(f"?{call}" for call in ("socket", *SENDING, *WRITING))
INTERNET = re.compile(r"\bAF_INET6?\b")
LOOPBACK = re.compile(r'inet_addr\("127\.|inet_pton\(AF_INET6, "(::1|::ffff:127\.[\d.]+)"')
OPENED_FOR_WRITING = re.compile(r"\bO_(WRONLY|RDWR|CREAT|TRUNC|APPEND)\b")
# AT_FDCWD</folder>, "name": a folder and a name below it; or a name alone.
NAMED = re.compile(r'(?:[\w]+<(?P<folder>[^>]*)>, )?"(?P<name>(?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Observed:
    """What a command and all its children did.

    Attributes:
        returncode: Its exit code.
        output: Standard output and standard error.
        internet: Calls that open an internet socket.
        sent: Calls that connect to or send to an internet address, successful or not.
        written: Paths that were created, opened for writing, renamed or removed, successfully.
    """

    returncode: int
    output: str
    internet: list[str]
    sent: list[str]
    written: set[Path]

    def sent_beyond_this_machine(self) -> list[str]:
        """The calls of ``sent`` whose address is not a loopback address."""
        return [call for call in self.sent if not LOOPBACK.search(call)]

    def written_outside(self, *allowed: Path) -> list[str]:
        """The paths of ``written`` that lie below none of ``allowed``, devices left out."""
        inside = (*allowed, Path("/dev"), Path("/proc"))
        return sorted(str(path) for path in self.written if not any(path.is_relative_to(root) for root in inside))


@functools.cache
def missing() -> str | None:
    """Why nothing can be traced here; None where it can."""
    if sys.platform != "linux":
        return "strace is a tool of Linux"
    if shutil.which("strace") is None:
        return "strace is missing: apt-get install strace"
    tried = subprocess.run(["strace", "-f", "-o", os.devnull, "true"], capture_output=True, check=False)
    return None if tried.returncode == 0 else "strace may not trace here: allow ptrace in this container"


@functools.cache
def _without_network() -> tuple[str, ...]:
    """The words before a command that leave it the loopback device alone; none where the system forbids it."""
    up = 'ip link set lo up && exec "$@"'  # Ray's processes talk to each other over it
    words = ("unshare", "--map-root-user", "--net", "sh", "-c", up, "sh")
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return ()
    tried = subprocess.run([*words, "true"], capture_output=True, check=False)
    return words if tried.returncode == 0 else ()


def observe(
    command: Sequence[str], place: Path, environment: Mapping[str, str] | None = None, *, timeout: float = 300
) -> Observed:
    """Run a command with a home of its own, in an empty network, under strace.

    Args:
        command: The program and its arguments.
        place: Gets ``home/`` and ``tmp/``, the command's ``HOME`` and ``TMPDIR``, and ``work/``, its working directory.
        environment: Variables beside ``PATH``, ``HOME``, ``TMPDIR`` and Python's own.
        timeout: Seconds after which the command is stopped and the test fails.
    """
    for name in ("home", "tmp", "work", "trace"):
        (place / name).mkdir(exist_ok=True)
    trace = place / "trace" / "calls"
    for old in trace.parent.iterdir():
        old.unlink()
    tracer = ["strace", "-ff", "-qq", "-y", "--seccomp-bpf", "-o", str(trace), "-e", f"trace={TRACED}"]
    ran = subprocess.run(
        [*_without_network(), *tracer, *command],
        cwd=place / "work",
        env=_environment(place) | dict(environment or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )
    calls = [call for file in trace.parent.iterdir() for call in file.read_text(errors="replace").splitlines()]
    assert calls, f"strace wrote nothing: {ran.stdout}"
    return Observed(
        ran.returncode,
        ran.stdout,
        internet=[call for call in calls if call.startswith("socket(") and INTERNET.search(call)],
        sent=[call for call in calls if call.startswith(SENDING) and INTERNET.search(call)],
        written={path for call in calls for path in _written(call, place / "work")},
    )


def _environment(place: Path) -> dict[str, str]:
    """As little as a user has: no switch of any library is set."""
    given = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "OMP_NUM_THREADS") if name in os.environ}
    # Compiled modules beside their sources are Python's own, and differ from run to run.
    own = {"PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8", "COLUMNS": "120"}
    return given | own | {"HOME": str(place / "home"), "TMPDIR": str(place / "tmp")}


def _written(call: str, working: Path) -> list[Path]:
    """The paths that a line of strace says were changed."""
    name, _, rest = call.partition("(")
    arguments, _, result = rest.rpartition(" = ")
    if name not in WRITING or result.startswith(("-1", "?")):
        return []
    if name.startswith("open") and not OPENED_FOR_WRITING.search(arguments):
        return []
    named = list(NAMED.finditer(arguments))
    if name.startswith("symlink"):
        del named[0]  # what the link points to is only read out, never touched
    found = []
    for match in named:
        below = working / (match["folder"] or "") / match["name"]
        found.append(Path(os.path.normpath(below)))
    return found

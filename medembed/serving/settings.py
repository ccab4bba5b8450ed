"""Settings of a server. They can be pickled, so that each worker process makes the same server."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from medembed.errors import SettingError
from medembed.runtime.tokenizer import Overlong

HOST, PORT = "127.0.0.1", 8321
_ORIGIN = re.compile(r"https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(:[0-9]+)?")


@dataclass(frozen=True)
class Limits:
    """Bounds of what a server takes on.

    Attributes:
        body_bytes: Bytes of a request's body.
        texts: Texts of a request. OpenAI's own interface takes as many.
        tokens: Tokens of a request, estimated from its characters.
        hits: Rows of a search.
        requests: Requests that are answered at a time.
        queue_tokens: Tokens that wait to be encoded.
        queue_s: Seconds that the tokens which wait already would take.
        header_s: Seconds in which a request's head has to arrive.
        body_s: Seconds in which its body has to arrive.
        answer_s: Seconds in which it is answered, and in which a client has to go on reading the answer.
        stop_s: Seconds that requests have to end in after the server was told to stop.
    """

    body_bytes: int = 4 << 20
    texts: int = 2048
    tokens: int = 1_000_000
    hits: int = 1000
    requests: int = 256
    queue_tokens: int = 4_000_000
    queue_s: float = 10.0
    header_s: float = 10.0
    body_s: float = 30.0
    answer_s: float = 120.0
    stop_s: float = 30.0


@dataclass(frozen=True)
class Serving:
    """What a server serves and to whom.

    Attributes:
        model: Name, hub id or folder of the model.
        corpora: Folders of embedded corpora and token indexes, by name.
        late_interaction: Model that ranks; None for no ranking.
        host: Address to listen on.
        port: Port to listen on.
        device: Device of the models.
        threads: CPU threads of each worker; None for one per usable core.
        precision: Number format of the models.
        overlong: Treatment of texts above the limit where a request says nothing.
        keys: File of API keys; None for a server that anybody on this machine may use.
        audit: File of the audit log; None for none.
        access_log: Whether each answer is told on standard error.
        origins: Sites whose pages may ask from a browser, such as ``https://wiki.example.org``; none by default.
        limits: Bounds.
    """

    model: str
    corpora: dict[str, Path] = field(default_factory=dict)
    late_interaction: str | None = None
    host: str = HOST
    port: int = PORT
    device: str = "auto"
    threads: int | None = None
    precision: str = "auto"
    overlong: Overlong = "truncate"
    keys: Path | None = None
    audit: Path | None = None
    access_log: bool = False
    origins: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)


def is_loopback(host: str) -> bool:
    """Tell whether an address is reached from this machine alone."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def check_open(host: str, keys: Path | None, *, open_to_all: bool) -> None:
    """Refuse to serve other machines without keys, unless that is said.

    Raises:
        SettingError: The host is reached from elsewhere, and there are no keys.
    """
    if keys is None and not open_to_all and not is_loopback(host):
        raise SettingError(
            f"--host {host} is reached from other machines, and there are no keys: anybody could search the corpora. Make a key with "
            "medembed keys add keys.json NAME and give --keys keys.json, or say --open-to-all"
        )


def checked_origins(given: Sequence[str]) -> tuple[str, ...]:
    """Sites whose pages may ask.

    Raises:
        SettingError: One is no site's origin: scheme and host, and a port where it is not the usual one.
    """
    for origin in given:
        if _ORIGIN.fullmatch(origin) is None:
            raise SettingError(
                "--allow-origin: give the site's address without a path, such as https://wiki.example.org; * for every site is not taken"
            )
    return tuple(given)


def named(folders: list[Path]) -> dict[str, Path]:
    """Corpora by the names of their folders.

    Raises:
        SettingError: Two folders of one name.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        name = folder.expanduser().resolve().name
        if name in found:
            raise SettingError(f"--corpus: two folders are named {name!r}, and requests name them so: rename one")
        found[name] = folder.expanduser().resolve()
    return found

"""API keys in a file: hashes, names, and what each may reach."""

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medembed import border
from medembed.errors import RefusedError, ServingError
from medembed.storage import durable

Use = Literal["embed", "rerank", "search"]
USES: tuple[Use, ...] = ("embed", "rerank", "search")
Scope = Mapping[str, Sequence[str]] | Literal["all"]
"""Columns and the values of them that rows may have, or all rows."""

MOST_BYTES = 8 << 20
PREFIX = "me_"
# 256 bits: what is random throughout needs no slow hash, which would be a way to keep the server busy
KEY_BYTES = 32
MOST_KEY = 256


class StoredKey(BaseModel):
    """A key as the file has it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1, max_length=200)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    corpora: list[str] | None = None
    scope: dict[str, list[str] | None] = {}
    may: list[Use] = list(USES)


class KeyFile(BaseModel):
    """The file of keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keys: list[StoredKey]


@dataclass(frozen=True)
class Key:
    """What the holder of a key may do.

    Attributes:
        name: Its name, which the audit log has.
        corpora: Corpora that it reaches; None for all.
        scope: Columns that each search has to name a value of. None as values: any, one at a time.
        may: What it may be used for.
    """

    name: str
    corpora: frozenset[str] | None = None
    scope: Mapping[str, Sequence[str] | None] = field(default_factory=dict)
    may: frozenset[str] = frozenset(USES)

    def check_use(self, use: str) -> None:
        """Refuse what the key is not for.

        Raises:
            RefusedError: It is for something else.
        """
        if use not in self.may:
            raise RefusedError(
                403, f"this key may be used for {', '.join(sorted(self.may)) or 'nothing'}, not for {use}"
            )

    def check_scope(self, asked: Scope) -> None:
        """Refuse a scope that is wider than the key's.

        Args:
            asked: The request's own. All rows are for keys that are bound to no scope.

        Raises:
            RefusedError: A column that the key is bound to is left out, or a value is not among the key's.
        """
        named: Mapping[str, Sequence[str]] = {} if asked == "all" else asked
        for column, values in self.scope.items():
            if not named.get(column):
                raise RefusedError(
                    403,
                    f'this key is bound to a scope: name it in each search, for instance "scope": {{"{column}": "…"}}',
                )
            if values is None and len(named[column]) > 1:
                raise RefusedError(403, f"this key reaches one value of {column!r} at a time: name one")
            if values is not None and not set(named[column]) <= set(values):
                raise RefusedError(403, f"this key does not reach what the scope names in {column!r}")


ANYBODY = Key("")


class Keyring:
    """The keys of a file, which is read again when it is asked to be.

    Args:
        path: The file; None where no key is needed.

    Raises:
        ServingError: The file is missing or not one of keys.
    """

    def __init__(self, path: Path | None) -> None:
        """Read the file."""
        self._path = path
        self._keys: list[tuple[bytes, Key]] = []
        self.reload()

    @property
    def needed(self) -> bool:
        """Whether a request needs a key."""
        return self._path is not None

    def reload(self) -> None:
        """Read the file again. What was read before stays where it cannot be read.

        Raises:
            ServingError: It cannot be read.
        """
        if self._path is not None:
            self._keys = [(bytes.fromhex(key.sha256), _reach(key)) for key in read(self._path).keys]

    def find(self, authorization: str | None) -> Key:
        """The key that a request names.

        Each stored hash is compared, in a time that does not depend on where they differ.

        Args:
            authorization: The header; None where there is none.

        Raises:
            RefusedError: None is named, or one that is not in the file.
        """
        if not self.needed:
            return ANYBODY
        kind, _, given = (authorization or "").partition(" ")
        if kind.lower() != "bearer" or not given.strip():
            raise RefusedError(401, "this server needs a key: send the header Authorization: Bearer KEY")
        digest = hashlib.sha256(given.strip()[:MOST_KEY].encode("utf-8", "surrogatepass")).digest()
        found = [key for stored, key in self._keys if hmac.compare_digest(stored, digest)]
        if not found:
            raise RefusedError(401, "this key is not one of this server's")
        return found[0]


def _reach(stored: StoredKey) -> Key:
    corpora = None if stored.corpora is None else frozenset(stored.corpora)
    return Key(stored.name, corpora, stored.scope, frozenset(stored.may))


def read(path: Path) -> KeyFile:
    """Read a file of keys.

    Raises:
        ServingError: It is missing, not JSON, or not one of keys.
    """
    again = "medembed keys add makes one"
    try:
        content = border.read_json_object(path, error=ServingError, most=MOST_BYTES)
        return KeyFile.model_validate(content)
    except FileNotFoundError:
        raise ServingError(f"there is no file of keys at {path}: {again}") from None
    except ValidationError as error:
        # its own message quotes what was read
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"] if isinstance(part, int) or part in _FIELDS)
        raise ServingError(f"{path} is not a file of keys ({place or 'its top'}: {first['type']}): {again}") from None


_FIELDS = {*KeyFile.model_fields, *StoredKey.model_fields}


def add(
    path: Path,
    name: str,
    *,
    corpora: Sequence[str] | None,
    scope: Mapping[str, Sequence[str] | None],
    may: Sequence[Use],
) -> str:
    """Make a key and add its hash to a file, which is made if missing.

    Args:
        path: The file.
        name: The key's name in the audit log.
        corpora: Corpora that it reaches; None for all.
        scope: Columns that each search has to name, and their values.
        may: What it may be used for.

    Returns:
        The key. It is kept nowhere.

    Raises:
        ServingError: The file is no file of keys, or has a key of that name.
        WriteError: It cannot be written.
    """
    known = read(path).keys if path.exists() else []
    if any(key.name == name for key in known):
        raise ServingError(f"{path} has a key named {name!r} already: medembed keys remove takes it away")
    key = PREFIX + secrets.token_urlsafe(KEY_BYTES)
    made = StoredKey(
        name=name,
        sha256=hashlib.sha256(key.encode()).hexdigest(),
        corpora=None if corpora is None else list(corpora),
        scope={column: None if values is None else list(values) for column, values in scope.items()},
        may=list(may),
    )
    _write(path, [*known, made])
    return key


def remove(path: Path, name: str) -> None:
    """Take a key out of a file.

    Raises:
        ServingError: There is none of that name.
    """
    known = read(path).keys
    left = [key for key in known if key.name != name]
    if len(left) == len(known):
        raise ServingError(f"{path} has no key named {name!r}: medembed keys list names them")
    _write(path, left)


def _write(path: Path, keys: Sequence[StoredKey]) -> None:
    told: dict[str, Any] = {"keys": [key.model_dump() for key in keys]}
    durable.write_text_whole(path, json.dumps(told, ensure_ascii=False, indent=1) + "\n")
    path.chmod(0o600)

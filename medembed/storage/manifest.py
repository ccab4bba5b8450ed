"""Manifest of a store, and rules for every kind of store.

A store exists through its manifest, which is written last.

store/
├── manifest.json                       written last: what is not in it does not exist
├── shards/000012.<content>.<sha256>.arrow      id, text, source, line, text_hash, kept columns, vectors
├── deleted.<sha256>.arrow              numbers of deleted rows, where there are any
├── <part>.<content>.<sha256>.<ending>  further files of a kind, such as a codec
├── rejects.jsonl                       rows that the last run left out, with line and reason
└── derived/                            made from the shards for speed; may be deleted at any time
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from medembed import __version__, border
from medembed.errors import (
    CorpusBusyError,
    CorpusDamagedError,
    CorpusError,
    CorpusModelError,
    CorpusUnfinishedError,
    CorpusVersionError,
    MedEmbedError,
)
from medembed.storage.durable import hold, write_text_whole
from medembed.storage.modes import Mode
from medembed.storage.paths import below, check_tree, plain_name
from medembed.storage.places import HOLDER, LOCK, MANIFEST, REJECTS, SHARDS, is_store
from medembed.typed import KEPT_TYPES

FORMAT = 2
# the column of a store of passages that holds the id of each one's note
NOTE = "note"
# columns of a passage and their types
PASSAGE_COLUMNS = {NOTE: "string", "start": "int", "end": "int", "section": "string", "heading": "string"}
CUTTING = {"max_tokens", "overlap"}
RepeatedText = Literal["each", "once", "near"]
"""Whether each row is encoded, or each text once: the very same texts, or those that differ in layout alone.

Search then shows the first row of a text and names the others.
"""
FileName = Annotated[str, AfterValidator(plain_name)]
"""A manifest's name of a file below its folder. A name that leads out of it makes the manifest unreadable."""
# A key that nobody knows is a damaged one: with "deleted" misspelt, what was deleted would be there again.
KNOWN_KEYS = ConfigDict(extra="forbid")
Count = Annotated[int, Field(strict=True, ge=0, le=1 << 40)]
"""A number of rows or vectors. A larger one makes the manifest unreadable."""


def _known(kind: str) -> str:
    if kind not in KEPT_TYPES:
        raise ValueError("no type of a column")
    return kind


ColumnKind = Annotated[str, AfterValidator(_known)]
"""The type of a kept column. Another one makes the manifest unreadable."""
# the names of shards, parts and lists of deleted rows, of any kind and format
OWN_NAME = re.compile(r"((\d{6}|codec)\.[0-9a-f]+|deleted|lists)\.[0-9a-f]+\.(parquet|arrow|safetensors)")
# what only the manifests of format 1 have, and the kind it was
EARLIER = {"embedding": "embedded corpus", "codec": "token index"}


class Encoding(BaseModel):
    """Settings that decide the stored vectors. They also decide which queries may be compared with them.

    Attributes:
        model: Name or hub id of the model, or the absolute path of its folder.
        revision: Commit of a hub model, hash of a local one; with the engine's name where that is not a usual one.
        weights: Hash of the weights, tokenizer and configuration as they were on disk.
        dimension: Length of a vector before it is packed.
        max_seq_length: Tokens read of each text.
        overlong: What was done with longer texts.
    """

    model_config = KNOWN_KEYS | ConfigDict(frozen=True)

    model: str
    revision: str
    weights: str
    dimension: int
    max_seq_length: int
    overlong: str

    def __str__(self) -> str:
        """The model in words, for errors."""
        return f"{self.model!r} at {self.revision} (weights {self.weights}, {self.dimension} dimensions)"


class Part(BaseModel):
    """A file of a store. It has a name below the folder, and the SHA-256 of its bytes."""

    model_config = KNOWN_KEYS

    file: FileName
    sha256: str


class Shard(Part):
    """A file of rows.

    Attributes:
        n_rows: Its rows.
        content: Hash of what it holds, and of what that is encoded with.
        truncated: Texts that were longer than the model reads.
        n_vectors: Its vectors: one per row, or one per token.
    """

    n_rows: Count
    content: str
    truncated: Count = 0
    n_vectors: Count = 0


class Deleted(Part):
    """The file of deleted rows' numbers."""

    n_rows: Count


E = TypeVar("E", bound=Encoding)


class Manifest(BaseModel, Generic[E]):
    """The manifest that makes a store exist.

    Attributes:
        format: Version of this layout.
        kind: Name of the kind of store.
        medembed: Version that wrote it.
        state: Number of changes since the store was made; a reader sees by it that files have changed.
        encoding: What decided the vectors.
        engine: Name and precision of the engine that computed them, for the record.
        text_stored: Whether shards hold the texts, or only source and line.
        kept: Further columns and their types.
        assertions: Whether shards hold what the texts assert, in a column of scopes.
        assertion_rules: Number of the rules that found the scopes.
        splitting: How notes were cut into the passages that are its rows; None where rows are what was read.
        repeated_text: Whether search shows each row, or the first of those with the same text, or nearly the same.
        scope: The kept column that divides the rows: every reader has to name a value of it, or all. None where nothing divides them.
        shard_rows: Rows of a full shard.
        inputs: What was indexed, as it was named.
        edited: Whether rows were added or deleted since, so that ``inputs`` no longer tell the content.
        shards: In the order of their rows.
        parts: Further files, by what they are.
        deleted: Which rows are gone; None where none is.
        rejected: Rows left out by the last run, by reason.
    """

    model_config = KNOWN_KEYS

    format: int = FORMAT
    kind: str
    medembed: str = __version__
    state: Count = 0
    encoding: E
    engine: str
    text_stored: bool
    kept: dict[str, ColumnKind]
    assertions: bool = False
    assertion_rules: Count = 0
    splitting: dict[str, Count] | None = None
    repeated_text: RepeatedText = "each"
    scope: str | None = None
    shard_rows: Annotated[Count, Field(ge=1)]
    inputs: list[str]
    edited: bool = False
    shards: list[Shard] = []
    parts: dict[str, Part] = {}
    deleted: Deleted | None = None
    rejected: dict[str, int] = {}

    @model_validator(mode="after")
    def _scope_is_kept(self) -> Self:
        if self.scope is not None and self.scope not in self.kept:
            raise ValueError("the scope column is not kept")
        return self

    @model_validator(mode="after")
    def _passages_have_their_columns(self) -> Self:
        if self.splitting is not None and not (
            self.splitting.keys() == CUTTING and PASSAGE_COLUMNS.items() <= self.kept.items()
        ):
            raise ValueError("not the settings and columns of passages")
        return self

    @property
    def n_rows(self) -> int:
        """Rows in the shards, deleted ones included."""
        return count_rows(self.shards)

    @property
    def n_deleted(self) -> int:
        """Rows that are deleted."""
        return 0 if self.deleted is None else self.deleted.n_rows

    @property
    def n_vectors(self) -> int:
        """Vectors in the shards, those of deleted rows included."""
        return sum(shard.n_vectors for shard in self.shards)

    @property
    def files(self) -> list[Part]:
        """Every file it names."""
        return [*self.shards, *self.parts.values(), *([] if self.deleted is None else [self.deleted])]

    def settings_hash(self, *, parts: bool = True) -> str:
        """Hash of everything but the rows that decides what a shard holds.

        Args:
            parts: Whether what no user sets counts: further files, which are made from the first rows, and the number of the rules.
        """
        settings = {
            "kind": self.kind,
            "encoding": self.encoding.model_dump(mode="json", exclude={"model"}),
            "text": self.text_stored,
            "kept": self.kept,
            "parts": {name: part.sha256 for name, part in self.parts.items()} if parts else {},
            **({} if self.splitting is None else {"splitting": self.splitting}),
        }
        if self.assertions:  # shards without them are the same shards as before there were any
            settings["assertions"] = (self.assertion_rules or True) if parts else True
        if self.repeated_text == "near":  # its rows may have the vectors of others
            settings["repeated_text"] = "near"
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    def __str__(self) -> str:
        """Its settings in words, for errors."""
        text = "with texts" if self.text_stored else "without texts"
        text += ", with assertions" if self.assertions else ""
        text += f", repeated text {self.repeated_text}" if self.repeated_text != "each" else ""
        kept = "".join(f", column {name}:{kind}" for name, kind in self.kept.items())
        kept += "" if self.scope is None else f", scope column {self.scope}"
        cut = (
            ""
            if self.splitting is None
            else ", passages of notes" + "".join(f", {name} {value}" for name, value in self.splitting.items())
        )
        extra = self.encoding.model_dump(
            mode="json", exclude={*Encoding.model_fields, "ranges", "prompt", "prompt_kind"}
        )
        return (
            f"{self.encoding}, {self.encoding.max_seq_length} tokens, overlong {self.encoding.overlong}, "
            f"{', '.join(f'{name} {value}' for name, value in extra.items())}, {text}{kept}{cut}, {self.shard_rows} rows per shard"
        )


@dataclass(frozen=True)
class Kind(Generic[E]):
    """A kind of store.

    It says what errors call such a store, what they advise, and what decides its vectors.

    Attributes:
        name: For instance ``"embedded corpus"``.
        make: How one is made; ``{path}`` stands for the folder.
        again: What mends one that is unfinished or damaged.
        encoding: Class of what decides its vectors.
        count: Counts the vectors in the table of a shard.
    """

    name: str
    make: str
    again: str
    encoding: type[E]
    count: Callable[[Any], int]


def count_rows(shards: Sequence[Shard]) -> int:
    """Rows of several shards."""
    return sum(shard.n_rows for shard in shards)


def kind_of(folder: Path) -> str | None:
    """Name of the kind of finished store in a folder. None for no store, or a damaged one."""
    try:
        content = border.read_json_object(below(folder, MANIFEST), error=CorpusDamagedError)
    except (OSError, MedEmbedError):
        return None
    return str(content["kind"]) if "kind" in content else _earlier(content)


def _earlier(content: Any) -> str | None:
    return next((name for mark, name in EARLIER.items() if mark in content), None)


def read_manifest(path: Path, kind: Kind[E]) -> Manifest[E]:
    """The manifest of a finished store.

    Args:
        path: Its folder.
        kind: What it should be.

    Raises:
        CorpusError: There is nothing of this kind at all, or something of another kind.
        CorpusUnfinishedError: Shards, but no manifest yet.
        CorpusVersionError: Written by an earlier or a newer medembed.
        CorpusDamagedError: Not readable as a manifest.
        UnsafePathError: The folder holds a link.
    """
    check_tree(path)
    file = path / MANIFEST
    if not file.is_file():
        if (path / SHARDS).is_dir():
            raise CorpusUnfinishedError(f"{path} has no {MANIFEST}: making it has not come to its end; {kind.again}")
        raise CorpusError(f"{path} is not {_article(kind.name)}: make one with {kind.make.format(path=path)}")

    def damaged_manifest(why: str) -> CorpusDamagedError:
        return CorpusDamagedError(
            f"{file} cannot be read as the manifest of this {kind.name} ({why}): delete it and {kind.again}"
        )

    content = border.read_json_object(file, error=damaged_manifest)
    try:
        written, writer = int(content["format"]), str(content.get("medembed", "?"))
        held = content.get("kind") or _earlier(content)
        if held is None and written <= FORMAT:
            raise ValueError("no kind of store")
        if written == FORMAT and held == kind.name:
            return Manifest[kind.encoding].model_validate(content)  # type: ignore[name-defined] # a class of this very kind
    except (ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        raise damaged_manifest(type(error).__name__) from error
    raise _another(path, kind, str(held), written, writer)


def _another(path: Path, kind: Kind[Any], held: str, written: int, writer: str) -> CorpusError:
    """The error for a store of another version or kind."""
    if written > FORMAT:
        return CorpusVersionError(
            f"{path} was written by medembed {writer} in format {written}; this is {__version__}, which reads format {FORMAT}: "
            "pip install --upgrade medembed"
        )
    if held != kind.name:
        return CorpusError(f"{path} is not {_article(kind.name)}: it is a whole {held}, so give another folder")
    return CorpusVersionError(
        f"{path} was written by an earlier medembed in format {written}; this one reads format {FORMAT}: "
        f"`medembed corpus import {path} -o NEW_FOLDER` takes it over, nothing is encoded again"
    )


def _article(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def write_manifest(path: Path, manifest: Manifest[Any]) -> None:
    """Write the manifest, which makes everything it names exist at once."""
    write_text_whole(below(path, MANIFEST), manifest.model_dump_json(indent=1) + "\n")


def check_encoding(manifest: Manifest[Any], mine: Encoding, path: Path) -> None:
    """Check that a model's vectors may be compared with a store's.

    Raises:
        CorpusModelError: Another model, revision, weights or dimension; the message says both.
    """
    stored = manifest.encoding
    if (mine.revision, mine.weights, mine.dimension) != (stored.revision, stored.weights, stored.dimension):
        raise CorpusModelError(
            f"{path} was encoded with {Encoding.__str__(stored)}, but this is {Encoding.__str__(mine)}: "
            "open it with its own model, or index the texts anew with yours"
        )


def other_dimension(manifest: Manifest[Any], dimension: int, path: Path) -> CorpusModelError:
    """The error for query vectors of another length."""
    return CorpusModelError(
        f"{path} holds vectors of {manifest.encoding.dimension} dimensions of {manifest.encoding.model!r}, but the query has {dimension}: "
        "encode it with the store's own model"
    )


def damaged(folder: Path, part: Part, advice: str) -> CorpusDamagedError:
    """The error for a file that is missing or changed."""
    return CorpusDamagedError(
        f"{folder / part.file} is missing, or its bytes are not those that were written: {advice}"
    )


def damaged_deletions(folder: Path, part: Part) -> CorpusDamagedError:
    """The error for a damaged list of deleted rows. Such a list cannot be worked out anew."""
    return damaged(
        folder, part, "it says which rows were deleted: bring it back from a copy, or index anew with --overwrite"
    )


def adds(mode: Mode, folder: Path) -> bool:
    """Tell whether rows are added to a store that is there. A sync makes the store where there is none."""
    return mode in ("append", "upsert") or (mode == "sync" and (folder / MANIFEST).is_file())


@contextmanager
def writing(folder: Path, kind: Kind[Any]) -> Iterator[None]:
    """Keep a store to ourselves while it is written.

    Raises:
        CorpusBusyError: Another process writes to it.
        UnsafePathError: The folder holds a link.
        CorpusError: Nothing can be written there, or the disk is full; what is whole stays. Or a folder of somebody else's holds a
            file with a name that a store gives.
    """
    check_tree(folder)
    _check_foreign(folder)
    try:
        with hold(folder, 0, CorpusBusyError, "Wait until it has ended, or write to another folder"):
            (folder / SHARDS).mkdir(exist_ok=True)
            yield
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else type(error).__name__
        raise CorpusError(
            f"{folder} cannot be written ({why}): what was finished is kept; when that is mended, {kind.again}"
        ) from error


def _check_foreign(folder: Path) -> None:
    """Refuse to write a store over files of somebody else's.

    Raises:
        CorpusError: The folder is no store, and holds a file that a store would replace.
    """
    if (folder / LOCK).is_file() or is_store(folder):
        return
    if taken := [name for name in (MANIFEST, REJECTS, HOLDER) if os.path.lexists(folder / name)]:
        raise CorpusError(
            f"{folder / taken[0]} is there and no part of a store, and would be replaced: name another folder"
        )


def is_own_name(name: str) -> bool:
    """Tell whether a file's name is one that only stores give.

    Stores of ours of any kind and format count. Nothing else is swept.
    """
    return OWN_NAME.fullmatch(name) is not None

"""Sources of rows: files, folders, globs, URLs and standard input.

What is left out is counted and never forgotten.
"""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from medembed.errors import InputFileError, SettingError
from medembed.rows.dialect import Dialect
from medembed.rows.readers import BY_ENDING, FORMATS, READERS, ending_of, known_endings, nearest
from medembed.rows.source import Source
from medembed.storage.places import HOLDER, SHARDS, is_store

STDIN = "-"


@dataclass(frozen=True)
class Found:
    """Files behind what was asked for.

    Attributes:
        patterns: What was asked for.
        files: At least one, in the order given; within a folder or a glob by name.
        left_out: Files of folders that were left out because of their ending: how many of each, in lower case.
        n_hidden: Files of folders that were left out because their name, or that of a folder above, begins with a full stop.
        n_stores: Folders below that are a corpus or an index of ours, and are not read.
    """

    patterns: tuple[str, ...]
    files: list[Source]
    left_out: Mapping[str, int] = field(default_factory=dict)
    n_hidden: int = 0
    n_stores: int = 0

    def __iter__(self) -> Iterator[Source]:
        """The files."""
        return iter(self.files)

    def __len__(self) -> int:
        """The number of files."""
        return len(self.files)

    def size(self) -> int | None:
        """Bytes of all files together. None where one is unknown."""
        sizes = [source.size for source in self.files if source.size is not None]
        return sum(sizes) if len(sizes) == len(self.files) else None


def find(
    patterns: Sequence[str],
    format: str | None = None,  # noqa: A002 - what the option is called
    *,
    dialect: Dialect | None = None,
    outputs: Sequence[str | Path] = (),
    by_ending: Mapping[str, str] = BY_ENDING,
) -> Found:
    """Find the files behind paths, folders, globs and URLs.

    They are in the order given. Within a folder or a glob they are ordered by name.

    Args:
        patterns: ``notes.jsonl``, ``notes/``, ``notes/*.csv.gz``, ``s3://bucket/notes/*.parquet``; ``-`` is standard input.
        format: One of :data:`medembed.rows.readers.FORMATS` for all; None to go by their endings. Standard input is JSON lines by default.
        dialect: How the text files among them are written; None for the usual.
        outputs: Files and folders that the same command writes. They are not inputs: below a folder they are passed over.
        by_ending: Formats by ending.

    Raises:
        InputFileError: Nothing is there, an ending is unknown, or an input is an output, or lies in one or in a store of ours.
        SettingError: The dialect means nothing for any of the files, or the format is unknown.
        MissingExtraError: A URL's file system needs a package that is not installed; the message names it.
    """
    if format is not None and format not in FORMATS:
        raise InputFileError(f"format {format!r} is unknown: choose one of {', '.join(FORMATS)}")
    if isinstance(patterns, str | os.PathLike) or not patterns:
        raise InputFileError("nothing to read: give a list of files, folders, globs, URLs, or - for standard input")
    search = _Search(format, dialect or Dialect(), [os.path.realpath(path) for path in outputs], by_ending)
    files = [source for pattern in patterns for source in search.behind(os.fspath(pattern))]
    counted = Counter(source.name for source in files)
    if twice := [name for name, count in counted.items() if count > 1]:
        raise InputFileError(f"{twice[0]} is named twice: every row of it would be a duplicate")
    if dialect is not None:
        _check_dialect(dialect, files)
    given = tuple(os.fspath(pattern) for pattern in patterns)
    return Found(given, _told_apart(files), dict(sorted(search.left_out.items())), search.n_hidden, len(search.stores))


def found_in(inputs: Sequence[str] | Found, format: str | None, outputs: Sequence[str | Path]) -> Found:  # noqa: A002
    """The files that :func:`find` gave. For inputs that were not looked for yet, :func:`find` is called."""
    return inputs if isinstance(inputs, Found) else find(inputs, format, outputs=outputs)


class _Search:
    """One call of :func:`find`. It holds what the call looks for and what it passes over."""

    def __init__(self, format: str | None, dialect: Dialect, outputs: list[str], by_ending: Mapping[str, str]) -> None:  # noqa: A002
        self._format, self._dialect, self._outputs, self._by_ending = format, dialect, outputs, by_ending
        self.left_out: Counter[str] = Counter()
        self.n_hidden = 0
        self.stores: set[str] = set()
        self._known: dict[str, bool] = {}

    def behind(self, pattern: str) -> list[Source]:
        """The files of one pattern."""
        if pattern == STDIN:
            return [Source("standard input", "standard input", self._format or "jsonl", None, self._dialect)]
        system, path = _system(pattern)
        if system.isdir(path):
            return self._below(system, path.rstrip("/"), pattern)
        is_glob = any(sign in pattern for sign in "*?[") and not system.exists(path)
        names = [name for name in (sorted(system.glob(path)) if is_glob else [path]) if system.isfile(name)]
        if is_glob and _is_local(system):
            names = [name for name in names if not self._is_output(name)]
        if not names:
            raise InputFileError(f"there is no file {pattern}")
        for name in names:
            self._refuse(system, name, pattern)
        return [self._source(system, name, _last_parts(name, 2)) for name in names]

    def _below(self, system: Any, folder: str, pattern: str) -> list[Source]:
        self._refuse(system, folder, pattern)
        names = sorted(system.find(folder))
        outputs = self._outputs_below(folder) if _is_local(system) else set()
        stores = _stores(names, None if _is_local(system) else system)
        self.stores |= stores - outputs
        if passed := stores | outputs:
            names = [
                name for name in names if name not in passed and not any(above in passed for above in _above(name))
            ]
        shown = [name for name in names if not _is_hidden(name.removeprefix(folder))]
        self.n_hidden += len(names) - len(shown)
        base = _last_parts(folder, 1)
        files = []
        for name in shown:
            if self._format is None and ending_of(name) not in self._by_ending:
                self.left_out[ending_of(name) or "no ending"] += 1
            else:
                files.append(self._source(system, name, f"{base}{name.removeprefix(folder)}".lstrip("/")))
        if not files:
            raise InputFileError(
                f"{pattern} holds no file that can be read: expected {known_endings()}{self._others()}"
            )
        return files

    def _others(self) -> str:
        return f"; it holds {told_left_out(self.left_out)}" if self.left_out else ""

    def _source(self, system: Any, name: str, short: str) -> Source:
        chosen = self._format or self._by_ending.get(ending_of(name))
        if chosen is None:
            raise InputFileError(
                f"{name}: its ending is unknown; expected {known_endings()}, or say --format; {nearest(name)}"
            )
        return Source(name, short, chosen, system.size(name), self._dialect, system)

    def _outputs_below(self, folder: str) -> set[str]:
        """Outputs that lie below a folder, named as its files are."""
        real = os.path.realpath(folder) + os.sep
        return {f"{folder}/{path.removeprefix(real)}" for path in self._outputs if path.startswith(real)}

    def _is_output(self, name: str) -> bool:
        real = os.path.realpath(name)
        return any(real == path or real.startswith(path + os.sep) for path in self._outputs)

    def _refuse(self, system: Any, name: str, pattern: str) -> None:
        """Refuse a named input that is an output. One that lies in an output or in a store is refused too.

        Raises:
            InputFileError: It is.
        """
        if _is_local(system) and self._is_output(name):
            raise InputFileError(f"{pattern} is what this command writes, or lies in it: write to another place")
        for folder in (name, *_above(name)[:2]):
            if folder not in self._known:
                self._known[folder] = is_store(folder, None if _is_local(system) else system)
            if self._known[folder]:
                raise InputFileError(
                    f"{pattern} is or belongs to a corpus or an index of medembed, and its files are no rows: name the files it was made of"
                )


def told_left_out(left_out: Mapping[str, int]) -> str:
    """Files that were left out, by ending: ``"1 .pdf, 2 .xml"``."""
    return ", ".join(f"{count} {ending}" for ending, count in left_out.items())


def _check_dialect(dialect: Dialect, files: Sequence[Source]) -> None:
    readers = [READERS[source.format] for source in files]
    if dialect.of_tables() and not any(reader.is_table for reader in readers):
        raise SettingError(
            "--delimiter, --quote and --no-header are for CSV and TSV, and none of the inputs is: leave them out"
        )
    if dialect.encoding != "utf-8" and not any(reader.is_text for reader in readers):
        raise SettingError("--encoding is for files of text, and none of the inputs is: leave it out")


def _told_apart(files: list[Source]) -> list[Source]:
    """Files, each with a short name of its own.

    Files of the same name in folders of the same name get more of their path into it.
    """
    length = 2
    while True:
        counted = Counter(source.short for source in files)
        same = {short for short, count in counted.items() if count > 1}
        if not same:
            return files
        length += 1
        files = [
            replace(source, short=_last_parts(source.name, max(length, source.short.count("/") + 2)))
            if source.short in same
            else source
            for source in files
        ]


def _system(pattern: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs  # which only those pay for who read files

        system, path = url_to_fs(os.path.expanduser(pattern))  # noqa: PTH111 - may be a URL
    except (ImportError, ValueError) as error:
        scheme = pattern.partition("://")[0]
        raise InputFileError(
            f"{pattern}: files at {scheme}:// cannot be reached ({error}). fsspec brings them: pip install 'fsspec[{scheme}]'"
        ) from error
    return system, path


def _is_local(system: Any) -> bool:
    protocol = system.protocol
    return "file" in (protocol if isinstance(protocol, tuple | list) else (protocol,))


def _last_parts(name: str, count: int) -> str:
    return "/".join([part for part in name.replace("\\", "/").split("/") if part and part != "."][-count:])


def _is_hidden(below: str) -> bool:
    return any(part.startswith(".") for part in below.split("/"))


def _above(name: str) -> list[str]:
    """The folders that a file lies in, the nearest first."""
    parts = name.split("/")
    return ["/".join(parts[:end]) for end in range(len(parts) - 1, 0, -1) if parts[:end] != [""]]


def _stores(names: Sequence[str], system: Any) -> set[str]:
    """Stores of ours among these files' folders, finished or not."""
    around = {name.rpartition(f"/{SHARDS}/")[0] for name in names if f"/{SHARDS}/" in name}
    around |= {name.removesuffix(f"/{HOLDER}") for name in names if name.endswith(f"/{HOLDER}")}
    return {folder for folder in around if is_store(folder, system)}

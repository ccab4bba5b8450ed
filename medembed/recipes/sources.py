"""Sources of a recipe's text: files found, downloaded and verified. Rows are read one at a time."""

import functools
import http.client
import logging
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medembed.errors import InputFileError, SourceError
from medembed.extras import require
from medembed.recipes.execution import Execution
from medembed.recipes.fingerprint import folder_sha256
from medembed.recipes.schema import Development
from medembed.recipes.source_settings import Source
from medembed.rows import names, readers
from medembed.rows import sources as finding
from medembed.rows.source import Reject
from medembed.rows.wanted import Wanted
from medembed.storage import paths
from medembed.storage.durable import file_sha256, is_solid, whole

logger = logging.getLogger("medembed")
Row = Mapping[str, Any]


@dataclass(frozen=True)
class MadeModel:
    """A model that another recipe makes, or made.

    Attributes:
        folder: Where its files are, or will be once its stages have run.
        identity: What it is, as it enters fingerprints.
    """

    folder: Path
    identity: str


@dataclass(frozen=True)
class Places:
    """Places in which what a recipe names is looked for.

    Files are looked for in the user's own data folder first, then in the recipe's folder.

    Attributes:
        recipe: The recipe's folder.
        execution: Names the data folder and the work folder, below which downloads are kept.
        expected: What ``expected.json`` says of the recipe: figures, and what they were measured with.
        models: Models that other recipes make, by the name that this one gives them.
        same: Names for models by the hash of their files: a folder with that hash is the named model.
        hashes: Of the models that a plan has read, by name and whether late interaction counts: each is read once.
    """

    recipe: Path
    execution: Execution
    expected: Mapping[str, Any] = field(default_factory=dict)
    models: Mapping[str, MadeModel] = field(default_factory=dict)
    same: Mapping[str, str] = field(default_factory=dict)
    hashes: dict[tuple[str, bool], str] = field(default_factory=dict, compare=False)

    def folders(self) -> list[Path]:
        """Folders in the order they are searched."""
        mine = [self.execution.data] if self.execution.data is not None else []
        return [*mine, self.recipe, self.execution.work / "downloads"]


def locate(source: Source | Development, name: str, places: Places) -> Path:
    """Find the file or folder of a source on this disk.

    Args:
        source: The source.
        name: Its name in the recipe, for messages.
        places: Where to look.

    Returns:
        An existing path; its content is not verified here.

    Raises:
        SourceError: It is nowhere, and the message says where it comes from and how to give it; or it is a folder that the recipe
            itself writes into.
    """
    path = Path(source.path or "").expanduser()
    tried = [path] if path.is_absolute() else [folder / path for folder in places.folders()]
    for candidate in tried:
        if candidate.exists():
            _check_apart(candidate, name, places)
            return candidate
    origin = f" It comes from: {source.origin}." if source.origin else ""
    has_url = isinstance(source, Source) and source.url
    how = "Run `medembed recipes download` first, or give" if has_url else "Give"
    raise SourceError(
        f"source '{name}': no {source.path} in {', '.join(str(item.parent) for item in tried)}.{origin} "
        f"{how} the folder that holds it with execution.data=DIR"
    )


def _check_apart(path: Path, name: str, places: Places) -> None:
    """Refuse a folder of texts that holds what the recipe writes: the next run would read that as texts."""
    written = {"execution.work": places.execution.work, "execution.out": places.execution.out}
    for setting, place in written.items():
        if place is not None and path.is_dir() and place.resolve().is_relative_to(path.resolve()):
            raise SourceError(
                f"source '{name}': {path} holds {place}, which the recipe writes: say {setting}=DIR outside of it"
            )


def identity(source: Source | Development, name: str, places: Places) -> str:
    """Identity of the source's content, as it enters fingerprints. It is a hash, or dataset and commit.

    A declared ``sha256`` is believed here and verified when the source is read.

    Raises:
        SourceError: No hash is declared and the file is missing.
    """
    if isinstance(source, Source) and source.format == "hub":
        return f"{source.dataset}@{source.revision}:{source.config or ''}:{source.split}"
    if source.sha256 is not None:
        return source.sha256
    path = locate(source, name, places)
    return _content_sha256(path, name)


def _content_sha256(path: Path, name: str) -> str:
    """Hash of a file or folder whose files are ordinary ones: a pipe has no end, and a terabyte of nothing takes an hour.

    Raises:
        SourceError: Something else is there.
    """
    files = [item for item in path.rglob("*") if not item.is_dir()] if path.is_dir() else [path]
    if odd := next((file for file in files if not is_solid(file)), None):
        raise SourceError(
            f"source '{name}': {odd} is no ordinary file but a pipe, a device, a broken link or holes: give files"
        )
    return folder_sha256(path) if path.is_dir() else file_sha256(path)


def set_identity(item: Development, name: str, places: Places) -> str:
    """Identity of a development set: its content, and how much is taken.

    Raises:
        SourceError: As ``identity``.
    """
    taken = {"queries": item.max_queries, "documents": item.max_documents}
    limits = "".join(f":{limit} {what}" for what, limit in taken.items() if limit is not None)
    return identity(item, name, places) + limits


def verified(source: Source | Development, name: str, places: Places) -> Path:
    """Locate a source and compare its content with the declared hash.

    Raises:
        SourceError: It is missing, or its hash is not the declared one.
    """
    path = locate(source, name, places)
    if source.sha256 is not None:
        found = _content_sha256(path, name)
        if found != source.sha256:
            raise SourceError(
                f"source '{name}': {path} has sha256 {found}, the recipe names {source.sha256}. Fetch the right file, or, to train on "
                f"this one knowingly, set the source's sha256 to its hash"
            )
    return path


def download(source: Source, name: str, target: Path) -> Path:
    """Fetch a source by its URL and verify it. Only then is it given its name. A file that is already right is kept.

    Args:
        source: A source with ``url`` and ``sha256``.
        name: Its name in the recipe.
        target: Folder to put it into.

    Returns:
        The verified file.

    Raises:
        SourceError: No URL, no declared hash, the server cannot be reached, or the content is not what was declared.
        StorageFullError: The disk or the quota is used up.
        UnsafePathError: The source's path leads out of ``target``.
    """
    if not source.url or not source.sha256 or not source.path:
        raise SourceError(
            f"source '{name}' has no url and sha256 to download by; {source.origin or 'its origin is not named'}"
        )
    if not source.url.startswith(("https://", "http://")):
        raise SourceError(f"source '{name}': {source.url} is not an http(s) address")
    final = paths.below(target, source.path)
    if final.is_file() and file_sha256(final) == source.sha256:
        return final
    final.parent.mkdir(parents=True, exist_ok=True)
    with whole(final) as made:
        _fetch(source.url, name, made)
        if (found := file_sha256(made)) != source.sha256:
            raise SourceError(f"source '{name}': {source.url} gave sha256 {found}, the recipe names {source.sha256}")
    return final


def _fetch(url: str, name: str, path: Path) -> None:
    with path.open("wb") as file:
        try:
            with urllib.request.urlopen(url, timeout=60) as reply:  # noqa: S310  callers check the scheme
                shutil.copyfileobj(reply, file)
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            raise SourceError(f"source '{name}': {url} cannot be fetched: {error}") from error


def rows(source: Source, name: str, places: Places, columns: Mapping[str, str]) -> Iterator[Row]:
    """Rows of a source in their order, at most ``source.limit`` of them.

    Args:
        source: The source.
        name: Its name in the recipe, for messages.
        places: Where to look.
        columns: Columns its rows must have, each with the setting that names it, for instance ``"notes.sources.NAME.text"``.

    Raises:
        SourceError: The source is missing, is not the declared one, has no such column, or a row cannot be read; the message has file
            and line.
    """
    if source.format == "hub":
        read: Iterator[Row] = _hub_rows(source, columns)
    else:
        read = _file_rows(source, name, places, columns)
    for index, row in enumerate(read):
        if index == source.limit:
            return
        yield row


def _file_rows(source: Source, name: str, places: Places, columns: Mapping[str, str]) -> Iterator[Row]:
    path = verified(source, name, places)
    wanted = Wanted({column: f"name it with {setting}" for column, setting in columns.items()})
    try:
        found = _files(source, path)
        if found.left_out:
            logger.warning("source '%s': files that were not read: %s", name, finding.told_left_out(found.left_out))
        for file in found:
            below = file.name.removeprefix(path.as_posix()).lstrip("/") or path.name
            for item in readers.records(file, wanted, _nothing):
                if isinstance(item, Reject):
                    raise SourceError(
                        f"source '{name}': {item.source}, line {item.line}: {item.reason}; mend or remove it"
                    )
                # two files of one name in two folders are two documents
                yield {"id": below, "title": "", **_without_id(item.values)} if source.format == "text" else item.values
    except InputFileError as error:
        raise SourceError(f"source '{name}': {error}") from None


def _files(source: Source, path: Path) -> finding.Found:
    """The files of a source. Of a folder, they are those with an ending of the source's format."""
    kind = {"articles": "jsonl", "text": "files"}.get(source.format, source.format)
    endings = {ending: known for ending, known in readers.BY_ENDING.items() if known == kind}
    if kind == "csv":
        endings = {ending: known for ending, known in readers.BY_ENDING.items() if known in ("csv", "tsv")}
    of_its_ending = endings.get(readers.ending_of(path.name), kind)
    kind_of_all = None if path.is_dir() else of_its_ending
    return finding.find([str(path)], kind_of_all, dialect=source.dialect, by_ending=endings)


def _without_id(values: Mapping[str, Any]) -> Row:
    return {name: value for name, value in values.items() if name != "id"}


def _nothing(_: int) -> None:
    """Progress is counted in rows, by the stage."""


def _hub_rows(source: Source, columns: Mapping[str, str]) -> Iterator[Row]:
    datasets = require("datasets")
    commit = hub_commit(source)
    try:
        loaded = datasets.load_dataset(
            source.dataset, source.config, split=source.split, revision=commit, streaming=source.limit is not None
        )
    except OSError as error:  # not there, no rights, no network
        raise _unreadable(source, type(error).__name__) from error
    except ValueError as error:  # no such split or configuration: the message lists those there are
        raise _unreadable(source, str(error)) from error
    for index, row in enumerate(loaded):
        if index == 0 and (missing := [column for column in columns if column not in row]):
            raise SourceError(
                f"dataset {source.dataset}: no column {missing[0]!r}, but {names.shown(list(row))}: name it with {columns[missing[0]]}"
            )
        yield row


@functools.cache
def hub_commit(source: Source) -> str:
    """The commit that a hub dataset's revision is at.

    A revision that is a commit is its own. The hub is asked once, so that what is read is what is recorded.

    Raises:
        SourceError: The hub cannot be asked.
    """
    if re.fullmatch("[0-9a-f]{40}", source.revision or ""):
        return str(source.revision)
    try:
        return str(require("huggingface_hub").HfApi().dataset_info(source.dataset, revision=source.revision).sha)
    except Exception as error:
        raise _unreadable(source, type(error).__name__) from error


def hub_commits(sources: Mapping[str, Source]) -> dict[str, str]:
    """The commit of each source that is a hub dataset, for the manifest: a branch may be elsewhere tomorrow."""
    return {name: hub_commit(source) for name, source in sources.items() if source.format == "hub"}


def _unreadable(source: Source, reason: str) -> SourceError:
    return SourceError(
        f"dataset {source.dataset}@{source.revision} cannot be read ({reason}). Run where the hub can be reached and the "
        "dataset may be read, or give a copy: format='parquet' and path"
    )

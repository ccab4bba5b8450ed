"""One model in this process: settings, files, start, end, copies, and the windows in which its texts are read."""

import os
import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from medembed import progress
from medembed.checkpoints import checkpoint as checkpoints
from medembed.checkpoints.registry import ModelSpec
from medembed.errors import ModelChangedError, SettingError
from medembed.runtime import callers, options
from medembed.runtime.encoding import Cut
from medembed.runtime.engines import load_engine
from medembed.runtime.engines.interface import Engine, Precision
from medembed.runtime.lifecycle import ClosedByWith, Lifecycle
from medembed.runtime.tokenizer import Overlong, Tokenizer, TruncationWarning

# texts tokenized and computed at a time: memory stays flat, and sorting by length still finds alike texts
WINDOW = 10_000
# the same of a stream, whose reader still holds the vectors of one window while the next is computed
STREAM = 4_096


class Encoding(Protocol):
    """A tokenizer and an engine working together."""

    @property
    def engine(self) -> Engine:
        """The engine that computes."""

    def close(self) -> None:
        """Stop the threads and the engine."""


Running = TypeVar("Running", bound=Encoding)


class Session(ClosedByWith, Generic[Running]):
    """Base of the model classes: all that does not depend on what a vector stands for.

    A subclass passes its arguments on, works out its limits, and calls ``_open``.

    Args:
        settings: The arguments of the subclass, by name.
        late_interaction: Whether the model gives one vector per token.

    Raises:
        SettingError: An unknown ``overlong``.
        ModelChangedError: ``revision`` names the files of a folder, and it holds others.
        MedEmbedError: As ``checkpoint.fetch``.
    """

    def __init__(self, settings: Mapping[str, Any], *, late_interaction: bool) -> None:
        """Find the model's files."""
        if settings["overlong"] is None:
            raise SettingError(f"overlong=None: choose one of {', '.join(get_args(Overlong))}")
        options.checked_overlong(settings["overlong"])
        cache_dir, revision = settings["cache_dir"], settings["revision"]
        self._settings = {
            **settings,
            "model": os.fspath(settings["model"]),
            "cache_dir": None if cache_dir is None else os.fspath(cache_dir),
        }
        by_files = revision is not None and revision.startswith(checkpoints.BY_FILES)
        self._checkpoint = checkpoints.fetch(
            self._settings["model"],
            revision=None if by_files else revision,
            cache_dir=self._settings["cache_dir"],
            local_files_only=settings["local_files_only"],
            late_interaction=late_interaction,
        )
        if by_files and self._checkpoint.revision != revision:
            raise ModelChangedError(
                f"{self._checkpoint.folder} is {self._checkpoint.revision} by its files, but {revision} was asked for: "
                "put that model's files there, or leave revision out"
            )
        self._cut = Cut()

    def _open(self) -> None:
        self._lifecycle = Lifecycle(self._start, name=self.name, kind=type(self).__name__)

    @abstractmethod
    def _start(self) -> Running:
        """Make what encodes. Called once per process."""

    @abstractmethod
    def _facts(self) -> dict[str, object]:
        """The numbers that the repr tells beside the engine's."""

    @abstractmethod
    def _documents(self) -> tuple[Tokenizer, str]:
        """The tokenizer of documents, and the prompt before each."""

    @property
    def room(self) -> int:
        """Tokens of a document's text that the model reads, beside prompt and special tokens."""
        tokenizer, prompt = self._documents()
        return tokenizer.max_seq_length - tokenizer.count([""], prompt)[0]

    def token_ends(self, text: str) -> NDArray[np.int64]:
        """The end of each token of a text, in characters, without prompt and special tokens.

        Args:
            text: The text.

        Returns:
            *Shape:* ``(tokens,)``, ascending.
        """
        return self._documents()[0].ends(text)

    def _engine(self) -> Engine:
        """The caller's own engine, or the one that runs this model best here."""
        settings = self._settings
        own: Engine | None = settings["engine"]
        return own or load_engine(
            self._checkpoint,
            device=settings["device"],
            precision=settings["precision"],
            threads=settings["threads"],
        )

    def _encoder(self) -> Running:
        return self._lifecycle.get()

    @property
    def name(self) -> str:
        """The name, hub id or folder the model was asked for by."""
        return self._checkpoint.spec.name

    @property
    def spec(self) -> ModelSpec:
        """The model's description: repository, license, pooling, prompts ..."""
        return self._checkpoint.spec

    @property
    def files_hash(self) -> str:
        """SHA-256 over the model's files as they were loaded, ``sha256-…``: for a folder, its revision."""
        return self._checkpoint.files_hash()

    @property
    def revision(self) -> str:
        """The commit of a hub model, or ``"sha256-…"`` of a bundled or local model's files."""
        return self._checkpoint.revision

    @property
    def folder(self) -> Path:
        """The folder of the model's files."""
        return self._checkpoint.folder

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments that make the same model again, by name. ``revision`` is the one that runs."""
        return {**self._settings, "revision": self.revision}

    @property
    def device(self) -> str:
        """The device the engine computes on."""
        return self._encoder().engine.device

    @property
    def precision(self) -> Precision:
        """Number format of the engine's matrix products."""
        return self._encoder().engine.precision

    @property
    def engine_name(self) -> str:
        """The engine's name: ``"openvino"``, ``"kernels"``, ``"torch"``, or that of one that was passed in."""
        return self._encoder().engine.name

    @property
    def concurrency(self) -> int:
        """Batches that the engine computes at a time."""
        return self._encoder().engine.concurrency

    @property
    def overlong(self) -> Overlong:
        """The treatment of texts above the limit."""
        overlong: Overlong = self._settings["overlong"]
        return overlong

    @property
    def truncated(self) -> Cut:
        """The texts and tokens that ``overlong="truncate"`` has left out since the model was loaded."""
        return self._cut

    def _in_windows(
        self, count: int, show: progress.Show, work: Callable[[slice, Callable[[int], object]], Cut]
    ) -> Cut:
        """Run work over texts, a window at a time, and add up what it cut."""
        cut = Cut()
        with progress.bar(count, show) as advance:
            for start in range(0, count, WINDOW):
                cut += work(slice(start, start + WINDOW), advance)
        if cut.texts:
            with self._lifecycle.lock:
                self._cut += cut
        return cut

    def close(self) -> None:
        """Give back threads and memory. Encoding afterwards raises ``ClosedModelError``; closing again is fine."""
        self._lifecycle.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the settings, not the weights: the other side loads the model itself, and refuses another one."""
        return partial(type(self), **self.settings), ()

    def __repr__(self) -> str:
        """Tell model, numbers, device, precision and engine."""
        if self._lifecycle.closed:
            return f"{type(self).__name__}({self.name!r}, closed)"
        engine = self._encoder().engine
        facts = {**self._facts(), "device": engine.device, "precision": engine.precision, "engine": engine.name}
        told = ", ".join(f"{name}={value!r}" for name, value in facts.items())
        return f"{type(self).__name__}({self.name!r}, {told})"


def warn_of(cut: Cut, limit: int, remedy: str) -> None:
    """Warn at the caller's line that texts were cut, if any were.

    Args:
        cut: What was left out.
        limit: Tokens that were read of each text.
        remedy: The sentence that says how to have them read whole.
    """
    if cut.texts:
        warning = TruncationWarning(cut.texts, cut.tokens, limit, remedy=remedy)
        warnings.warn(warning, stacklevel=callers.level())


def within(name: str, requested: int | None, default: int, most: int) -> int:
    """A setting checked against its largest value.

    Args:
        name: The setting.
        requested: What the caller gave; None for the default.
        default: What holds otherwise.
        most: The largest allowed.

    Raises:
        SettingError: Not a whole number in the range.
    """
    if requested is None:
        return default
    least = 3 if name.endswith("_length") else 1  # a tokenizer needs room for a token between its special ones
    if type(requested) is not int or not least <= requested <= most:
        raise SettingError(f"{name}={requested!r}: this model takes a whole number from {least} to {most}")
    return requested

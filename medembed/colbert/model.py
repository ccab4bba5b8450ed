"""MedColBERT: the public class of late interaction. Conveniences here; the work is in colbert/encoding.py and the engines."""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, get_args, overload

import numpy as np
from numpy.typing import NDArray

from medembed import progress
from medembed.checkpoints import checkpoint as checkpoints
from medembed.checkpoints import model_files
from medembed.checkpoints.registry import BUNDLED, ModelSpec
from medembed.colbert.encoding import Role, TokenEncoder
from medembed.colbert.layouts import Layout, read_layout
from medembed.colbert.maxsim import maxsim
from medembed.colbert.token_pooling import check_factor
from medembed.errors import InputTypeError, SettingError
from medembed.model import within
from medembed.runtime import callers, inputs
from medembed.runtime.encoding import Cut
from medembed.runtime.engines import Device, PrecisionSetting, load_engine
from medembed.runtime.engines.interface import Engine
from medembed.runtime.lifecycle import ClosedByWith, Lifecycle
from medembed.runtime.tokenizer import Overlong, TruncationWarning
from medembed.search.ranking import weighted

Floats = NDArray[np.float32]

# share of a hybrid first stage's scores beside MaxSim: between .2 and .5 the mean of three sets hardly moves (docs/experiments.md)
FIRST_SHARE = 0.3
# texts tokenized and computed at a time
WINDOW = 10_000
REMEDIES = {
    "query": "Shorten them, or raise query_length where the model can read more",
    "document": "MedColBERT(..., overlong='chunk') reads them whole",
}


@dataclass(frozen=True)
class Ranked:
    """A document's place in a ranking.

    Attributes:
        index: Its position in the documents that were given.
        score: Its MaxSim with the query, or that and the first stage's score together, 0 to 1; higher is more alike.
    """

    index: int
    score: float


class MedColBERT(ClosedByWith):
    """A late-interaction model (ColBERT): a vector a token, compared by MaxSim.

    Args:
        model: ``"mini"``, which is in the package; a hub id or a local folder, as Stanford's ColBERT, PyLate or
            sentence-transformers 6 write them; or a dense model's folder that brings late interaction along.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``, or a list of CUDA devices.
        precision: Number format of the computation, as for :class:`medembed.MedEmbed`.
        query_length: Tokens to read of each query, and to fill it up to where the model does that; None for the model's own.
        document_length: Tokens to read of each document; None for the model's own limit.
        overlong: Texts above the limit: ``"truncate"`` cuts them with a warning, ``"error"`` refuses them, ``"chunk"``
            gives a document the tokens of all its windows and refuses a query.
        threads: CPU threads; None for one per usable physical core.
        revision: Commit, tag or branch of a hub model; None for the one first downloaded.
        cache_dir: Where downloads are kept; None for the Hugging Face cache.
        local_files_only: Never use the network.
        engine: An engine to use instead of choosing one; its dimension is that of the encoder's states.

    Raises:
        UnknownModelError: No such name or folder.
        CheckpointError: Files are missing or damaged, or the folder holds no late-interaction model.
        SettingError: A setting does not fit the model or this machine.
        MedEmbedError: As for :class:`medembed.MedEmbed`, whose engines and downloads these are.

    Example:
        >>> from medembed import MedColBERT
        >>> with MedColBERT(threads=1) as model:
        ...     queries = model.encode_query(["chest pain"])
        ...     documents = model.encode_document(["Angina is chest pain.", "Gout hurts the toes."])
        ...     model.similarity(queries, documents).shape
        (1, 2)
    """

    def __init__(  # noqa: PLR0913 - the class has these settings, all keyword-only
        self,
        model: str | os.PathLike[str] = BUNDLED,
        *,
        device: Device = "auto",
        precision: PrecisionSetting = "auto",
        query_length: int | None = None,
        document_length: int | None = None,
        overlong: Overlong = "truncate",
        threads: int | None = None,
        revision: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        engine: Engine | None = None,
    ) -> None:
        """Find the model, start its engine."""
        if overlong not in get_args(Overlong):
            raise SettingError(f"overlong={overlong!r}: choose one of {', '.join(get_args(Overlong))}")
        self._settings: dict[str, Any] = {
            "model": os.fspath(model), "device": device, "precision": precision, "query_length": query_length,
            "document_length": document_length, "overlong": overlong, "threads": threads, "revision": revision,
            "cache_dir": None if cache_dir is None else os.fspath(cache_dir), "local_files_only": local_files_only, "engine": engine,
        }  # fmt: skip
        self._checkpoint = checkpoints.fetch(
            self._settings["model"],
            revision=revision,
            cache_dir=self._settings["cache_dir"],
            local_files_only=local_files_only,
            late_interaction=True,
        )
        self._layout = self._with_lengths(read_layout(self._checkpoint), query_length, document_length)
        self._cut = Cut()
        self._lifecycle = Lifecycle(self._start, name=self.name, kind="MedColBERT")

    def _with_lengths(self, layout: Layout, query_length: int | None, document_length: int | None) -> Layout:
        most = model_files.position_limit(self._checkpoint.config)
        asked = within("query_length", query_length, layout.query_length, most)
        document = within("document_length", document_length, layout.document_length, most)
        expansion = layout.expansion
        if expansion is not None and (expansion.cuts or expansion.length > asked):
            expansion = replace(expansion, length=asked)
        return replace(layout, query_length=asked, document_length=document, expansion=expansion)

    def _start(self) -> TokenEncoder:
        settings = self._settings
        engine = settings["engine"] or load_engine(
            self._checkpoint,
            device=settings["device"],
            precision=settings["precision"],
            threads=settings["threads"],
        )
        return TokenEncoder(self._checkpoint, self._layout, engine, overlong=settings["overlong"])

    @property
    def name(self) -> str:
        """The hub id or folder the model was asked for by."""
        return self._checkpoint.spec.name

    @property
    def spec(self) -> ModelSpec:
        """What is known of the encoder: repository, license, prompts ..."""
        return self._checkpoint.spec

    @property
    def revision(self) -> str:
        """The commit of a hub model, or ``"sha256-…"`` of a local model's files."""
        return self._checkpoint.revision

    @property
    def dimension(self) -> int:
        """Length of a token's vector."""
        projections = self._layout.projections
        return projections[-1].weight.shape[0] if projections else self._checkpoint.spec.dimension

    @property
    def query_length(self) -> int:
        """Tokens read of each query, prompt and special tokens included."""
        return self._layout.query_length

    @property
    def document_length(self) -> int:
        """Tokens read of each document, prompt and special tokens included."""
        return self._layout.document_length

    @property
    def overlong(self) -> Overlong:
        """What is done with texts above the limit."""
        overlong: Overlong = self._settings["overlong"]
        return overlong

    @property
    def device(self) -> str:
        """Where the engine computes."""
        return self._lifecycle.get().engine.device

    @property
    def precision(self) -> str:
        """Number format of the engine's matrix products."""
        return self._lifecycle.get().engine.precision

    @property
    def truncated(self) -> Cut:
        """What ``overlong="truncate"`` has left out since the model was loaded: ``.texts`` and ``.tokens``."""
        return self._cut

    @overload
    # a str is also a Sequence[str], and is told apart here
    def encode_query(self, texts: str, *, show_progress: bool | None = None) -> Floats: ...  # type: ignore[overload-overlap]
    @overload
    def encode_query(self, texts: Sequence[str], *, show_progress: bool | None = None) -> list[Floats]: ...

    def encode_query(self, texts: str | Sequence[str], *, show_progress: bool | None = None) -> Floats | list[Floats]:
        """Encode search queries: with the model's own prompt, filled up to its length where the model does that.

        Args:
            texts: One text, or a sequence of texts.
            show_progress: True or False; None shows a bar at a terminal once a call takes longer than two seconds.

        Returns:
            float32, one array a text in input order, *Shape:* ``(tokens, dimension)``; for one ``str`` the array itself.

        Raises:
            InputTypeError: An item is not a ``str``.
            OverlongTextError: A query above :attr:`query_length` where ``overlong`` is not ``"truncate"``.
            ClosedModelError: After :meth:`close`.
        """
        if isinstance(texts, str):
            return self._encode("query", [texts], False)[0]
        return self._encode("query", inputs.checked_texts(texts), show_progress)

    @overload
    def encode_document(self, texts: str, *, pool_factor: float = 1.0, show_progress: bool | None = None) -> Floats: ...  # type: ignore[overload-overlap]
    @overload
    def encode_document(
        self, texts: Sequence[str], *, pool_factor: float = 1.0, show_progress: bool | None = None
    ) -> list[Floats]: ...

    def encode_document(
        self, texts: str | Sequence[str], *, pool_factor: float = 1.0, show_progress: bool | None = None
    ) -> Floats | list[Floats]:
        """Encode texts to be found: with the model's own prompt, without the tokens it skips, such as punctuation.

        Args:
            texts: One text, or a sequence of texts.
            pool_factor: Merge alike tokens until about ``1 / pool_factor`` are left; 1 keeps all.
            show_progress: True or False; None shows a bar at a terminal once a call takes longer than two seconds.

        Returns:
            float32, one array a text in input order, *Shape:* ``(tokens, dimension)``; for one ``str`` the array itself.

        Raises:
            InputTypeError: An item is not a ``str``, or no token of it is left.
            OverlongTextError: ``overlong="error"`` and a text is too long.
            SettingError: ``pool_factor`` below 1.
            MissingExtraError: ``pool_factor`` above 1 without scipy.
            ClosedModelError: After :meth:`close`.
        """
        check_factor(pool_factor)
        if isinstance(texts, str):
            return self._encode("document", [texts], False, pool_factor)[0]
        return self._encode("document", inputs.checked_texts(texts), show_progress, pool_factor)

    def _encode(
        self, role: Role, texts: list[str], show_progress: bool | None, pool_factor: float = 1.0
    ) -> list[Floats]:
        encoder = self._lifecycle.get()
        rows: list[Floats] = []
        cut = Cut()
        with progress.bar(len(texts), show_progress) as advance:
            for start in range(0, len(texts), WINDOW):
                some, more = encoder(
                    role, texts[start : start + WINDOW], advance, pool_factor=pool_factor, first_index=start
                )
                rows += some
                cut += more
        if cut.texts:
            with self._lifecycle.lock:
                self._cut += cut
            limit = self.query_length if role == "query" else self.document_length
            warnings.warn(
                TruncationWarning(cut.texts, cut.tokens, limit, remedy=REMEDIES[role]), stacklevel=callers.level()
            )
        return rows

    def similarity(self, queries: Sequence[Floats], documents: Sequence[Floats]) -> Floats:
        """Score every document for every query: MaxSim, or its mean over the query's tokens for a model made for that.

        Args:
            queries: From :meth:`encode_query`.
            documents: From :meth:`encode_document`.

        Returns:
            float32, *Shape:* ``(len(queries), len(documents))``. Higher is more alike.

        Raises:
            VectorError: Vectors that do not fit one another.
        """
        scores = maxsim(queries, documents)
        if self._layout.mean:
            scores /= np.array([len(query) for query in queries], dtype=np.float32)[:, None]
        return scores

    def rerank(
        self,
        query: str,
        documents: Sequence[str],
        k: int | None = None,
        *,
        first_scores: Sequence[float] | None = None,
        share: float | None = None,
    ) -> list[Ranked]:
        """Put the documents of any first stage in the order of their MaxSim with the query.

        Args:
            query: The query.
            documents: What the first stage found; equal texts are encoded once.
            k: How many to keep; None for all.
            first_scores: The first stage's scores, higher is better. With them a document's score is ``(1 - share)`` of its
                MaxSim and ``share`` of its first score, each stretched to 0…1 over these documents. Worth it where the first
                stage looks at words (BM25, hybrid); the dense model's own scores add nothing to MaxSim.
            share: Between 0 and 1; None for :data:`FIRST_SHARE`.

        Returns:
            The best ``k``, best first; equal scores stay in the order given.

        Raises:
            InputTypeError: The query or a document is not a ``str``.
            SettingError: ``k`` below 1, a ``share`` outside 0 to 1 or without ``first_scores``, not a score a document.
            OverlongTextError: A text is too long and may not be cut.
        """
        if not isinstance(query, str):
            raise InputTypeError(f"rerank() takes one query, a str, not {type(query).__name__}")
        if k is not None and (type(k) is not int or k < 1):
            raise SettingError(f"k={k!r}: give a whole number from 1, or None for all")
        texts = inputs.checked_texts(documents)
        first = _checked_first(first_scores, share, len(texts))
        if not texts:
            return []
        places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        scores = self.similarity([self.encode_query(query)], self.encode_document(list(places), show_progress=False))
        of_each = scores[0][[places[text] for text in texts]]
        if first is not None:
            of_each = weighted(of_each, first, FIRST_SHARE if share is None else share)
        order = np.argsort(-of_each, kind="stable")[:k]
        return [Ranked(int(i), float(of_each[i])) for i in order]

    def count_tokens(self, texts: Sequence[str], *, role: Role = "document") -> list[int]:
        """Tokens of each text with prompt and special tokens, before anything is cut, filled up or left out.

        Args:
            texts: The texts.
            role: ``"query"`` or ``"document"``.

        Returns:
            One number a text, in input order.

        Raises:
            InputTypeError: An item is not a ``str``.
            SettingError: Another ``role``.
        """
        if role not in get_args(Role):
            raise SettingError(f"role={role!r}: choose one of {', '.join(get_args(Role))}")
        return self._lifecycle.get().count(role, inputs.checked_texts(texts))

    def warm_up(self) -> None:
        """Run a query and a full-length document, so that the first real call pays no start-up cost."""
        encoder = self._lifecycle.get()
        encoder("query", ["pain"], lambda _: None)
        encoder("document", ["pain " * (self.document_length // 2)], lambda _: None)

    def close(self) -> None:
        """Give back threads and memory. Encoding afterwards raises ``ClosedModelError``; closing again is fine."""
        self._lifecycle.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the settings, not the weights: the other side loads the model itself."""
        return partial(type(self), **self._settings), ()

    def __repr__(self) -> str:
        """Tell model, dimension, lengths, device, precision and engine."""
        if self._lifecycle.closed:
            return f"MedColBERT({self.name!r}, closed)"
        engine = self._lifecycle.get().engine
        return (
            f"MedColBERT({self.name!r}, dimension={self.dimension}, query_length={self.query_length}, "
            f"document_length={self.document_length}, device={engine.device!r}, precision={engine.precision!r}, engine={engine.name!r})"
        )


def _checked_first(scores: Sequence[float] | None, share: float | None, count: int) -> Floats | None:
    if scores is None:
        if share is not None:
            raise SettingError(f"share={share}: a share of what? Give first_scores too, or leave it out")
        return None
    if share is not None and not 0 <= share <= 1:
        raise SettingError(f"share={share}: give a share of the first stage's score, from 0 to 1")
    wanted = f"first_scores: give one finite number for each of {count} documents"
    try:
        first = np.asarray(scores, dtype=np.float32)
    except (TypeError, ValueError):
        # numpy's own message quotes what it was given, which may be a text
        raise SettingError(f"{wanted}; some of these are no numbers") from None
    if first.shape != (count,) or not np.isfinite(first).all():
        raise SettingError(f"{wanted}; these have shape {first.shape}, {np.isfinite(first).sum()} of them finite")
    return first

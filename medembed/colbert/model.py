"""MedColBERT: the public class of late interaction.

Conveniences are here. The work is in colbert/encoding.py and the engines.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args, overload

import numpy as np
from numpy.typing import NDArray

from medembed import vectors
from medembed.checkpoints import model_files
from medembed.checkpoints.registry import BUNDLED
from medembed.clinical.asked import Assertion, asked
from medembed.colbert.carried import Carried, carried
from medembed.colbert.encoding import Role, TokenEncoder
from medembed.colbert.layouts import Layout, read_layout
from medembed.colbert.maxsim import maxsim
from medembed.colbert.reranking import Ranked, checked_first, ranked
from medembed.colbert.token_pooling import check_factor
from medembed.errors import InputTypeError, SettingError
from medembed.runtime import inputs as texts_of
from medembed.runtime import options
from medembed.runtime.encoding import Cut, cut_of
from medembed.runtime.engines import Device, PrecisionSetting
from medembed.runtime.engines.interface import Engine
from medembed.runtime.options import How
from medembed.runtime.session import Session, warn_of, within
from medembed.runtime.tokenizer import Overlong, Tokenizer
from medembed.search.shares import FIRST_SHARE

Floats = NDArray[np.float32]

REMEDIES = {
    "query": "Shorten them, or raise query_length where the model can read more",
    "document": "MedColBERT(..., overlong='chunk') reads them whole",
}


@dataclass(frozen=True)
class EncodedTokens:
    """Token vectors of several texts. It also tells what the model did not read of them.

    Attributes:
        vectors: float32, one array per text in input order. *Shape:* ``(tokens, dimension)`` each.
        cut: Texts that were cut, and the tokens left out of them.
        tokens: Tokens of each text before anything was cut, prompt and special tokens included. *Shape:* ``(n,)``.
    """

    vectors: list[Floats]
    cut: Cut
    tokens: NDArray[np.int64]


class MedColBERT(Session[TokenEncoder]):
    """A late-interaction model (ColBERT): one vector per token, compared by MaxSim.

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
        revision: Commit, tag or branch of a hub model, None for the one first downloaded; or the ``sha256-…`` that a folder
            must have.
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
        """Find the model and start its engine."""
        settings = {
            "model": model, "device": device, "precision": precision, "query_length": query_length,
            "document_length": document_length, "overlong": overlong, "threads": threads, "revision": revision,
            "cache_dir": cache_dir, "local_files_only": local_files_only, "engine": engine,
        }  # fmt: skip
        super().__init__(settings, late_interaction=True)
        self._layout = self._with_lengths(read_layout(self._checkpoint), query_length, document_length)
        self._open()

    def _with_lengths(self, layout: Layout, query_length: int | None, document_length: int | None) -> Layout:
        most = model_files.position_limit(self._checkpoint.config)
        query = within("query_length", query_length, layout.query_length, most)
        document = within("document_length", document_length, layout.document_length, most)
        expansion = layout.expansion
        if expansion is not None and (expansion.cuts or expansion.length > query):
            expansion = replace(expansion, length=query)
        return replace(layout, query_length=query, document_length=document, expansion=expansion)

    def _start(self) -> TokenEncoder:
        return TokenEncoder(self._checkpoint, self._layout, self._engine(), overlong=self.overlong)

    def _documents(self) -> tuple[Tokenizer, str]:
        return self._encoder().tokenizer("document"), self._layout.prompts["document"]

    def _facts(self) -> dict[str, object]:
        return {
            "dimension": self.dimension,
            "query_length": self.query_length,
            "document_length": self.document_length,
        }

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

    @overload
    # a str is also a Sequence[str], and is told apart here
    def encode_query(  # type: ignore[overload-overlap]
        self,
        inputs: str,
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        convert_to_numpy: Literal[True] = True,
        convert_to_tensor: Literal[False] = False,
        normalize_embeddings: bool = False,
    ) -> Floats: ...
    @overload
    def encode_query(
        self,
        inputs: Sequence[str],
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        convert_to_numpy: Literal[True] = True,
        convert_to_tensor: Literal[False] = False,
        normalize_embeddings: bool = False,
    ) -> list[Floats]: ...

    def encode_query(
        self,
        inputs: str | Sequence[str],
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        convert_to_numpy: Literal[True] = True,
        convert_to_tensor: Literal[False] = False,
        normalize_embeddings: bool = False,
    ) -> Floats | list[Floats]:
        """Encode search queries.

        They get the model's own prompt, and are filled up to its length where the model does that.

        Args:
            inputs: One text, or a sequence of texts.
            prompt_name: The name of another of the model's own prompts.
            prompt: A prompt of your own in place of the model's; it wins over ``prompt_name``.
            batch_size: Most texts computed at a time; None for as many as fit the engine's budget of tokens, which is faster.
            show_progress_bar: True or False; None shows a bar at a terminal once a call takes longer than two seconds.
            convert_to_numpy: True.
            convert_to_tensor: False; ``torch.from_numpy(...)`` makes a tensor of an array.
            normalize_embeddings: Scale to unit length also the vectors of a model that does not do so by itself.

        Returns:
            float32, one array per text in input order, *Shape:* ``(tokens, dimension)``; for one ``str`` the array itself.

        Raises:
            InputTypeError: An item is not a ``str``.
            SettingError: An option has a value that means nothing here.
            OverlongTextError: A query above :attr:`query_length` where ``overlong`` is not ``"truncate"``.
            ClosedModelError: After :meth:`close`.
        """
        options.check_elsewhere({"convert_to_numpy": convert_to_numpy, "convert_to_tensor": convert_to_tensor})
        how = self._how("query", prompt_name, prompt, batch_size, unit=normalize_embeddings)
        if isinstance(inputs, str):
            return self._encode("query", [inputs], how, False)[0]
        return self._encode("query", texts_of.checked_texts(inputs), how, show_progress_bar)

    @overload
    def encode_document(  # type: ignore[overload-overlap]
        self,
        inputs: str,
        *,
        pool_factor: float = 1.0,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        convert_to_numpy: Literal[True] = True,
        convert_to_tensor: Literal[False] = False,
        normalize_embeddings: bool = False,
    ) -> Floats: ...
    @overload
    def encode_document(
        self,
        inputs: Sequence[str],
        *,
        pool_factor: float = 1.0,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        convert_to_numpy: Literal[True] = True,
        convert_to_tensor: Literal[False] = False,
        normalize_embeddings: bool = False,
    ) -> list[Floats]: ...

    def encode_document(  # noqa: PLR0913 - the options of sentence-transformers, all keyword-only
        self,
        inputs: str | Sequence[str],
        *,
        pool_factor: float = 1.0,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        convert_to_numpy: Literal[True] = True,
        convert_to_tensor: Literal[False] = False,
        normalize_embeddings: bool = False,
    ) -> Floats | list[Floats]:
        """Encode texts to be found.

        They get the model's own prompt. The tokens that the model skips, such as punctuation, are left out.

        Args:
            inputs: One text, or a sequence of texts.
            pool_factor: Merge alike tokens until about ``1 / pool_factor`` are left; 1 keeps all.
            prompt_name: As for :meth:`encode_query`, and so are the following.
            prompt: A prompt of your own in place of the model's.
            batch_size: Most texts computed at a time.
            show_progress_bar: True, False or None.
            convert_to_numpy: True.
            convert_to_tensor: False.
            normalize_embeddings: Scale to unit length.

        Returns:
            float32, one array per text in input order, *Shape:* ``(tokens, dimension)``; for one ``str`` the array itself.

        Raises:
            InputTypeError: An item is not a ``str``, or no token of it is left.
            OverlongTextError: ``overlong="error"`` and a text is too long.
            SettingError: ``pool_factor`` below 1, or an option has a value that means nothing here.
            MissingExtraError: ``pool_factor`` above 1 without scipy.
            ClosedModelError: After :meth:`close`.
        """
        options.check_elsewhere({"convert_to_numpy": convert_to_numpy, "convert_to_tensor": convert_to_tensor})
        check_factor(pool_factor)
        how = self._how("document", prompt_name, prompt, batch_size, unit=normalize_embeddings)
        if isinstance(inputs, str):
            return self._encode("document", [inputs], how, False, pool_factor)[0]
        return self._encode("document", texts_of.checked_texts(inputs), how, show_progress_bar, pool_factor)

    def encode_counted(
        self,
        inputs: Sequence[str],
        *,
        role: Role = "document",
        pool_factor: float = 1.0,
        overlong: Overlong | None = None,
        show_progress_bar: bool | None = None,
    ) -> EncodedTokens:
        """Encode texts and count what is cut, in place of a warning.

        Args:
            inputs: A sequence of texts.
            role: ``"query"`` or ``"document"``.
            pool_factor: As for :meth:`encode_document`; documents only.
            overlong: What to do with texts above the limit in this call; None for what the model was made with.
            show_progress_bar: As for :meth:`encode_query`.

        Returns:
            The vectors, the texts and tokens that were cut in this call, and each text's tokens.

        Raises:
            SettingError: Another ``role``.
            MedEmbedError: As :meth:`encode_query` and :meth:`encode_document`.
        """
        check_factor(pool_factor)
        how = replace(
            self._how(_checked_role(role), None, None, None, unit=False), overlong=options.checked_overlong(overlong)
        )
        return self._run(role, texts_of.checked_texts(inputs), how, show_progress_bar, pool_factor)

    def _how(
        self, role: Role, prompt_name: str | None, prompt: str | None, batch_size: int | None, *, unit: bool
    ) -> How:
        # the layout's own prompts, which may hold marker tokens, come before the folder's list of prompts
        prompts = {**self.spec.prompts, **self._layout.prompts}
        return How(
            prompt=options.prompt_of(prompts, role if prompt_name is None else prompt_name, prompt),
            batch_size=options.checked_batch_size(batch_size),
            unit=unit,
        )

    def _encode(
        self, role: Role, texts: list[str], how: How, show: bool | None, pool_factor: float = 1.0
    ) -> list[Floats]:
        encoded = self._run(role, texts, how, show, pool_factor)
        warn_of(encoded.cut, self._limit(role), REMEDIES[role])
        return encoded.vectors

    def _limit(self, role: Role) -> int:
        return self.query_length if role == "query" else self.document_length

    def _run(self, role: Role, texts: list[str], how: How, show: bool | None, pool_factor: float) -> EncodedTokens:
        encoder = self._encoder()
        out: list[Floats] = []
        tokens = np.empty(len(texts), dtype=np.int64)
        cuts = encoder.treatment(role, how) == "truncate"

        def encode_window(window: slice, advance: Any) -> Cut:
            rows, tokens[window] = encoder(
                role, texts[window], how, advance, pool_factor=pool_factor, first_index=window.start
            )
            scaled = how.unit and not self._layout.normalized
            out.extend(map(vectors.normalize, rows) if scaled else rows)
            return cut_of(tokens[window], self._limit(role)) if cuts else Cut()

        return EncodedTokens(out, self._in_windows(len(texts), show, encode_window), tokens)

    def similarity(self, queries: Sequence[Floats], documents: Sequence[Floats]) -> Floats:
        """Score every document for every query.

        The score is MaxSim, or its mean over the query's tokens for a model made for that.

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
        assertion: Assertion | None = None,
    ) -> list[Ranked]:
        """Order any first stage's documents by their MaxSim with the query.

        Args:
            query: The query.
            documents: What the first stage found; equal texts are encoded once.
            k: How many to keep; None for all.
            first_scores: The first stage's scores, higher is better. With them a document's score is ``(1 - share)`` of its
                MaxSim and ``share`` of its first score, each stretched to 0…1 over these documents. Worth it where the first
                stage looks at words (BM25, hybrid); the dense model's own scores add nothing to MaxSim.
            share: Between 0 and 1; None for :data:`FIRST_SHARE`.
            assertion: What the documents have to say of the query's words: ``"affirmed"``, ``"negated"``, or ``"any"`` for no
                matter. None reads it from the query, as :meth:`EmbeddedCorpus.search` does.

        Returns:
            The best ``k``, best first; equal scores stay in the order given.

        Raises:
            InputTypeError: The query or a document is not a ``str``.
            SettingError: ``k`` below 1, another ``assertion``, a ``share`` outside 0 to 1 or without ``first_scores``, or not one score per document.
            OverlongTextError: A text is too long and may not be cut.
        """
        if not isinstance(query, str):
            raise InputTypeError(f"rerank() takes one query, a str, not {type(query).__name__}")
        if k is not None and (type(k) is not int or k < 1):
            raise SettingError(f"k={k!r}: give a whole number from 1, or None for all")
        texts = texts_of.checked_texts(documents)
        first = checked_first(first_scores, share, len(texts))
        wishes = asked(query, assertion)
        if not texts:
            return []
        places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        scores = self.similarity(
            [self.encode_query(query)], self.encode_document(list(places), show_progress_bar=False)
        )
        own = scores[0][[places[text] for text in texts]]
        return ranked(own, texts, k, first, FIRST_SHARE if share is None else share, wishes)

    def explain(self, query: str, document: str) -> list[Carried]:
        """The words of a document that carry its MaxSim with a query.

        Args:
            query: The query.
            document: The document; of a longer one than the model reads, what it reads.

        Returns:
            The words in their order, each with its share of the score; what special tokens carry is left out.

        Raises:
            InputTypeError: A text is not a ``str``.
            SettingError: The model merges tokens, or reads long documents in windows: its vectors stand for no single word.
        """
        if not all(isinstance(text, str) for text in (query, document)):
            raise InputTypeError("explain() takes one query and one document, both str")
        [asked_for] = self.encode_counted([query], role="query", show_progress_bar=False).vectors
        [told] = self.encode_counted([document], show_progress_bar=False).vectors
        spans = self._encoder().spans(document)
        if len(spans) != len(told):
            raise SettingError(
                f"{self.name!r} merges tokens or reads this document in windows, so no vector stands for one word: explain with "
                "MedColBERT('mini')"
            )
        return carried(asked_for, told, spans, document)

    def count_tokens(self, texts: Sequence[str], *, role: Role = "document") -> list[int]:
        """Tokens of each text with prompt and special tokens.

        They are counted before anything is cut, filled up or left out.

        Args:
            texts: The texts.
            role: ``"query"`` or ``"document"``.

        Returns:
            One number per text, in input order.

        Raises:
            InputTypeError: An item is not a ``str``.
            SettingError: Another ``role``.
        """
        return self._encoder().count(_checked_role(role), texts_of.checked_texts(texts))

    def warm_up(self) -> None:
        """Run a query and a full-length document. The first real call then pays no start-up cost."""
        self._run("query", ["pain"], self._how("query", None, None, None, unit=False), False, 1.0)
        long = "pain " * (self.document_length // 2)
        self._run("document", [long], self._how("document", None, None, None, unit=False), False, 1.0)


def _checked_role(role: Role) -> Role:
    if role not in get_args(Role):
        raise SettingError(f"role={role!r}: choose one of {', '.join(get_args(Role))}")
    return role

"""A late-interaction model's folder → how its queries and documents are encoded.

Three layouts, one description: Stanford's ColBERT (``artifact.metadata``, projection beside the encoder's weights), PyLate
(settings in ``config_sentence_transformers.json``) and sentence-transformers 6 (settings with each module). What each
leaves out means here what it means to sentence-transformers' ``MultiVectorEncoder``.
"""

import json
import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medembed.checkpoints import keys, model_files
from medembed.checkpoints.checkpoint import Checkpoint
from medembed.checkpoints.files import ModelFiles
from medembed.errors import BadWeightsError, CorruptFileError, UnsupportedModelError
from medembed.per_process import computing

STANFORD_MARKERS = {"query": "[unused0]", "document": "[unused1]"}
# what ColBERT (Khattab and Zaharia 2020) fills its queries up to
EXPANSION_LENGTH = 32


@dataclass(frozen=True)
class Expansion:
    """Filling up of short queries with mask tokens. Each of these then asks for something of its own.

    Attributes:
        length: Tokens to fill up to.
        attend: Whether the query's own tokens see the added ones.
        token: What is added; None for the tokenizer's mask token.
        cuts: Whether longer queries are cut to ``length`` too.
    """

    length: int
    attend: bool = False
    token: str | None = None
    cuts: bool = True


@dataclass(frozen=True)
class Projection:
    """One linear step from token states to vectors. It is ``x · weightᵀ (+ bias) (+ residual)``.

    Attributes:
        weight: *Shape:* ``(to, from)``.
        bias: *Shape:* ``(to,)``; None for none.
        residual: What is added of the input: a matrix *Shape:* ``(to, from)``, or True for the input itself.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32] | None = None
    residual: NDArray[np.float32] | bool = False

    def __call__(self, states: NDArray[np.float32]) -> NDArray[np.float32]:
        """Project. *Shape:* ``(tokens, from)`` → ``(tokens, to)``."""
        with computing():
            out = states @ self.weight.T
            if self.bias is not None:
                out += self.bias
            if self.residual is not False:
                out += states if self.residual is True else states @ self.residual.T
            return out


@dataclass(frozen=True)
class Layout:
    """Settings of a late-interaction model. They say how it reads texts and what it gives.

    Attributes:
        prompts: Text put before queries (``"query"``) and documents (``"document"``).
        markers: Prompts that are one token of the vocabulary, to be kept whole.
        query_length: Tokens read of a query.
        document_length: Tokens read of a document.
        expansion: How queries are filled up; None for not at all.
        skipped: Words whose tokens give no vector.
        skipped_in: Of what, among ``"query"`` and ``"document"``.
        projections: From token states to vectors, one after the other.
        normalized: Whether vectors are scaled to unit length.
        mean: Whether a score is the mean over a query's tokens and not the sum.
        pool_factor: Token pooling that belongs to the model; 1 for none.
        protected: First tokens that its pooling leaves alone.
        pooled_normalized: Whether pooled vectors are scaled to unit length.
    """

    prompts: Mapping[str, str]
    markers: tuple[str, ...]
    query_length: int
    document_length: int
    expansion: Expansion | None
    skipped: tuple[str, ...]
    skipped_in: tuple[str, ...]
    projections: tuple[Projection, ...]
    normalized: bool
    mean: bool = False
    pool_factor: float = 1.0
    protected: int = 1
    pooled_normalized: bool = True


def read_layout(checkpoint: Checkpoint) -> Layout:
    """Read how a late-interaction model works.

    Args:
        checkpoint: From ``checkpoint.fetch(..., late_interaction=True)``.

    Returns:
        Its layout, projections loaded.

    Raises:
        CheckpointError: A setting, a module or a weight that cannot be used.
    """
    if "HF_ColBERT" in (checkpoint.config.get("architectures") or ()):
        return _stanford(checkpoint)
    saved = checkpoint.files.json(checkpoint.head / keys.SENTENCE_CONFIG)
    return _pylate(checkpoint, saved) if _is_pylate(saved) else _sentence_transformers(checkpoint, saved)


def _is_pylate(saved: Mapping[str, Any]) -> bool:
    return saved.get("model_type") == "ColBERT" or "query_prefix" in saved


def _stanford(checkpoint: Checkpoint) -> Layout:
    folder, limit = checkpoint.folder, checkpoint.spec.max_seq_length
    path = folder / "artifact.metadata"
    told = checkpoint.files.json(path)
    markers = {
        "query": _of(told, "query_token_id", str, STANFORD_MARKERS["query"], path),
        "document": _of(told, "doc_token_id", str, STANFORD_MARKERS["document"], path),
    }
    expansion = Expansion(
        length=_of(told, "query_maxlen", int, EXPANSION_LENGTH, path),
        attend=_of(told, "attend_to_mask_tokens", bool, False, path),
    )
    skips = _of(told, "mask_punctuation", bool, True, path)
    return Layout(
        prompts={role: f"{marker} " for role, marker in markers.items()},
        markers=tuple(markers.values()),
        query_length=min(expansion.length, limit),
        document_length=min(_of(told, "doc_maxlen", int, limit, path), limit),
        expansion=expansion,
        skipped=tuple(string.punctuation) if skips else (),
        skipped_in=("document",),
        projections=_chained([Projection(_linear(checkpoint))], checkpoint),
        normalized=True,
    )


def _pylate(checkpoint: Checkpoint, saved: Mapping[str, Any]) -> Layout:
    path, limit = checkpoint.head / keys.SENTENCE_CONFIG, checkpoint.spec.max_seq_length
    prefixes = {role: _of(saved, f"{role}_prefix", str, "", path) for role in ("query", "document")}
    prompts = checkpoint.spec.prompts
    length = _of(saved, "query_length", int, EXPANSION_LENGTH, path)
    expands = _of(saved, "do_query_expansion", bool, True, path)
    attend = _of(saved, "attend_to_expansion_tokens", bool, False, path)
    skipped = _of(saved, "skiplist_words", list, list(string.punctuation), path)
    return Layout(
        prompts={role: prefix + prompts[role].removeprefix(prefix) for role, prefix in prefixes.items()},
        markers=tuple(prefix for prefix in prefixes.values() if prefix),
        query_length=min(length, limit),
        document_length=min(_of(saved, "document_length", int, limit, path), limit),
        expansion=Expansion(length, attend) if expands else None,
        skipped=tuple(str(word) for word in skipped),
        skipped_in=("document",),
        projections=_projections(checkpoint),
        normalized=True,
    )


def _sentence_transformers(checkpoint: Checkpoint, saved: Mapping[str, Any]) -> Layout:
    modules = dict(model_files.read_modules(checkpoint.head, checkpoint.files))
    path = modules.get(model_files.TRANSFORMER, checkpoint.head) / "sentence_bert_config.json"
    told, limit = checkpoint.files.json(path), checkpoint.spec.max_seq_length
    expansion = _expansion(told, path)
    query_length = _of(told, "query_length", int, limit, path)
    if expansion is not None:
        query_length = expansion.length if expansion.cuts else max(query_length, expansion.length)
    mask_path = modules.get(model_files.MASK, checkpoint.head / "no mask") / "config.json"
    mask = checkpoint.files.json(mask_path)
    if mask.get("keep_only_token_ids"):
        raise UnsupportedModelError(
            f"{mask_path} keeps only some tokens of documents, as models of images do; medembed encodes text"
        )
    pooling_path = modules.get(model_files.TOKEN_POOLING, checkpoint.head / "no pooling") / "config.json"
    pooling = checkpoint.files.json(pooling_path)
    return Layout(
        prompts={role: checkpoint.spec.prompts[role] for role in ("query", "document")},
        markers=(),
        query_length=min(query_length, limit),
        document_length=min(_of(told, "document_length", int, limit, path), limit),
        expansion=expansion,
        skipped=tuple(str(word) for word in _of(mask, "skiplist_words", list, [], mask_path)),
        skipped_in=tuple(str(role) for role in _of(mask, "skiplist_tasks", list, ["document"], mask_path)),
        projections=_projections(checkpoint),
        normalized=model_files.NORMALIZE in modules,
        mean=saved.get("similarity_fn_name") == "meanmaxsim",
        pool_factor=float(_of(pooling, "pool_factor", (int, float), 1.0, pooling_path)),
        protected=_of(pooling, "num_protected_tokens", int, 1, pooling_path),
        # sentence-transformers reads configurations from before this setting in the same way, for the sake of existing indexes
        pooled_normalized=_of(pooling, "normalize_embeddings", bool, False, pooling_path),
    )


def _expansion(told: Mapping[str, Any], path: Path) -> Expansion | None:
    given = told.get("query_expansion")
    if given is None:
        return None
    if not isinstance(given, dict) or given.get("strategy") not in ("fixed", "min"):
        raise CorruptFileError(f"{path} says query_expansion = {given!r}; a strategy 'fixed' or 'min' was expected")
    return Expansion(
        length=_of(given, "length", int, EXPANSION_LENGTH, path),
        attend=_of(given, "attend", bool, False, path),
        token=given.get("token"),
        cuts=given["strategy"] == "fixed",
    )


def _projections(checkpoint: Checkpoint) -> tuple[Projection, ...]:
    """The folder's ``Dense`` modules."""
    modules = model_files.read_modules(checkpoint.head, checkpoint.files)
    return _chained([_dense(path, checkpoint.files) for kind, path in modules if kind == model_files.DENSE], checkpoint)


def _dense(folder: Path, files: ModelFiles) -> Projection:
    path = folder / "config.json"
    told = files.json(path)
    activation = str(told.get("activation_function", "Identity"))
    if activation.rpartition(".")[2] != "Identity":
        raise UnsupportedModelError(f"{path} asks for {activation} after its projection; medembed runs linear ones")
    stored = files.weights(folder).read()
    if "linear.weight" not in stored:
        raise BadWeightsError(f"{folder} lacks weight 'linear.weight', which a Dense module has")
    residual: NDArray[np.float32] | bool = bool(told.get("use_residual", False))
    return Projection(stored["linear.weight"], stored.get("linear.bias"), stored.get("residual.weight", residual))


def _linear(checkpoint: Checkpoint) -> NDArray[np.float32]:
    """Stanford's projection, which stands among the encoder's weights."""
    weights = checkpoint.files.weights().read()
    if "linear.weight" not in weights:
        raise BadWeightsError(f"{checkpoint.folder} lacks weight 'linear.weight', which its configuration calls for")
    return weights["linear.weight"]


def _chained(projections: list[Projection], checkpoint: Checkpoint) -> tuple[Projection, ...]:
    """The same, checked to fit one another and the encoder."""
    width = checkpoint.spec.dimension
    for projection in projections:
        if projection.weight.ndim != 2 or projection.weight.shape[1] != width:
            raise BadWeightsError(
                f"{checkpoint.folder}: a projection has shape {projection.weight.shape}, but is given vectors of {width}: "
                "weights and configuration do not belong together"
            )
        width = projection.weight.shape[0]
    return tuple(projections)


def _of(told: Mapping[str, Any], key: str, kind: Any, default: Any, path: Path) -> Any:
    """A setting of a file, checked. It is the default where it is absent or null."""
    value = told.get(key)
    if value is None:
        return default
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise CorruptFileError(f"{path} says {key} = {json.dumps(value)}: download the model again")
    if kind is int and value < 0:
        raise CorruptFileError(f"{path} says {key} = {value}; it cannot be negative: download the model again")
    return value

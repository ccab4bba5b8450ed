"""Models as a user may give them for MODEL, with their facts.

The facts are for results: name, revision, variant, size, license, base model.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from medembed.checkpoints import checkpoint as checkpoints
from medembed.checkpoints.registry import BUNDLED, MODELS, ModelSpec
from medembed.errors import SettingError

Kind = Literal["medembed", "late-interaction", "sentence-transformers", "mteb"]
Prompts = Literal["model", "none"]

# documents of a first stage that late interaction puts in a new order, as most papers do
DEPTH = 100
BM25 = "bm25"
# the ending of a model whose ranking reads what documents assert
SCOPES = "+scopes"
MTEB_BM25 = "mteb/baseline-bm25s"

# What the published models were tuned from; their own cards and mteb's entry for "small" say it wrongly or not at all.
TUNED_FROM: Mapping[str, str] = MappingProxyType(
    {
        "abhinand/MedEmbed-small-v0.1": "BAAI/bge-small-en-v1.5",
        "abhinand/MedEmbed-base-v0.1": "BAAI/bge-base-en-v1.5",
        "abhinand/MedEmbed-large-v0.1": "BAAI/bge-large-en-v1.5",
    }
)

# Tasks of mteb whose data our own models were tuned on: figures on these are not zero-shot. MedicalQARetrieval is MedQuAD.
TUNED_ON: Mapping[str, frozenset[str]] = MappingProxyType({BUNDLED: frozenset({"MedicalQARetrieval"})})


@dataclass(frozen=True)
class Setup:
    """Settings to run models with. Whatever changes the vectors becomes part of the results' name.

    Attributes:
        device: As for ``MedEmbed``.
        precision: As for ``MedEmbed``; anything but ``"auto"`` is filed as a variant.
        threads: CPU threads; None for one per core.
        prompts: ``"model"`` uses the model's own query and document prompts, ``"none"`` leaves them out.
        truncate_dim: Keep this many dimensions; None for all.
        max_seq_length: Tokens to read of each text; None for the model's own limit.
        local_files_only: Never download a model.
        first_stage: A model whose best documents late-interaction models put in a new order; None to have them search
            the whole corpus.
        depth: How many documents of the first stage that are.
    """

    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    prompts: Prompts = "model"
    truncate_dim: int | None = None
    max_seq_length: int | None = None
    local_files_only: bool = False
    first_stage: str | None = None
    depth: int = DEPTH

    def __post_init__(self) -> None:
        """Refuse settings that mean nothing."""
        if self.depth < 1:
            raise SettingError(f"depth={self.depth}: give at least 1 document for late interaction to order")
        if self.prompts not in ("model", "none"):
            raise SettingError(f"prompts={self.prompts!r}: choose 'model' (the model's own) or 'none'")


@dataclass(frozen=True)
class ModelRef:
    """A model to measure, identified but not loaded.

    Attributes:
        kind: Who runs it: medembed, sentence-transformers, or mteb's own implementation.
        source: What to load it by.
        name: ``organisation/model`` in the results.
        revision: Commit, or ``sha256-…`` of the weights; None where only mteb knows.
        variant: What differs from the model as published, by name; empty for nothing.
        scoped: Whether its best documents are put in the order of what they assert.
        facts: Fields of mteb's ``ModelMeta`` known without loading: size, license, base model ...
    """

    kind: Kind
    source: str
    name: str
    revision: str | None = None
    variant: Mapping[str, str | int] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    scoped: bool = False


def model_ref(model: str | Path, setup: Setup) -> ModelRef:
    """Identify a model. Files are looked up or downloaded, and weights are not loaded.

    Args:
        model: A medembed name, a hub id or a folder; ``bm25``; ``colbert:NAME`` for the late interaction that a dense model
            brings along, as ``mini`` does; ``st:FOLDER`` for sentence-transformers' own encoding of a folder; ``mteb:NAME``
            for a model as mteb implements it. ``LABEL=FOLDER`` names a folder in the results. ``MODEL+scopes`` is a model whose
            best documents are put in the order of what they assert, as searching a corpus does.
        setup: How it will be run.

    Returns:
        The reference.

    Raises:
        MedEmbedError: No such model, or its files cannot be used.
    """
    text = str(model)
    if text.endswith(SCOPES):
        ref = model_ref(text.removesuffix(SCOPES), setup)
        return replace(ref, variant={**ref.variant, "scopes": "query"}, scoped=True)
    if text == BM25 or text.startswith("mteb:"):
        return _of_mteb(MTEB_BM25 if text == BM25 else text.removeprefix("mteb:"), setup)
    label, text = _labelled(text)
    kind: Kind = "sentence-transformers" if text.startswith("st:") else "medembed"
    brought = text.startswith("colbert:")
    source = text.removeprefix("st:").removeprefix("colbert:")
    wanted = True if brought else None if kind == "medembed" else False
    found = checkpoints.fetch(source, local_files_only=setup.local_files_only, late_interaction=wanted)
    if found.late_interaction:
        kind = "late-interaction"
        _check_late(setup)
    return ModelRef(
        kind=kind,
        source=str(found.folder) if kind == "sentence-transformers" else source,
        name=f"local/{label}" if label else _results_name(source, found.spec) + ("-colbert" if brought else ""),
        revision=found.revision,
        variant=_variant(kind, found.spec, setup) | (_stages(setup) if found.late_interaction else {}),
        facts=_facts(found.folder, found.spec, setup),
    )


def _of_mteb(name: str, setup: Setup) -> ModelRef:
    if setup.prompts == "none" and name != MTEB_BM25:
        raise SettingError(f"mteb:{name} applies mteb's own prompts; run it by its hub id to leave them out")
    return ModelRef(kind="mteb", source=name, name=name)


def _check_late(setup: Setup) -> None:
    for name, given in (("prompts", setup.prompts == "none"), ("truncate_dim", setup.truncate_dim is not None)):
        if given:
            raise SettingError(
                f"{name}={getattr(setup, name)!r} is for dense models; a late-interaction model always has its own prompts and dimensions"
            )


def _stages(setup: Setup) -> dict[str, str | int]:
    """The first stage's part of the results' name. It is the model at its revision, and its depth."""
    if setup.first_stage is None:
        return {}
    first = model_ref(setup.first_stage, replace(setup, first_stage=None))
    if first.kind == "late-interaction":
        raise SettingError(f"first_stage={setup.first_stage!r} is a late-interaction model: give a dense model or bm25")
    name = f"{first.name}@{first.revision}" if first.revision else first.name
    return {"first_stage": name, "depth": setup.depth}


def _labelled(text: str) -> tuple[str | None, str]:
    label = re.match(r"([\w.-]+)=(.+)", text)
    if label is None or Path(text).exists():
        return None, text
    return label[1], label[2]


def _results_name(source: str, spec: ModelSpec) -> str:
    if spec.repo:
        return spec.repo
    if source in MODELS:
        return f"medembed/{source}"
    return f"local/{re.sub(r'[^A-Za-z0-9._-]+', '-', Path(source).expanduser().resolve().name)}"


def _variant(kind: Kind, spec: ModelSpec, setup: Setup) -> dict[str, str | int]:
    variant: dict[str, str | int] = {}
    if kind == "sentence-transformers":
        variant["engine"] = kind
    # A model without prompts gives the same vectors either way: one result, not two.
    if setup.prompts == "none" and any(spec.prompts.values()):
        variant["prompts"] = "none"
    if setup.precision != "auto" and kind != "sentence-transformers":
        variant["precision"] = setup.precision
    if setup.truncate_dim is not None:
        variant["dimensions"] = setup.truncate_dim
    if setup.max_seq_length not in (None, spec.max_seq_length):
        variant["max_seq_length"] = setup.max_seq_length
    return variant


def _facts(folder: Path, spec: ModelSpec, setup: Setup) -> dict[str, Any]:
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    front = text.split("---")[1] if text.startswith("---") and text.count("---") > 1 else ""
    base = re.search(r"^base_model:\s*(?:\n\s*-\s*)?([\w./-]+)", front, re.MULTILINE)
    stated = re.search(r"^license:\s*([\w.-]+)", front, re.MULTILINE)
    known_license = spec.license if spec.license != "unknown" else (stated[1] if stated else None)
    return {
        "n_parameters": spec.parameters or count_parameters(folder),
        "embed_dim": spec.dimension or None,
        "max_tokens": setup.max_seq_length or spec.max_seq_length or None,
        "license": known_license,
        "adapted_from": TUNED_FROM.get(spec.repo or "", base[1] if base else None),
        "training_datasets": set(TUNED_ON[spec.name]) if spec.name in TUNED_ON else None,
        "use_instructions": any(spec.prompts.values()),
        "reference": f"https://huggingface.co/{spec.repo}" if spec.repo else None,
    }


def count_parameters(folder: Path) -> int:
    """Number of weights in a folder's safetensors files, from their headers alone."""
    from safetensors import safe_open

    total = 0
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="numpy") as tensors:
            total += sum(math.prod(tensors.get_slice(key).get_shape()) for key in tensors.keys())  # noqa: SIM118
    return total

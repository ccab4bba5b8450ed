"""Files that the MTEB repositories ask for.

They are a ModelMeta for each published model, and the results tree. Nothing is sent.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from medembed.checkpoints.registry import MODELS
from medembed.errors import ResultsError
from medembed.evaluation.models import TUNED_FROM
from medembed.evaluation.results import Measurement, load_results
from medembed.extras import require
from medembed.storage.durable import is_ours, write_folder, write_listing, write_text_whole

REFUSED = "not ready"

# Shared by the three models. Training data are synthetic pairs from synthetic notes: none of mteb's tasks.
_COMMON: Mapping[str, Any] = MappingProxyType(
    {
        "languages": ["eng-Latn"],
        "license": "apache-2.0",
        "open_weights": True,
        "max_tokens": 512,
        "similarity_fn_name": "cosine",
        "framework": ["PyTorch", "Sentence Transformers", "safetensors"],
        "use_instructions": False,
        "training_datasets": set(),
        "public_training_code": "https://github.com/abhinand5/MedEmbed",
        "public_training_data": "https://huggingface.co/datasets/abhinand/MedEmbed-training-triplets-v1",
    }
)
# Vocabulary of 30,522 plus 512 positions and 2 segments, times the dimension, as mteb counts its BERT models.
_EMBEDDING_ROWS = 30_522

WHY_SMALL = (
    "MedEmbed-small is in mteb already, with two mistakes: `adapted_from` names bge-base-en-v1.5, but the model has the "
    "size and shape of bge-small-en-v1.5 (12 layers, 384 dimensions, 33.4 M parameters); and `training_datasets` lists "
    "the evaluation sets of the model's card, which its published code and data do not train on. So it is shown as "
    "trained on tasks it never saw. Replace the entry by the one here."
)


@dataclass(frozen=True)
class Submission:
    """The prepared submission.

    Attributes:
        folder: Where it is.
        ready: Models with an entry that has a commit.
        missing: Model → what is still to be done, as a command.
        files: Result files copied.
    """

    folder: Path
    ready: tuple[str, ...]
    missing: Mapping[str, str]
    files: int


def prepare(folders: Sequence[Path], output: Path) -> Submission:
    """Write ModelMeta entries and the results tree. They have the form that mteb's two repositories take.

    Args:
        folders: Output folders of ``medembed evaluate``; they give the commits and the scores.
        output: ``output/mteb/medembed_models.py``, ``output/results/...`` and ``output/README.md`` are written.

    Returns:
        What is ready and what is missing.

    Raises:
        ResultsError: A folder holds no results, or ``output`` holds files that are not an earlier submission's.
        MissingExtraError: The extra ``evaluation`` is not installed.
    """
    if os.path.lexists(output) and not (output.is_dir() and is_ours(output)):
        raise ResultsError(
            f"{output} holds files that are not a submission as it was written: they would be replaced. Name a new folder with --submit"
        )
    require("mteb")
    from medembed.evaluation.mteb_bridge import meta_source
    from medembed.evaluation.mteb_tasks import is_hub_task

    ours = [item for item in load_results(folders) if item.model.name in TUNED_FROM and not item.model.variant]
    wanted = [item for item in ours if is_hub_task(item.task)]
    files = sorted({item.path for item in wanted})
    sources, missing = [], {}
    for name in TUNED_FROM:
        revision = _revision(name, ours)
        if revision is None:
            short = next(spec.name for spec in MODELS.values() if spec.repo == name)
            missing[name] = f"its commit is not known: medembed evaluate {short} --tasks medembed-five -o {folders[0]}"
        else:
            sources.append(meta_source(_fields(name, revision)))
    ready = tuple(name for name in TUNED_FROM if name not in missing)
    submission = Submission(output, ready, missing, len(files))

    def fill(folder: Path) -> None:
        for path in files:
            target = folder / "results" / path.parent.parent.name / path.parent.name
            target.mkdir(parents=True, exist_ok=True)
            for name in (path.name, "model_meta.json"):
                shutil.copyfile(path.parent / name, target / name)
        _write(folder / "mteb" / "medembed_models.py", _module(sources))
        _write(folder / "README.md", _readme(submission, wanted))
        write_listing(folder)

    output.parent.mkdir(parents=True, exist_ok=True)
    write_folder(output, fill)
    return submission


def _revision(name: str, measured: Sequence[Measurement]) -> str | None:
    found = {item.model.revision for item in measured if item.model.name == name}
    pinned = next(spec.revision for spec in MODELS.values() if spec.repo == name)
    return pinned or next(iter(sorted(found)), None)


def _fields(name: str, revision: str) -> dict[str, Any]:
    spec = next(spec for spec in MODELS.values() if spec.repo == name)
    return {
        **_COMMON,
        "name": name,
        "revision": revision,
        # mteb takes the day of the first commit where the entry says None.
        "release_date": "2024-10-20" if name.endswith("small-v0.1") else None,
        "n_parameters": spec.parameters,
        "n_embedding_parameters": _EMBEDDING_ROWS * spec.dimension,
        "memory_usage_mb": round(spec.parameters * 4 / 2**20),
        "embed_dim": spec.dimension,
        "reference": f"https://huggingface.co/{name}",
        "adapted_from": TUNED_FROM[name],
    }


def _module(sources: Sequence[str]) -> str:
    head = (
        '"""Entries for mteb/models/model_implementations/, written by `medembed leaderboard build --submit`."""\n\n'
        "from mteb.models.model_meta import ModelMeta, ScoringFunction\n"
        "from mteb.models.sentence_transformer_wrapper import SentenceTransformerEncoderWrapper\n\n"
    )
    names = [source.split("name='")[1].split("'")[0].split("/")[1] for source in sources]
    entries = [
        f"{name.lower().replace('-', '_').replace('.', '_')} = {source}"
        for name, source in zip(names, sources, strict=True)
    ]
    return head + "\n\n".join(entries) + "\n"


def _readme(submission: Submission, wanted: Sequence[Measurement]) -> str:
    tasks = sorted({f"{item.model.name}: {item.task} {item.scores['main_score'] * 100:.2f}" for item in wanted})
    missing = [f"- {name}: {REFUSED}, {todo}" for name, todo in submission.missing.items()]
    listed = [f"- {line}" for line in tasks] or [
        "- none yet: run `medembed evaluate small base large -t medembed-five`"
    ]
    return "\n".join(
        (
            "# Submission to MTEB",
            "",
            WHY_SMALL,
            "",
            "1. embeddings-benchmark/mteb: put `mteb/medembed_models.py` into `mteb/models/model_implementations/`, and",
            "   remove `abhinand/MedEmbed-small-v0.1` from `misc_models.py`. Run `make test` there, open a pull request.",
            "2. embeddings-benchmark/results: copy `results/` over theirs, open a pull request that links the first.",
            "",
            "Entries with a commit:",
            "",
            *[f"- {name}" for name in submission.ready],
            *missing,
            "",
            "Results:",
            "",
            *listed,
            "",
        )
    )


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text_whole(path, text)

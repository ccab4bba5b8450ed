"""Result folders → measurements.

mteb's JSON, the model's description and the scores per query are read without mteb.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medembed import border
from medembed.errors import ResultsError

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]
NOT_TASKS = frozenset({"model_meta", "run_settings"})


@dataclass(frozen=True)
class ModelCard:
    """The description of a model in its results.

    Attributes:
        name: ``organisation/model``.
        revision: Commit, or ``sha256-…``.
        variant: How the run differed, ``"prompts=none"`` for instance; empty for the model as published.
        parameters: Number of weights; None where unknown.
        license: As mteb or the model card states it; None where unknown.
        base_model: What it was tuned from; None where unknown or nothing.
        trained_on: mteb tasks whose data it was trained on; None where nobody declared it.
        max_tokens: Tokens it reads of a text; None where unknown.
    """

    name: str
    revision: str
    variant: str = ""
    parameters: int | None = None
    license: str | None = None
    base_model: str | None = None
    trained_on: frozenset[str] | None = None
    max_tokens: int | None = None

    @property
    def label(self) -> str:
        """Name and variant, as shown to people."""
        return f"{self.name} ({self.variant})" if self.variant else self.name


@dataclass(frozen=True)
class Measurement:
    """One model on one part (split and sub-set) of one task.

    Attributes:
        model: The model.
        task: mteb's name of the task.
        data_revision: Revision of the task's data.
        part: Split and sub-set.
        scores: mteb's measures, 0 to 1; ``main_score`` among them.
        query_ids: Ids of the queries in the order of ``per_query``; empty where only averages are known.
        per_query: Measure → one value a query. *Shape:* ``(n_queries,)``.
        encode_seconds: Time spent encoding the whole task; None where unknown.
        texts: Texts encoded in that time.
        path: The JSON file.
    """

    model: ModelCard
    task: str
    data_revision: str
    part: tuple[str, str]
    scores: Mapping[str, float]
    query_ids: tuple[str, ...]
    per_query: Mapping[str, Floats]
    encode_seconds: float | None
    texts: int | None
    path: Path


def load_results(folders: Iterable[Path]) -> list[Measurement]:
    """Read every result below some folders.

    Args:
        folders: Output folders of ``medembed evaluate``, or anything with mteb's ``results/<model>/<revision>/*.json``.

    Returns:
        Measurements, sorted by model, task and part. Where two folders hold the same one, the later folder wins.

    Raises:
        ResultsError: A folder without results, or a file that is not a result.
    """
    found: dict[tuple[str, str, str, tuple[str, str]], Measurement] = {}
    for folder in folders:
        files = [path for path in sorted(_results_root(folder).glob("**/*.json")) if path.stem not in NOT_TASKS]
        if not files:
            raise ResultsError(f"{folder}: no results; expected results/<model>/<revision>/<task>.json below it")
        for path in files:
            for measurement in _measurements(path, folder):
                model = measurement.model
                key = (model.label, model.revision, measurement.task, measurement.part)
                if key in found:
                    logger.warning("%s replaces %s", path, found[key].path)
                found[key] = measurement
    return [found[key] for key in sorted(found)]


def measurements_of(path: Path) -> list[Measurement]:
    """Read one result file, sorted by part.

    Raises:
        ResultsError: It is not a result.
    """
    return sorted(_measurements(path, path.parents[3]), key=lambda item: item.part)


def _results_root(folder: Path) -> Path:
    if not folder.is_dir():
        raise ResultsError(f"{folder}: no such folder; give the --output of `medembed evaluate`")
    return folder / "results" if (folder / "results").is_dir() else folder


def _measurements(path: Path, folder: Path) -> list[Measurement]:
    raw, meta = _read(path), _read(path.parent / "model_meta.json", missing={})
    details_path = folder / "details" / path.relative_to(_results_root(folder))
    details = _read(details_path, missing={})
    if details.get("dataset_revision") != raw.get("dataset_revision"):
        details = {}  # left by a run that was killed between the two files
    try:
        return [
            _measurement(path, raw, _card(path, meta), details, split, part)
            for split, parts in raw["scores"].items()
            for part in parts
        ]
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise ResultsError(f"{path}: not a result of mteb ({type(error).__name__})") from error


def _measurement(
    path: Path, raw: dict[str, Any], card: ModelCard, details: dict[str, Any], split: str, part: dict[str, Any]
) -> Measurement:
    queries = details.get("per_query", {}).get(split, {}).get(part["hf_subset"], {})
    encoding = details.get("encoding") or {}
    return Measurement(
        model=card,
        task=raw["task_name"],
        data_revision=raw["dataset_revision"],
        part=(split, part["hf_subset"]),
        scores={key: float(value) for key, value in part.items() if isinstance(value, int | float)},
        query_ids=tuple(queries.get("query_ids", ())),
        per_query={key: np.asarray(value, np.float64) for key, value in queries.items() if key != "query_ids"},
        encode_seconds=encoding.get("seconds"),
        texts=encoding.get("texts"),
        path=path,
    )


def _card(path: Path, meta: dict[str, Any]) -> ModelCard:
    variant = meta.get("experiment_kwargs") or {}
    trained = meta.get("training_datasets")
    return ModelCard(
        name=meta.get("name") or path.parent.parent.name.replace("__", "/", 1),
        revision=meta.get("revision") or path.parent.name,
        variant=", ".join(f"{key}={value}" for key, value in sorted(variant.items())),
        parameters=meta.get("n_parameters") or None,
        license=meta.get("license"),
        base_model=meta.get("adapted_from"),
        trained_on=None if trained is None else frozenset(trained),
        max_tokens=int(meta["max_tokens"]) if meta.get("max_tokens") else None,
    )


def _read(path: Path, missing: dict[str, Any] | None = None) -> dict[str, Any]:
    if missing is not None and not path.is_file():
        return missing
    try:
        # mteb writes a measure that is undefined as NaN
        return border.read_json_object(path, error=_unreadable, not_finite=True)
    except FileNotFoundError as error:
        raise ResultsError(f"{path}: the file is gone; measure again") from error


def _unreadable(why: str) -> ResultsError:
    return ResultsError(f"{why}, so it is no result of mteb: remove the file and measure again")

"""The smoke measurement: two bundled slices, offline, in a minute or two.

It gives one figure for quality and one for speed.
"""

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medembed.checkpoints.registry import BUNDLED
from medembed.evaluation.models import Setup
from medembed.evaluation.results import load_results
from medembed.evaluation.run import Outcome, evaluate

FOLDER = Path(__file__).parent / "smoke_data"
SLICES = ("medquad_slice", "covidqa_slice")
# bf16 and int8 move nDCG@10 of a slice of 150 queries by less than this; a broken engine moves it by far more.
TOLERANCE = 0.01


@dataclass(frozen=True)
class SmokeResult:
    """One model on the two slices.

    Attributes:
        model: Name of the model.
        ndcg_at_10: By slice, 0 to 1.
        expected: By slice, measured by sentence-transformers with the same weights and length; empty where unknown.
        texts_per_second: Of pure encoding; None for models not run by medembed.
        seconds: Of the whole measurement.
    """

    model: str
    ndcg_at_10: dict[str, float]
    expected: dict[str, float]
    texts_per_second: float | None
    seconds: float

    @property
    def as_expected(self) -> bool | None:
        """Tell whether every slice is within `TOLERANCE` of the reference.

        Without a reference, the answer is None.
        """
        if not self.expected:
            return None
        return all(abs(self.ndcg_at_10[name] - score) <= TOLERANCE for name, score in self.expected.items())


def smoke(models: Sequence[str | Path] = (BUNDLED,), *, setup: Setup | None = None) -> list[SmokeResult]:
    """Measure models on the bundled slices. Nothing is cached, and nothing is kept.

    Args:
        models: As for ``medembed.evaluation.run.evaluate``.
        setup: As for ``medembed.evaluation.run.evaluate``.

    Returns:
        One result for each model.

    Raises:
        MedEmbedError: A model cannot be loaded or run.
    """
    return [_smoke_of(model, setup) for model in models]


def _smoke_of(model: str | Path, setup: Setup | None) -> SmokeResult:
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="medembed-smoke-") as folder:
        outcomes = evaluate([model], [FOLDER / name for name in SLICES], Path(folder), setup=setup)
        _raise_first_error(outcomes)
        measured = load_results([Path(folder)])
    seconds = sum(item.encode_seconds or 0.0 for item in measured)
    texts = sum(item.texts or 0 for item in measured)
    card = measured[0].model
    references = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8")).get(card.revision, {})
    return SmokeResult(
        model=outcomes[0].model,
        ndcg_at_10={item.task: item.scores["ndcg_at_10"] for item in measured},
        expected=references.get(str(card.max_tokens), {}),
        texts_per_second=texts / seconds if seconds else None,
        seconds=time.perf_counter() - start,
    )


def _raise_first_error(outcomes: Sequence[Outcome]) -> None:
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error

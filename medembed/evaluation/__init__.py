"""Measures of retrieval: tasks, results, comparisons that can be trusted, a leaderboard.

Example:
    >>> from medembed.evaluation import holm
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medembed.evaluation.comparison import Comparison, Pair, Question, compare
    from medembed.evaluation.models import Setup
    from medembed.evaluation.own_notes import Assessment, assess
    from medembed.evaluation.own_questions import OwnNote
    from medembed.evaluation.paired import PairedTest, holm, paired_test
    from medembed.evaluation.results import Measurement, ModelCard, load_results
    from medembed.evaluation.run import Outcome, evaluate
    from medembed.evaluation.slices import SmokeResult, smoke

_HOMES = {
    "Assessment": "own_notes",
    "assess": "own_notes",
    "OwnNote": "own_questions",
    "Comparison": "comparison",
    "Measurement": "results",
    "ModelCard": "results",
    "Outcome": "run",
    "Pair": "comparison",
    "PairedTest": "paired",
    "Question": "comparison",
    "Setup": "models",
    "SmokeResult": "slices",
    "compare": "comparison",
    "evaluate": "run",
    "holm": "paired",
    "load_results": "results",
    "paired_test": "paired",
    "smoke": "slices",
}

__all__ = [
    "Assessment",
    "Comparison",
    "Measurement",
    "ModelCard",
    "Outcome",
    "OwnNote",
    "Pair",
    "PairedTest",
    "Question",
    "Setup",
    "SmokeResult",
    "assess",
    "compare",
    "evaluate",
    "holm",
    "load_results",
    "paired_test",
    "smoke",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module 'medembed.evaluation' has no attribute {name!r}")
    found = getattr(importlib.import_module(f"medembed.evaluation.{_HOMES[name]}"), name)
    globals()[name] = found
    return found

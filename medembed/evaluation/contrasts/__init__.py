"""The suite of clinical contrasts.

Each query has a passage that fits, and one that differs in a single respect.

Written by ``python -m tests.evaluation.write_contrasts`` from the open notes of MTS-Dialog, ACI-Bench and PriMock57 (CC BY 4.0).
"""

import gzip
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

TASK = "clinical-contrasts"
# The kind with two passages that fit, one in other words: both have to rank above the one that differs.
CONTROL = "control"
# Changes when what counts as right does.
SCORING = "margins"


@dataclass(frozen=True)
class Contrasts:
    """The pairs of one kind, in the shape that retrieval tasks have.

    Attributes:
        queries: By id.
        passages: By id.
        fitting: Query id → ids of the passages that fit; two for a control, one otherwise.
        differing: Query id → id of the passage that does not fit.
    """

    queries: dict[str, str] = field(default_factory=dict)
    passages: dict[str, str] = field(default_factory=dict)
    fitting: dict[str, list[str]] = field(default_factory=dict)
    differing: dict[str, str] = field(default_factory=dict)

    def candidates(self) -> dict[str, list[str]]:
        """The passages among which each query chooses."""
        return {query: [*fits, self.differing[query]] for query, fits in self.fitting.items()}


def revision() -> str:
    """The hash of the suite and of its rules: results of another revision are not comparable."""
    return hashlib.sha256(_packed() + SCORING.encode()).hexdigest()[:12]


@cache
def read() -> dict[str, Contrasts]:
    """Read the suite, by kind."""
    suite: dict[str, Contrasts] = {}
    for number, line in enumerate(gzip.decompress(_packed()).decode().splitlines()):
        row = json.loads(line)
        kind = suite.setdefault(row["kind"], Contrasts())
        query = f"q{number}"
        texts = {f"{query}-fits": row["fits"], f"{query}-differs": row["differs"]}
        kind.fitting[query] = [f"{query}-fits"]
        if "also_fits" in row:
            texts[f"{query}-also"] = row["also_fits"]
            kind.fitting[query].append(f"{query}-also")
        kind.queries[query] = row["query"]
        kind.passages.update(texts)
        kind.differing[query] = f"{query}-differs"
    return suite


def margins(kind: Contrasts, scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The margin of each query.

    It is the score of the passage that fits less the score of the one that differs.

    Args:
        kind: The contrasts.
        scores: Query id → passage id → score; a passage that was not scored counts as the lowest.
    """
    found: dict[str, float] = {}
    for query, fits in kind.fitting.items():
        scored = scores.get(query, {})
        lowest = min(scored.values(), default=0.0)
        found[query] = min(scored.get(passage, lowest) for passage in fits) - scored.get(kind.differing[query], lowest)
    return found


def right(kind: Contrasts, scores: Mapping[str, Mapping[str, float]]) -> dict[str, bool]:
    """Tell for each query whether the model has it right.

    It is right where every passage that fits scores higher than the one that differs. A control has two of them, the same claim in
    two wordings, so a coin has half of the contrasts right and a third of the controls.
    """
    return {query: margin > 0 for query, margin in margins(kind, scores).items()}


def interval(right: int, asked: int) -> tuple[float, float]:
    """Give the 95% interval of a share.

    The method is Wilson's score method (1927, doi:10.1080/01621459.1927.10502953).

    Example:
        >>> [round(bound, 3) for bound in interval(90, 100)]
        [0.826, 0.945]
    """
    z, share = 1.959964, right / asked
    middle = (share + z * z / (2 * asked)) / (1 + z * z / asked)
    reach = z * math.sqrt(share * (1 - share) / asked + z * z / (4 * asked * asked)) / (1 + z * z / asked)
    return middle - reach, middle + reach


def _packed() -> bytes:
    return (resources.files("medembed.evaluation.contrasts") / "pairs.jsonl.gz").read_bytes()

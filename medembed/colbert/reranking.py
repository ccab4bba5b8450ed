"""Scores of a first stage's documents, put in a new order."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medembed.clinical.agreement import lowered, verdict
from medembed.clinical.asked import Wish
from medembed.errors import SettingError
from medembed.search.ranking import weighted

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Ranked:
    """A document's place in a ranking.

    Attributes:
        index: Its position in the documents that were given.
        score: Its MaxSim with the query, or that and the first stage's score together, 0 to 1; higher is more alike.
    """

    index: int
    score: float


def ranked(
    own: Floats, texts: Sequence[str], k: int | None, first: Floats | None, share: float, wishes: Sequence[Wish]
) -> list[Ranked]:
    """The best documents by all that counts.

    Args:
        own: MaxSim of each document.
        texts: The documents.
        k: How many to keep; None for all.
        first: The first stage's scores; None to leave them out.
        share: Of the first stage's scores.
        wishes: What the documents have to say of the query's words.
    """
    scores = own if first is None else weighted(own, first, share)
    if wishes:
        told = zip(scores, texts, strict=True)
        scores = np.array([lowered(float(score), verdict(wishes, text).wrong) for score, text in told])
    order = np.argsort(-scores, kind="stable")[:k]
    return [Ranked(int(i), float(scores[i])) for i in order]


def checked_first(scores: Sequence[float] | None, share: float | None, count: int) -> Floats | None:
    """The first stage's scores as an array. None where there are none.

    Raises:
        SettingError: A share outside 0 to 1 or without scores, or not one finite number for each document.
    """
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

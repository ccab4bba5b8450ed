"""Tests of one model against another on the same queries.

They are a randomisation test, a bootstrap interval and Holm's correction.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medembed.extras import require

Floats = NDArray[np.float64]

RESAMPLES = 9_999
# Elements held at a time by scipy while it resamples: 4 M float64 = 32 MB.
ELEMENTS_IN_MEMORY = 4_000_000


@dataclass(frozen=True)
class PairedTest:
    """Outcome of one comparison.

    Attributes:
        difference: Mean of first minus second, in score units (0 to 1).
        low: Lower end of the 95 % confidence interval of the difference.
        high: Upper end.
        p_value: Two-sided, of the randomisation test: how often chance alone gives a difference this large.
        n_queries: Queries compared.
    """

    difference: float
    low: float
    high: float
    p_value: float
    n_queries: int


def paired_test(
    differences: Sequence[Floats],
    *,
    weights: Sequence[float] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> PairedTest:
    """Test the paired differences of two models.

    The test tells whether a weighted mean of the means of paired differences is other than zero.

    Args:
        differences: Score of the first model minus score of the second, query by query. One array per task (or part of
            a task), each *Shape:* ``(n_queries,)`` with at least two queries.
        weights: Weight of each array's mean, however many queries it has; None weighs them alike, as in a mean over
            tasks. They are scaled to a sum of 1.
        resamples: Random draws of test and bootstrap.
        seed: Of the draws; the same input gives the same answer.

    Returns:
        Difference, BCa bootstrap interval (queries drawn within each array) and p-value of the paired randomisation
        test (the sign of each query's difference is random under the null hypothesis; Fisher, 1935; Smucker et al.,
        "A comparison of statistical significance tests for information retrieval evaluation", CIKM 2007).

    Example:
        >>> import numpy as np
        >>> paired_test([np.array([0.2, 0.1, 0.3, 0.2, 0.1, 0.2, 0.3, 0.1])]).p_value < 0.05
        True
    """
    stats = require("scipy.stats")
    given = np.ones(len(differences)) if weights is None else np.asarray(weights, np.float64)
    scaled = given / given.sum()
    difference = float(sum(w * part.mean() for w, part in zip(scaled, differences, strict=True)))
    n_queries = sum(len(part) for part in differences)
    shares = np.concatenate([w * part / len(part) for w, part in zip(scaled, differences, strict=True)])
    # Turning the sign of a zero changes nothing, so zeros may be left out: half of all queries, as a rule.
    shares = shares[shares != 0]
    if not len(shares):
        return PairedTest(difference=0.0, low=0.0, high=0.0, p_value=1.0, n_queries=n_queries)
    low, high = _interval(differences, scaled, resamples, seed)
    if len(shares) == 1:  # either sign is as likely, and scipy wants two observations
        return PairedTest(difference, low, high, 1.0, n_queries)
    randomised = stats.permutation_test(
        (shares,),
        np.sum,
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, ELEMENTS_IN_MEMORY // len(shares)),
        rng=np.random.default_rng(seed),
    )
    return PairedTest(difference, low, high, float(randomised.pvalue), n_queries)


def _interval(differences: Sequence[Floats], weights: Floats, resamples: int, seed: int) -> tuple[float, float]:
    def weighted_mean(*parts: Floats, axis: int) -> Floats:
        return np.tensordot(weights, np.stack([part.mean(axis=axis) for part in parts]), axes=1)

    if all(np.ptp(part) == 0 for part in differences):
        constant = float(weighted_mean(*differences, axis=0))
        return constant, constant
    stats = require("scipy.stats")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        for method in ("BCa", "percentile"):
            interval = stats.bootstrap(
                tuple(differences),
                weighted_mean,
                n_resamples=resamples,
                batch=max(1, ELEMENTS_IN_MEMORY // max(len(part) for part in differences)),
                vectorized=True,
                method=method,
                rng=np.random.default_rng(seed),
            ).confidence_interval
            # BCa has no answer where almost every resample is the same; the percentiles always have one.
            if np.isfinite(interval.low) and np.isfinite(interval.high):
                break
    return float(interval.low), float(interval.high)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values of tests made together. All of them then err as rarely as one alone would (Holm, 1979).

    Args:
        p_values: Of the tests made together.

    Returns:
        Adjusted p-values in the same order: the k-th smallest of m times (m - k + 1), never below a smaller one's.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = largest
    return adjusted

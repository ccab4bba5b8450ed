"""Pace of the requests to a server. It says how many the server takes at once, and when it may be asked again."""

import random
from dataclasses import dataclass, field

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
FIRST_AT_ONCE = 8
# after a server had too much: answers per further request, so that a server of one slot is not overrun again at once
_ANSWERS_A_STEP = 64

_DRAWS = random.Random()  # noqa: S311  # apart from the random numbers that results are made of


def wait_s(failures: int) -> float:
    """Seconds to wait after some failures in a row: doubled each time, and drawn, so that requests do not come back together.

    Args:
        failures: How many, from 1.
    """
    longest = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(failures - 1, 30))
    return _DRAWS.uniform(longest / 2, longest)


@dataclass
class Pace:
    """The limit of requests in flight, and the time before which nothing is sent.

    The limit doubles while a server answers everything. Once the server had too much, the limit is halved, and grows again by
    one for each ``min(8 * limit, 64)`` answers. All times are seconds of one monotonic clock.

    Attributes:
        most: The limit is never above it.
        limit: Requests that may be in flight.
        not_before: Nothing is sent earlier.
        refusals: How often in a row, and not in one burst, the server took no request.
    """

    most: int
    limit: int = field(init=False)
    not_before: float = field(init=False, default=0.0)
    refusals: int = field(init=False, default=0)
    _had_too_much: bool = field(init=False, default=False)
    _answers: int = field(init=False, default=0)
    _halved_at: float = field(init=False, default=float("-inf"))

    def __post_init__(self) -> None:
        """Begin low: a server of few slots queues what it cannot serve until it is too late."""
        self.limit = min(self.most, FIRST_AT_ONCE)

    def answered(self) -> None:
        """Count an answer."""
        self.refusals = 0
        self._answers += 1
        if self._answers >= (min(8 * self.limit, _ANSWERS_A_STEP) if self._had_too_much else 1):
            self._answers = 0
            self.limit = min(self.most, self.limit + 1)

    def too_much(self, sent: float, now: float) -> None:
        """Halve the limit, once for all requests that were in flight together.

        Args:
            sent: When the request was sent.
            now: The time.
        """
        if sent < self._halved_at:
            return
        self._had_too_much, self._answers, self._halved_at = True, 0, now
        self.limit = max(1, self.limit // 2)

    def busy(self, sent: float, now: float, retry_after_s: float | None) -> None:
        """The server took no request: ask for less, and not before it says.

        Args:
            sent: When the request was sent.
            now: The time.
            retry_after_s: Seconds that the server asks to wait; None where it does not say.
        """
        if sent >= self._halved_at:
            self.refusals += 1
        self.too_much(sent, now)
        wait = wait_s(max(1, self.refusals)) if retry_after_s is None else retry_after_s
        self.not_before = max(self.not_before, now + wait)

"""The arithmetic of the adapters' benchmark; the benchmark itself needs frameworks that are not in this environment."""

import asyncio
import time

import pytest

from tests.benchmarks import adapters
from tests.benchmarks.adapters import Turns


def test_sides_take_turns_and_the_warm_up_is_not_timed() -> None:
    heard: list[tuple[str, int]] = []

    def side(name: str) -> adapters.Embed:
        return lambda given: heard.append((name, len(given)))

    sides = {name: side(name) for name in ("a", "b")}
    turns = adapters.take_turns(sides, ["text"] * 100, 3)
    assert heard[:2] == [("a", 10), ("b", 10)]
    assert [name for name, _ in heard[2:]] == ["a", "b", "b", "a", "a", "b"]
    assert {name: len(taken) for name, taken in turns.seconds.items()} == {"a": 3, "b": 3}


def test_ratio_compares_within_a_round() -> None:
    assert Turns({"slow": [4.0, 8.0, 6.0], "fast": [1.0, 4.0, 2.0]}, {}).ratio("slow", "fast") == 3.0


@pytest.mark.parametrize(("how", "at_least", "kept"), [("one by one", 0.2, 0), ("at once", 0.02, 10)])
def test_queries_are_asked_as_said_and_latencies_kept_of_those_at_once(how: str, at_least: float, kept: int) -> None:
    async def ask(query: str) -> str:
        await asyncio.sleep(0.02)
        return query.upper()

    latencies: list[float] = []
    started = time.perf_counter()
    assert adapters._asking(ask, how, latencies)(["a"] * 10) == ["A"] * 10
    assert time.perf_counter() - started >= at_least
    assert len(latencies) == kept
    assert all(latency >= 0.02 for latency in latencies)


def test_unknown_names_are_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        adapters.main(["adapters-memory"])
    assert "choose of adapters-queries, adapters-overhead, adapters-peers" in capsys.readouterr().err

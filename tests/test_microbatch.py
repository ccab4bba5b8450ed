"""Calls that share batches: whose texts run when, and what becomes of errors."""

import asyncio
import threading
import time

import pytest

from medembed.errors import EngineError, OverlongTextError
from medembed.runtime.microbatch import MicroBatcher


class Recorded:
    """Answers each text with itself in capitals, and notes the batches."""

    def __init__(self, *, seconds: float = 0.02) -> None:
        self.batches: list[tuple[str, list[str]]] = []
        self.seconds = seconds

    def __call__(self, texts: list[str], kind: str) -> list[str]:
        self.batches.append((kind, texts))
        time.sleep(self.seconds)
        if "bad" in texts:
            raise OverlongTextError.of(texts.index("bad"), "is too long")
        return [text.upper() for text in texts]


async def test_a_long_call_takes_turns_with_the_others() -> None:
    encode = Recorded()
    batcher = MicroBatcher(encode, most=4)
    long = asyncio.create_task(batcher([f"a{i}" for i in range(12)], ""))
    await asyncio.sleep(0.01)
    short = asyncio.create_task(batcher(["b"], ""))
    assert await short == ["B"]
    assert not long.done()
    assert await long == [f"A{i}" for i in range(12)]
    assert [len(texts) for _, texts in encode.batches] == [4, 4, 4, 1]


async def test_a_call_that_the_end_of_a_batch_cuts_in_two_is_the_next_ones_first() -> None:
    encode = Recorded()
    ended: list[str] = []

    async def ask(name: str) -> None:
        await batcher([f"{name}{i}" for i in range(3)], "")
        ended.append(name)

    batcher = MicroBatcher(encode, most=4)
    await asyncio.gather(*(ask(name) for name in "abcdefgh"))
    assert ended == list("abcdefgh")
    assert [len(texts) for _, texts in encode.batches] == [4] * 6


async def test_a_batch_is_of_one_kind_and_kinds_wait_their_turn() -> None:
    encode = Recorded()
    batcher = MicroBatcher(encode)
    answers = await asyncio.gather(*(batcher([f"t{i}"], "query" if i % 2 else "document") for i in range(10)))
    assert answers == [[f"T{i}"] for i in range(10)]
    assert [kind for kind, _ in encode.batches] == ["document", "query"]


async def test_an_error_names_the_place_in_the_call_and_fails_that_call_alone() -> None:
    batcher = MicroBatcher(Recorded(), most=3)
    calls = [["x", "y"], ["a", "b", "c", "d", "bad"], ["z"]]
    answers = await asyncio.gather(*(batcher(texts, "") for texts in calls), return_exceptions=True)
    assert answers[0] == ["X", "Y"]
    assert isinstance(answers[1], OverlongTextError)
    assert (str(answers[1]), answers[1].index) == ("text 4 is too long", 4)
    assert answers[2] == ["Z"]


async def test_what_a_cancelled_call_still_had_to_do_is_not_done() -> None:
    encode = Recorded()
    batcher = MicroBatcher(encode, most=2)
    long = asyncio.create_task(batcher([f"a{i}" for i in range(100)], ""))
    await asyncio.sleep(0.01)
    assert batcher.waiting == 98
    long.cancel()
    await asyncio.sleep(0)
    assert batcher.waiting == 0
    assert await batcher(["b"], "") == ["B"]
    assert len(encode.batches) == 2


async def test_a_call_in_the_turn_in_which_the_runner_ends_is_answered() -> None:
    batcher = MicroBatcher(Recorded(seconds=0))
    for _ in range(200):
        first = asyncio.create_task(batcher(["a"], ""))
        await first
        assert await asyncio.wait_for(batcher(["b"], ""), 1) == ["B"]


async def test_two_runs_overlap() -> None:
    both = threading.Barrier(2)

    def encode(texts: list[str], kind: str) -> list[str]:
        both.wait(20)  # each waits until the other runs too
        return [text.upper() + kind for text in texts]

    batcher = MicroBatcher(encode, most=1, runs=2)
    answers = list(await asyncio.gather(batcher(["a"], ""), batcher(["b"], "")))
    assert answers == [["A"], ["B"]]


async def test_a_cancelled_runner_answers_with_an_error() -> None:
    free = threading.Event()

    def encode(texts: list[str], kind: str) -> list[str]:
        free.wait(20)  # the runner is cancelled while a batch runs
        return [text.upper() + kind for text in texts]

    batcher = MicroBatcher(encode, most=1)
    calls = [asyncio.create_task(batcher([text], "")) for text in "abc"]
    await asyncio.sleep(0.005)
    for task in list(batcher._running):
        task.cancel()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    free.set()
    assert all(isinstance(answer, EngineError) for answer in answers)
    assert await batcher(["d"], "") == ["D"]


@pytest.mark.parametrize("texts", [[], ["a"], ["a"] * 1000], ids=len)
async def test_there_are_as_many_answers_as_texts(texts: list[str]) -> None:
    assert await MicroBatcher(Recorded(seconds=0))(texts, "") == [text.upper() for text in texts]

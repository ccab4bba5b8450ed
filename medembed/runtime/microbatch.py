"""Many async calls at once → few batches: while one batch computes, the calls that arrive form the next."""

import asyncio
import weakref
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar, cast

from medembed.errors import EngineError, OverlongTextError

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

# texts per batch: beyond this a batch only makes its first caller wait longer
MOST = 256


class Call(Generic[K, T]):
    """Texts that one caller waits for.

    Args:
        texts: The texts.
        costs: What each counts towards a batch.
        kind: Texts of one kind can share a batch.
    """

    def __init__(self, texts: Sequence[str], costs: Sequence[int], kind: K) -> None:
        """Nothing is taken yet."""
        self.texts, self.costs, self.kind = texts, costs, kind
        self.cost = sum(costs)
        self.taken = 0
        self.found: dict[int, Sequence[T]] = {}
        self.future: asyncio.Future[list[T]] = asyncio.get_running_loop().create_future()

    @property
    def left(self) -> int:
        """Cost of the texts that are in no batch yet. A call that was answered or cancelled has none."""
        return 0 if self.future.done() else sum(self.costs[self.taken :])

    def take(self, room: int) -> "Piece[K, T] | None":
        """The next texts that fit, at least one where the room is whole. None where none fit."""
        start, spent = self.taken, 0
        while self.taken < len(self.texts) and spent + self.costs[self.taken] <= room:
            spent += self.costs[self.taken]
            self.taken += 1
        return Piece(self, start, self.taken, spent) if self.taken > start else None

    def answer(self, start: int, found: Sequence[T]) -> None:
        """Note results. The caller goes on once all are there."""
        self.found[start] = found
        if not self.future.done() and sum(map(len, self.found.values())) == len(self.texts):
            self.future.set_result([one for _, some in sorted(self.found.items()) for one in some])

    def fail(self, start: int, error: Exception) -> None:
        """Hand an error to the caller, with the text's place in the call and not in the batch."""
        if isinstance(error, OverlongTextError) and start:
            moved = error.at(f"text {start + error.index}")
            moved.index = start + error.index
            error = moved
        if not self.future.done():
            self.future.set_exception(error)


class Piece(Generic[K, T]):
    """A call's part of a batch.

    Args:
        call: The call.
        start: Its first text here.
        end: One after its last.
        cost: What they count.
    """

    def __init__(self, call: Call[K, T], start: int, end: int, cost: int) -> None:
        """Hold what is given."""
        self.call, self.start, self.end, self.cost = call, start, end, cost

    @property
    def texts(self) -> list[str]:
        """Its texts."""
        return list(self.call.texts[self.start : self.end])


def each_is_one(_text: str, _kind: Hashable) -> int:
    """Count texts."""
    return 1


class MicroBatcher(Generic[K, T]):
    """Concurrent calls of one event loop, run together.

    There is no timer: the first call starts at once, and whatever arrives while it computes shares the next run. A lone call
    therefore pays nothing, and two hundred at a time cost a few batches. A call of many texts takes turns with the others,
    a batch at a time; a smaller call that a batch's end cuts in two is the next one's first. Between runs nothing here holds the loop.

    Args:
        encode: Runs a batch of one kind; called in a thread. It gives one result per text, in order.
        cost: What a text of a kind counts towards ``most``.
        most: The cost of a batch; a text that costs more makes a batch of its own.
        runs: Batches that are in the hands of threads at a time.
        executor: The threads; None for those of the event loop.
    """

    def __init__(
        self,
        encode: Callable[[list[str], K], Sequence[T]],
        *,
        cost: Callable[[str, K], int] = each_is_one,
        most: int = MOST,
        runs: int = 1,
        executor: Executor | None = None,
    ) -> None:
        """Nothing runs until the first call."""
        self._encode, self._cost, self._most, self._runs, self._executor = encode, cost, most, runs, executor
        self._waiting: deque[Call[K, T]] = deque()
        self._running: dict[asyncio.Task[None], list[Piece[K, T]]] = {}

    @property
    def waiting(self) -> int:
        """Cost of the texts that are in no batch yet."""
        return sum(call.left for call in self._waiting)

    @property
    def running(self) -> int:
        """Cost of the batches that are in the hands of threads."""
        return sum(piece.cost for pieces in self._running.values() for piece in pieces)

    async def __call__(self, texts: Sequence[str], kind: K) -> list[T]:
        """Encode texts. One result per text, in order. Cancelling leaves the others of a batch untouched.

        Args:
            texts: The texts.
            kind: Texts of one kind share batches.

        Raises:
            EngineError: The task that runs the batches was cancelled, or ended by something that is not an error.
        """
        if not texts:
            return []
        call: Call[K, T] = Call(texts, [min(self._most, self._cost(text, kind)) for text in texts], kind)
        self._waiting.append(call)
        if len(self._running) < self._runs:
            task = asyncio.create_task(self._run())
            self._running[task] = []
            # a callback, and not a clause in the task: one that is cancelled before its first step never runs
            task.add_done_callback(self._ended)
        return await call.future

    async def _run(self) -> None:
        await asyncio.sleep(0)  # calls started in the same turn of the loop join the first batch
        task = cast("asyncio.Task[None]", asyncio.current_task())
        while pieces := self._next():
            self._running[task] = pieces
            await self._answer(pieces)
        # here and not in the callback, which runs a turn of the loop later: a call of that turn needs a task of its own
        del self._running[task]

    def _next(self) -> list[Piece[K, T]]:
        """The next batch: texts of the oldest call, and of others of its kind as far as there is room."""
        pieces: list[Piece[K, T]] = []
        passed: list[Call[K, T]] = []
        room, kind = self._most, None
        while self._waiting and room > 0:
            call = self._waiting.popleft()
            if call.future.done():
                continue
            if pieces and call.kind != kind:
                passed.append(call)
                continue
            piece = call.take(room)
            if piece is None:
                passed.append(call)
                break
            pieces.append(piece)
            kind, room = call.kind, room - piece.cost
            if call.taken == len(call.texts):
                continue
            if call.cost <= self._most:
                passed.append(call)  # the next batch ends it: behind the others it would wait a second time
            else:
                self._waiting.append(call)  # behind the others: they take turns
                if room <= 0 or self._waiting[0] is call:
                    break
        self._waiting.extendleft(reversed(passed))
        return pieces

    def _ended(self, task: "asyncio.Task[None]") -> None:
        """Give the calls that nobody will answer an error in place of a wait for ever."""
        pieces = self._running.pop(task, [])
        if not task.cancelled() and task.exception() is None:
            return
        cause = "being cancelled" if task.cancelled() else type(task.exception()).__name__
        left = [piece.call for piece in pieces]
        if not self._running:
            left, self._waiting = [*left, *self._waiting], deque()
        for call in left:
            call.fail(
                0,
                EngineError(
                    f"the task that batches calls ended by {cause} before this text was encoded: call it again"
                ),
            )

    async def _answer(self, pieces: list[Piece[K, T]]) -> None:
        texts, kind = [text for piece in pieces for text in piece.texts], pieces[0].call.kind
        try:
            found = await self._in_thread(texts, kind)
        except Exception as error:  # noqa: BLE001 - handed on to whoever asked
            await self._answer_apart(pieces, error)
            return
        done = 0
        for piece in pieces:
            length = piece.end - piece.start
            piece.call.answer(piece.start, found[done : done + length])
            done += length

    async def _in_thread(self, texts: list[str], kind: K) -> Sequence[T]:
        if self._executor is None:
            return await asyncio.to_thread(self._encode, texts, kind)
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._encode, texts, kind)

    async def _answer_apart(self, pieces: list[Piece[K, T]], error: Exception) -> None:
        """Try each call alone after an error, so that one bad text does not fail its neighbors."""
        if len(pieces) == 1:
            pieces[0].call.fail(pieces[0].start, error)
            return
        for piece in pieces:
            if not piece.call.future.done():
                await self._answer([piece])


Batchers = weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, MicroBatcher[str, T]]
"""Batchers of plain texts, one for each event loop; their kind is a prompt."""


def of_this_loop(batchers: Batchers[T], encode: Callable[[list[str], str], Sequence[T]]) -> MicroBatcher[str, T]:
    """The batcher of the running event loop, made where it has none. Those of closed loops are dropped.

    Args:
        batchers: Those there are.
        encode: Runs a batch of a new one.
    """
    for loop in [loop for loop in batchers if loop.is_closed()]:
        del batchers[loop]
    return batchers.setdefault(asyncio.get_running_loop(), MicroBatcher(encode))

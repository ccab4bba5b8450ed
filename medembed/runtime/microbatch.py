"""Many single async calls at once → few batches: while one batch computes, the calls that arrive form the next."""

import asyncio
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from medembed.errors import EngineError

Encode = Callable[[list[str]], NDArray[np.float32]]
Call = tuple[str, "asyncio.Future[NDArray[np.float32]]"]

# texts per batch: beyond this a batch only makes its first caller wait longer
MOST = 256


class MicroBatcher:
    """Concurrent single-text calls of one event loop, run together.

    There is no timer: the first call starts at once, and whatever arrives while it computes shares the next run. A lone
    call therefore pays nothing, and two hundred at a time cost a few batches. Between runs nothing here holds the loop.

    Args:
        encode: Runs a batch; called in a worker thread.
    """

    def __init__(self, encode: Encode) -> None:
        """Nothing runs until the first call."""
        self._encode = encode
        self._waiting: list[Call] = []
        self._running: list[Call] = []
        self._runner: asyncio.Task[None] | None = None

    async def __call__(self, text: str) -> NDArray[np.float32]:
        """Encode one text. *Shape:* ``(dimension,)``. Cancelling leaves the others of its batch untouched.

        Raises:
            EngineError: The task that runs the batches was cancelled, or ended by something that is not an error.
        """
        future: asyncio.Future[NDArray[np.float32]] = asyncio.get_running_loop().create_future()
        self._waiting.append((text, future))
        if self._runner is None:
            self._runner = asyncio.create_task(self._run())
            # a callback, and not a clause in the task: one that is cancelled before its first step never runs
            self._runner.add_done_callback(self._runner_ended)
        return await future

    async def _run(self) -> None:
        await asyncio.sleep(0)  # calls started in the same turn of the loop join the first batch
        while self._waiting:
            self._running, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            wanted = [call for call in self._running if not call[1].done()]
            if wanted:
                await self._answer(wanted)
        self._running, self._runner = [], None

    def _runner_ended(self, runner: "asyncio.Task[None]") -> None:
        """Give the calls that nobody will answer an error in place of a wait for ever."""
        if not runner.cancelled() and runner.exception() is None:
            return
        cause = "being cancelled" if runner.cancelled() else type(runner.exception()).__name__
        left, self._running, self._waiting, self._runner = [*self._running, *self._waiting], [], [], None
        for _, future in left:
            if not future.done():
                future.set_exception(
                    EngineError(
                        f"the task that batches aencode() ended by {cause} before this text was encoded: call it again"
                    )
                )

    async def _answer(self, calls: list[Call]) -> None:
        try:
            rows = await asyncio.to_thread(self._encode, [text for text, _ in calls])
        except Exception as error:  # noqa: BLE001 - handed on to whoever asked
            await self._answer_apart(calls, error)
            return
        for (_, future), row in zip(calls, rows, strict=True):
            if not future.done():
                future.set_result(row)

    async def _answer_apart(self, calls: list[Call], error: Exception) -> None:
        """Try each text alone after an error, so that one bad text does not fail its neighbors."""
        if len(calls) == 1:
            future = calls[0][1]
            if not future.done():
                future.set_exception(error)
            return
        for call in calls:
            await self._answer([call])

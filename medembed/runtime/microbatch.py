"""Many single async calls at once → few batches: while one batch computes, the calls that arrive form the next."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Encode = Callable[[list[str]], NDArray[np.float32]]
Call = tuple[str, "asyncio.Future[NDArray[np.float32]]"]
T = TypeVar("T")

# texts per batch: beyond this a batch only makes its first caller wait longer
MOST = 256


class MicroBatcher:
    """Collects concurrent single-text calls of one event loop and runs them together.

    There is no timer: the first call starts at once, and whatever arrives while it computes shares the next run. A lone
    call therefore pays nothing, and two hundred at a time cost a few batches.

    Args:
        encode: Runs a batch; called in a worker thread.
    """

    def __init__(self, encode: Encode) -> None:
        """Nothing runs until the first call."""
        self._encode = encode
        self._waiting: list[Call] = []
        self._runner: asyncio.Task[None] | None = None

    async def __call__(self, text: str) -> NDArray[np.float32]:
        """Encode one text. *Shape:* ``(dimension,)``. Cancelling leaves the others of its batch untouched."""
        future: asyncio.Future[NDArray[np.float32]] = asyncio.get_running_loop().create_future()
        self._waiting.append((text, future))
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        await asyncio.sleep(0)  # calls started in the same turn of the loop join the first batch
        while self._waiting:
            batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            wanted = [call for call in batch if not call[1].done()]
            if wanted:
                await self._answer(wanted)

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
        """One bad text must not fail its neighbors: after an error each text is tried alone."""
        if len(calls) == 1:
            future = calls[0][1]
            if not future.done():
                future.set_exception(error)
            return
        for call in calls:
            await self._answer([call])

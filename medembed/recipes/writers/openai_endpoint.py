"""Pairs from any OpenAI-compatible server: as much at once as it bears, and a result only from an answer or a refusal of the note."""

import asyncio
import heapq
import itertools
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass, field

from medembed.errors import PairWriterError
from medembed.recipes.execution import Execution
from medembed.recipes.llm import Llm
from medembed.recipes.records import Failure, Note
from medembed.recipes.words import ENGLISH, Words
from medembed.recipes.writers.advice import what_to_do
from medembed.recipes.writers.chat import Answered, Busy, ChatClient, Fault, Outcome, Refused
from medembed.recipes.writers.interface import Written
from medembed.recipes.writers.pacing import Pace, wait_s
from medembed.recipes.writers.prompts import request_body
from medembed.recipes.writers.replies import parse_reply

# Asked to tell a fault of the server from one of a note. It is nobody's text, so what the server says of it may be shown.
PROBE = Note(
    "0" * 16,
    "probe",
    "probe",
    "",
    "",
    "A lighthouse is a tower with a strong lamp. It shows ships where the coast is, most often at a cape. Lenses bundle the light "
    "of the lamp into a beam. Sailors know a tower by its rhythm too.",
)
_TRIES_OF_PROBE = 3
_MOST_TIMEOUTS = 2  # each costs the whole time-out


@dataclass(order=True)
class _Open:
    """A note without a result.

    Attributes:
        ready_at: It is not sent earlier.
        order: Among those that are ready, the first of the notes goes first.
        note: The note.
        body: Its request.
        first_sent: When it was first sent.
        put_off_since: When the server first took no request of it, since it last took one.
        sent: When it was last sent.
        faults: How often it failed midway.
        timeouts: How many of these were time-outs.
        is_last_try: It is asked alone, after all others; a fault is its own then.
    """

    ready_at: float
    order: int
    note: Note = field(compare=False)
    body: bytes = field(compare=False)
    first_sent: float | None = field(compare=False, default=None)
    put_off_since: float | None = field(compare=False, default=None)
    sent: float = field(compare=False, default=0.0)
    faults: int = field(compare=False, default=0)
    timeouts: int = field(compare=False, default=0)
    is_last_try: bool = field(compare=False, default=False)


class EndpointWriter:
    """Asks a server for each note's pairs.

    A failure counts as the note's own only if the server answers another question after it. Otherwise it is the server's: the
    run stops with the reason, and notes without a result stay missing. What fails in passing (429, 503, no connection) is
    asked again for as long as the server takes anything within ``execution.patience_s``. What fails midway (500, a cut
    connection, a time-out, no chat completion) is asked again ``execution.retries`` times, and once more alone at the end.

    Args:
        settings: Model, prompt, sampling and dialect.
        execution: Server, concurrency, time-out, retries and patience.
        seed: Seed of the sampling.
        words: Abbreviations of the notes.

    Raises:
        MissingExtraError: ``httpx2`` is not installed.
        RecipeConfigError: The address or the key cannot be used.
    """

    def __init__(self, settings: Llm, execution: Execution, *, seed: int, words: Words = ENGLISH) -> None:
        self._settings, self._execution, self._seed, self._words = settings, execution, seed, words
        self._client = ChatClient(execution)
        self._pace = Pace(execution.concurrency)
        self._reached = False  # something answered since this writer was made
        self._put_off_since: float | None = None  # when the server first took no request, since it last took one
        self._proof = float("-inf")  # when the latest of the answered requests was sent
        self._loop = asyncio.new_event_loop()

    def write(self, notes: Sequence[Note]) -> Iterator[Written]:
        """Pairs of each note, in the order in which the answers come.

        Raises:
            PairWriterError: The server takes no request, or nobody answers any more.
        """
        self._put_off_since = None
        stream = self._stream(notes)
        try:
            while True:
                try:
                    yield self._loop.run_until_complete(anext(stream))
                except StopAsyncIteration:
                    return
        finally:
            self._loop.run_until_complete(stream.aclose())

    def close(self) -> None:
        """Close the connections."""
        self._loop.run_until_complete(self._client.close())
        self._loop.close()

    async def _stream(self, notes: Sequence[Note]) -> AsyncGenerator[Written, None]:
        """Keep as many requests in flight as the server can take. Whatever is done first is yielded first."""
        waiting = [_Open(0.0, order, note, self._body(note)) for order, note in enumerate(notes)]
        aside: list[_Open] = []
        running: dict[asyncio.Task[Outcome], _Open] = {}
        orders = itertools.count(len(notes))
        try:
            while waiting or running or aside:
                if not waiting and not running:
                    last = aside.pop()
                    last.is_last_try, last.ready_at = True, time.monotonic() + wait_s(1)
                    waiting.append(last)
                self._launch(waiting, running)
                for task in await self._next_done(waiting, running):
                    asked = running.pop(task)
                    written = await self._settle(asked, task.result())
                    if written is not None:
                        yield written
                    elif self._is_exhausted(asked) and not asked.is_last_try:
                        await self._prove(asked.first_sent or 0.0)
                        aside.append(asked)
                    else:
                        asked.order = next(orders)
                        heapq.heappush(waiting, asked)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def _body(self, note: Note) -> bytes:
        return request_body(note, self._settings, self._seed, self._words)

    def _launch(self, waiting: list[_Open], running: dict["asyncio.Task[Outcome]", _Open]) -> None:
        """Send what may be sent now."""
        now = time.monotonic()
        while waiting and len(running) < self._pace.limit and max(waiting[0].ready_at, self._pace.not_before) <= now:
            asked = heapq.heappop(waiting)
            asked.sent = now
            asked.first_sent = now if asked.first_sent is None else asked.first_sent
            running[asyncio.create_task(self._client.ask(asked.body))] = asked

    async def _next_done(
        self, waiting: list[_Open], running: dict["asyncio.Task[Outcome]", _Open]
    ) -> "set[asyncio.Task[Outcome]]":
        """Wait for an outcome, or until the next note may be sent."""
        pause = None
        if waiting and len(running) < self._pace.limit:
            pause = max(0.0, max(waiting[0].ready_at, self._pace.not_before) - time.monotonic())
        if not running:
            await asyncio.sleep(pause or 0.0)
            return set()
        done, _ = await asyncio.wait(running, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
        return done

    async def _settle(self, asked: _Open, outcome: Outcome) -> Written | None:
        """The result of a note, or None. None means that the note is to be asked again."""
        note_id = asked.note.note_id
        if isinstance(outcome, Answered):
            self._take_answer(asked.sent)
            return parse_reply(asked.note, outcome.text, self._settings, cut=outcome.cut, declined=outcome.declined)
        if isinstance(outcome, Refused):
            # a request too long for the model is the note's own, unless nothing is short enough
            of_length = outcome.reason != f"server answered {outcome.status}"
            await self._prove(float("-inf") if of_length else asked.sent)
            return Written(note_id, failures=[Failure(note_id, outcome.reason)])
        now = time.monotonic()
        self._note_trouble(asked.sent, now, outcome)
        if isinstance(outcome, Busy):
            asked.ready_at = now
            asked.put_off_since = now if asked.put_off_since is None else asked.put_off_since
            if now - asked.put_off_since > self._execution.patience_s:
                return Written(note_id, failures=[Failure(note_id, outcome.reason)], unanswered=True)
            return None
        asked.put_off_since = None
        if asked.is_last_try:
            await self._prove(asked.sent)
            return Written(note_id, failures=[Failure(note_id, outcome.reason)])
        asked.faults += 1
        asked.timeouts += outcome.timed_out
        asked.ready_at = now + wait_s(asked.faults)
        return None

    def _is_exhausted(self, asked: _Open) -> bool:
        return asked.faults > self._execution.retries or asked.timeouts >= min(
            _MOST_TIMEOUTS, self._execution.retries + 1
        )

    def _take_answer(self, sent: float) -> None:
        self._pace.answered()
        self._reached, self._put_off_since = True, None
        self._proof = max(self._proof, sent)

    def _note_trouble(self, sent: float, now: float, outcome: Busy | Fault) -> None:
        """Ask the server for less, and stop once there is nothing to wait for.

        Raises:
            PairWriterError: Nobody listens, no request was taken for longer than the patience, or the server asks for more of it.
        """
        if isinstance(outcome, Fault):
            self._reached, self._put_off_since = True, None
            if outcome.timed_out:
                self._pace.too_much(sent, now)
            return
        patience_s = self._execution.patience_s
        self._reached |= outcome.reached
        self._pace.busy(sent, now, outcome.retry_after_s)
        self._put_off_since = now if self._put_off_since is None else self._put_off_since
        if (outcome.retry_after_s or 0.0) > patience_s:
            raise self._stop(
                outcome, f", and asks to be left alone for longer than execution.patience_s={patience_s:g} seconds"
            )
        if not self._reached and self._pace.refusals > self._execution.retries:
            raise self._stop(outcome)
        if now - self._put_off_since > patience_s:
            raise self._stop(outcome, f", and no request was taken for {now - self._put_off_since:.0f} seconds")

    async def _prove(self, since: float) -> None:
        """Make sure that the server answers what was sent after a time, so that a failure is not the server's.

        Args:
            since: The time; nothing is asked where an answer proves it already.

        Raises:
            PairWriterError: The server does not answer.
        """
        body = self._body(PROBE)
        faults = 0
        while self._proof < since or self._proof == float("-inf"):
            await asyncio.sleep(max(0.0, self._pace.not_before - time.monotonic()))
            sent = time.monotonic()
            outcome = await self._client.ask(body)
            if isinstance(outcome, Answered):
                self._take_answer(sent)
                continue
            if isinstance(outcome, Refused):
                raise self._stop(outcome)
            self._note_trouble(sent, time.monotonic(), outcome)
            if isinstance(outcome, Fault):
                faults += 1
                if faults >= _TRIES_OF_PROBE:
                    raise self._stop(outcome)
                await asyncio.sleep(wait_s(faults))

    def _stop(self, outcome: Busy | Fault | Refused, more: str = "") -> PairWriterError:
        """The error that ends a run. The server's own words in it are those about our own text."""
        said = f" ('{outcome.said}')" if not isinstance(outcome, Busy) and outcome.said else ""
        return PairWriterError(
            f"{self._execution.endpoint}: {outcome.reason}{said}{more}. {what_to_do(outcome, self._execution, self._settings)}. "
            "Then run the same command: answers are kept, and it asks only for what is missing"
        )

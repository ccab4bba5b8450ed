"""Pairs from any OpenAI-compatible server: bounded concurrency, retries with back-off, answers held to a JSON schema."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Any

from medembed.errors import PairWriterError
from medembed.extras import require
from medembed.recipes.records import Failure, Note
from medembed.recipes.schema import Execution, Llm
from medembed.recipes.writers.api_key import api_key
from medembed.recipes.writers.interface import Written
from medembed.recipes.writers.replies import messages, parse_reply, reply_schema

_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 30.0


class _CutOffError(Exception):
    """A body that is no JSON; it never leaves this module."""


class EndpointWriter:
    """Asks a server for each note's pairs.

    A time-out, a refused connection, 408, 409, 429 or 5xx is tried again with growing waits. A note that fails for good is
    counted by its reason; when as many notes in a row fail as are asked at once, nobody is answering and the run stops.

    Args:
        settings: Model, prompt and sampling.
        execution: Server, concurrency, time-out and retries.
        seed: Seed of the sampling.
    """

    def __init__(self, settings: Llm, execution: Execution, *, seed: int) -> None:
        self._openai = require("openai")
        self._tenacity = require("tenacity")
        self._settings, self._execution, self._seed = settings, execution, seed
        key = api_key(execution)
        self._loop = asyncio.new_event_loop()
        # One connection a request in flight; the client's own limit of 1,000 is far above. Retries are ours: the client's
        # waits end after eight seconds, a server that restarts takes longer.
        self._client = self._openai.AsyncOpenAI(
            base_url=execution.endpoint,
            api_key=key or "none",
            timeout=execution.timeout_s,
            max_retries=0,
            # a redirect would carry the note to an address that nobody here has chosen
            http_client=self._openai.DefaultAsyncHttpxClient(follow_redirects=False),
        )
        # the client reads these two from the environment; who asks for them names them nowhere
        self._client.organization = self._client.project = None

    def write(self, notes: Sequence[Note]) -> Iterator[Written]:
        """Pairs of each note, in the order in which the answers come.

        Raises:
            PairWriterError: Nobody answers any more.
        """
        stream = self._stream(notes)
        failed_in_a_row = 0
        try:
            while True:
                try:
                    written = self._loop.run_until_complete(anext(stream))
                except StopAsyncIteration:
                    return
                failed_in_a_row = failed_in_a_row + 1 if written.transient else 0
                if failed_in_a_row >= min(self._execution.concurrency, max(2, len(notes))):
                    raise PairWriterError(
                        f"{failed_in_a_row} notes in a row got no answer from {self._execution.endpoint} "
                        f"({written.failures[0].reason}). Start the server, then run the same command: it goes on with what is missing"
                    )
                yield written
        finally:
            self._loop.run_until_complete(stream.aclose())

    def close(self) -> None:
        """Close the connections."""
        self._loop.run_until_complete(self._client.close())
        self._loop.close()

    async def _stream(self, notes: Sequence[Note]) -> AsyncGenerator[Written, None]:
        """Keep ``concurrency`` requests in flight; whatever is done first is yielded first."""
        waiting = iter(notes)
        running: set[asyncio.Task[Written]] = set()
        try:
            while True:
                while len(running) < self._execution.concurrency and (note := next(waiting, None)) is not None:
                    running.add(asyncio.create_task(self._ask(note)))
                if not running:
                    return
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    yield task.result()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _ask(self, note: Note) -> Written:
        """One note's pairs, or the reason why there are none."""
        openai, tenacity = self._openai, self._tenacity
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(self._is_transient),
            wait=tenacity.wait_random_exponential(multiplier=_FIRST_WAIT_S, max=_LONGEST_WAIT_S),
            stop=tenacity.stop_after_attempt(self._execution.retries + 1),
            reraise=True,
        )
        try:
            reply = await retrying(self._request, note)
        except openai.APIStatusError as error:
            if 300 <= error.status_code < 400:
                raise PairWriterError(
                    f"{self._execution.endpoint} answers with a redirect ({error.status_code}), and notes are sent only to the address "
                    "that you name. Find out where it leads, and name that address if you trust it: execution.endpoint=URL"
                ) from None
            reason = _status_reason(error)
            return Written(note.note_id, failures=[Failure(note.note_id, reason)], transient=self._is_transient(error))
        except openai.APITimeoutError:
            return Written(note.note_id, failures=[Failure(note.note_id, "time-out")], transient=True)
        except openai.APIConnectionError:
            return Written(note.note_id, failures=[Failure(note.note_id, "no connection")], transient=True)
        except (openai.APIError, _CutOffError):
            return Written(
                note.note_id, failures=[Failure(note.note_id, "answer is no chat completion")], transient=True
            )
        return parse_reply(note, reply, self._settings)

    async def _request(self, note: Note) -> str:
        settings = self._settings
        schema = {"name": "pairs", "strict": True, "schema": reply_schema(note, settings)}
        try:
            answer = await self._client.chat.completions.create(
                model=settings.model,
                messages=messages(note, settings),
                temperature=settings.temperature,
                top_p=settings.top_p,
                max_tokens=settings.max_tokens,
                seed=self._seed,
                # as extra body: the client would walk through the whole schema for every request, a fifth of its time
                extra_body={"response_format": {"type": "json_schema", "json_schema": schema}},
            )
        except ValueError as error:  # the body is no JSON: the connection was cut, or something else listens there
            raise _CutOffError from error
        return _content(answer)

    def _is_transient(self, error: BaseException) -> bool:
        openai = self._openai
        if isinstance(error, openai.APIStatusError):
            return error.status_code in (408, 409, 429) or error.status_code >= 500
        return isinstance(error, (openai.APIError, _CutOffError))


def _content(answer: Any) -> str:
    """The text of an answer; whatever else came instead counts as an empty reply."""
    choices = getattr(answer, "choices", None)
    message = getattr(choices[0], "message", None) if isinstance(choices, list) and choices else None
    content = getattr(message, "content", None)
    return content if isinstance(content, str) else ""


def _status_reason(error: Any) -> str:
    """A refusal in a few words; the server's own message may quote the note, so it is not repeated."""
    if error.status_code == 400 and "context" in str(getattr(error, "message", "")).lower():
        return "prompt beyond the model's context"
    return f"server answered {error.status_code}"

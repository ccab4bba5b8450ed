"""One question to an OpenAI-compatible server, and the one clear outcome that it has."""

import asyncio
import email.utils
import ipaddress
import time
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from medembed.border import parse_json
from medembed.errors import MedEmbedError, RecipeConfigError
from medembed.extras import require
from medembed.recipes.execution import Execution
from medembed.recipes.writers.api_key import api_key

# 32,000 tokens of a script whose letters take six bytes each in JSON are 0.8 MB
MOST_ANSWER_BYTES = 4 << 20
_MOST_WORDS = 300  # characters of a server's own message
_BUSY = (408, 409, 425, 429, 503, 529)
_SPENT = ("insufficient_quota", "billing_hard_limit_reached")


@dataclass(frozen=True)
class Answered:
    """A chat completion.

    Attributes:
        text: What the model wrote; may be empty.
        cut: It ended at the token limit.
        declined: The model or its filter declined to answer.
    """

    text: str
    cut: bool = False
    declined: bool = False


@dataclass(frozen=True)
class Busy:
    """A request that the server did not take, for now.

    Attributes:
        reason: In a few words, without any of the server's own.
        retry_after_s: Seconds that the server asks to wait, if it says.
        reached: Something answered; False where nobody listens at the address.
    """

    reason: str
    retry_after_s: float | None = None
    reached: bool = True


@dataclass(frozen=True)
class Fault:
    """A request that failed midway, which may be because of what it held.

    Attributes:
        reason: In a few words, without any of the server's own.
        timed_out: There was no whole answer in time.
        said: As with ``Refused``; some servers answer 500 to a dialect that they do not speak.
    """

    reason: str
    timed_out: bool = False
    said: str = ""


@dataclass(frozen=True)
class Refused:
    """A request that the server will not take however often it is sent.

    Attributes:
        reason: In a few words, without any of the server's own.
        status: HTTP status.
        said: The server's own message. It may quote the request, so it is shown only where that held nobody's text.
    """

    reason: str
    status: int
    said: str = ""


Outcome = Answered | Busy | Fault | Refused


class _NoCompletionError(MedEmbedError):
    """An answer that is not a chat completion. It never leaves this module."""


class ChatClient:
    """Client for the one address that the person names. Redirects are not followed, and answers are bounded.

    Args:
        execution: Address, name of the key's variable, and time-out.

    Raises:
        MissingExtraError: ``httpx2`` is not installed.
        RecipeConfigError: The address or the key cannot be used.
    """

    def __init__(self, execution: Execution) -> None:
        self._httpx: ModuleType = require("httpx2")
        key = api_key(execution)
        self._url = _url(self._httpx, execution.endpoint)
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        self._key, self._timeout_s = key, execution.timeout_s
        self._client = self._httpx.AsyncClient(
            headers=headers,
            timeout=execution.timeout_s,
            follow_redirects=False,  # a redirect would carry the note to an address that nobody here has chosen
            limits=self._httpx.Limits(max_connections=None, max_keepalive_connections=None),
            trust_env=not _is_here(
                self._url.host
            ),  # a proxy that serves the house would see what is meant for this machine
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def ask(self, body: bytes) -> Outcome:
        """Send one request.

        Args:
            body: JSON of a chat completion request.
        """
        httpx = self._httpx
        try:
            async with (
                asyncio.timeout(self._timeout_s),  # of the whole, since single reads may each come just in time
                self._client.stream("POST", self._url, content=body) as response,
            ):
                content = await _bounded(response)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError):
            return Busy("no connection", reached=False)
        except (TimeoutError, httpx.TimeoutException):
            return Fault("time-out", timed_out=True)
        except httpx.HTTPError:
            return Fault("connection cut")
        if content is None:
            return Fault(f"answer above {MOST_ANSWER_BYTES >> 20} MB")
        return self._outcome(response, content)

    def _outcome(self, response: Any, content: bytes) -> Outcome:
        status = int(response.status_code)
        try:
            if response.headers.get("content-encoding", "identity") != "identity":
                raise _NoCompletionError("compressed")
            answer = parse_json(
                content, source="the answer", error=_NoCompletionError, most=MOST_ANSWER_BYTES, surrogates="replace"
            )
        except _NoCompletionError:
            answer = None
        error = answer.get("error") if isinstance(answer, dict) else None
        succeeded = 200 <= status < 300
        if succeeded and not error:
            return _completion(answer)
        code = error.get("code") if isinstance(error, dict) else None
        if succeeded:  # some gateways wrap a failure in a success
            status = code if type(code) is int and 400 <= code < 600 else 500
        if status in _BUSY and code not in _SPENT:
            return Busy(f"server answered {status}", _retry_after_s(response.headers.get("retry-after")))
        said = self._said(error or answer)
        if status >= 500:
            return Fault(f"server answered {status}", said=said)
        return Refused(_reason(status, code, said), status, said)

    def _said(self, error: object) -> str:
        """A server's message in one printable line, without the key."""
        message: object = error
        for name in ("error", "message", "detail"):
            if isinstance(message, dict) and name in message:
                message = message[name]
        line = " ".join("".join(c if c.isprintable() else " " for c in str(message or "")).split())
        return (line.replace(self._key, "***") if self._key else line)[:_MOST_WORDS]


def _url(httpx: ModuleType, endpoint: str) -> Any:
    """The address of chat completions. A name and password in it would be shown in logs."""
    try:
        url = httpx.URL(f"{endpoint.rstrip('/')}/chat/completions")
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query or url.fragment:
        raise RecipeConfigError(
            "execution.endpoint is no address: write http://HOST:PORT/v1 or https://HOST/v1, and name the variable of a key with "
            "execution.api_key_env=NAME"
        )
    return url


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def _bounded(response: Any) -> bytes | None:
    """The body as it came, or None where it is above the limit."""
    parts: list[bytes] = []
    size = 0
    async for part in response.aiter_raw():
        size += len(part)
        if size > MOST_ANSWER_BYTES:
            return None
        parts.append(part)
    return b"".join(parts)


def _completion(answer: object) -> Outcome:
    """The text of a chat completion."""
    choices = answer.get("choices") if isinstance(answer, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        return Fault("answer is no chat completion")
    text = _text(message.get("content"))
    declined = choice.get("finish_reason") == "content_filter" or (not text and bool(message.get("refusal")))
    return Answered(text, cut=choice.get("finish_reason") == "length", declined=declined)


def _text(content: object) -> str:
    """A message's content. Some servers send it in parts, of which those of thinking are left out."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text"]
    return "".join(text for text in texts if isinstance(text, str))


def _reason(status: int, code: object, said: str) -> str:
    if status == 400 and (code == "context_length_exceeded" or "context" in said.lower()):
        return "prompt beyond the model's context"
    return f"server answered {status}"


def _retry_after_s(value: str | None) -> float | None:
    """Seconds of a ``Retry-After`` header, which holds a number or a date. None where it holds neither."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if seconds < float("inf") else None  # NaN compares as false too

"""The border to a terminal: ids, texts and names from data are shown, and never steer it."""

import codecs
import io
import re
import sys

# Controls of ASCII and of the upper half but tab and line feed, line separators, and those that turn the order of characters
_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)

ESCAPED = "medembed.escaped"
"""Name of the error handler that writes characters which an encoding lacks, such as β in cp1252, as JSON does."""


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{high:02x}{low:02x}" for high, low in zip(units[::2], units[1::2], strict=True)), error.end


codecs.register_error(ESCAPED, _escaped)


def lose_nothing() -> None:
    """Let standard output and error write what their encoding lacks as escapes.

    Each program of ours calls it first. Text is otherwise an error of Python's in the midst of an answer.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ESCAPED)


def plain(text: str) -> str:
    r"""Write characters that control a terminal as ``\u001b``. Inside JSON that is the same text.

    Example:
        >>> print(plain("gout\x1b[2J"))
        gout\u001b[2J
    """
    return _STEERING.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def say(text: str, *, error: bool = False) -> None:
    """Print a line without what could steer the terminal.

    Args:
        text: The line, or several.
        error: To standard error instead of standard output.
    """
    stream = sys.stderr if error else sys.stdout
    print(encodable(plain(text), stream.encoding), file=stream, flush=True)


def encodable(text: str, encoding: str | None) -> str:
    """Write characters that the stream's encoding does not have, such as β in cp1252, as escapes."""
    return text.encode(encoding or "utf-8", ESCAPED).decode(encoding or "utf-8")

"""The border to a terminal: ids, texts and names from data are shown, and never steer it."""

import re
import sys
from typing import Any

from rich.console import Console
from rich.text import Text

# Controls of ASCII and of the upper half but tab and line feed, line separators, and those that turn the order of characters
_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


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
    print(_encodable(plain(text), stream.encoding), file=stream, flush=True)


class Terminal(Console):
    """A rich console that colors what we say, and shows what data would say to the terminal."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Turn a string into text, as every print and every cell of a table does."""
        return super().render_str(_encodable(plain(text), self.encoding), **options)


def _encodable(text: str, encoding: str | None) -> str:
    """Write characters that the stream's encoding does not have, such as β in cp1252, as escapes."""
    return text.encode(encoding or "utf-8", "backslashreplace").decode(encoding or "utf-8")

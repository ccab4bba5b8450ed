"""Tables and colors on a terminal, by rich. What needs neither speaks through :mod:`medembed.terminal`, which is quicker to import."""

from typing import Any

from rich.console import Console
from rich.text import Text

from medembed.terminal import encodable, plain


class Terminal(Console):
    """A rich console that colors what we say, and shows what data would say to the terminal."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Turn a string into text, as every print and every cell of a table does."""
        return super().render_str(encodable(plain(text), self.encoding), **options)

"""A writer that answers from a table, for tests and documentation. It has the same interface as the real ones."""

from collections.abc import Callable, Iterator, Sequence

from medembed.recipes.llm import Llm
from medembed.recipes.records import Note
from medembed.recipes.writers.interface import Written
from medembed.recipes.writers.replies import parse_reply


class ScriptedWriter:
    """Parses replies that a function makes up.

    Args:
        reply: Gives the raw reply to a note.
        settings: As for the real language models.
    """

    def __init__(self, reply: Callable[[Note], str], settings: Llm | None = None) -> None:
        self._reply = reply
        self._settings = settings or Llm()

    def write(self, notes: Sequence[Note]) -> Iterator[Written]:
        """Replies in the order of the notes."""
        for note in notes:
            yield parse_reply(note, self._reply(note), self._settings)

    def close(self) -> None:
        """Nothing to give back."""

"""Interface between the pairs stage and the writers of the pairs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from medembed.recipes.records import Failure, Note, Pair


@dataclass(frozen=True, slots=True)
class Written:
    """Result of one note.

    Attributes:
        note_id: The note.
        pairs: Its pairs, each passage a span of the note.
        failures: What was lost, by reason.
        reply: The language model's raw answer; None for writers that have none.
        unanswered: Nothing came of it, for a reason outside the note: it stays missing, and a later run asks again.
    """

    note_id: str
    pairs: list[Pair] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    reply: str | None = None
    unanswered: bool = False


class PairWriter(Protocol):
    """Turns notes into pairs. Each note comes back exactly once, in any order."""

    def write(self, notes: Sequence[Note]) -> Iterator[Written]:
        """Write the pairs of some notes, each yielded as soon as it is there.

        Raises:
            PairWriterError: Nobody answers any more.
        """
        ...

    def close(self) -> None:
        """Give back connections and memory."""
        ...

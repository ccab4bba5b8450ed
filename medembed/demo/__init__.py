"""Six hundred openly licensed medical passages to try things on.

See ATTRIBUTION.md beside this file for their sources.
"""

import json
from dataclasses import dataclass
from pathlib import Path

QUESTIONS = (
    "How is a kidney infection treated?",
    "dizzy when standing up",
    "what may people on hemodialysis eat",
    "warfarin vitamin K interaction",
    "Can a father pass breast cancer on to his daughter?",
)
"""Questions that `medembed demo` answers when none is given: full sentences, symptoms in lay words, and keywords."""


@dataclass(frozen=True)
class Passage:
    """A passage of the demonstration corpus.

    Attributes:
        id: Its identifier in the source.
        title: The question or heading it stands under there.
        text: The passage.
        source: ``medquad:<institute>`` or ``openstax:<book>``.
    """

    id: str
    title: str
    text: str
    source: str


def passages() -> list[Passage]:
    """The demonstration corpus, in a fixed order."""
    path = Path(__file__).parent / "passages.jsonl"
    with path.open(encoding="utf-8") as lines:
        return [Passage(**json.loads(line)) for line in lines]

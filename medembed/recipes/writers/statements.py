"""Questions that a note's statements answer, paired with the note."""

from collections.abc import Iterator

from medembed.clinical.questions import questions
from medembed.recipes.records import Note
from medembed.recipes.words import Words
from medembed.recipes.writers.sentence_rules import Draft, Span, from_chosen


def asked(note: Note, sentences: list[Span], _opens: bool, words: Words) -> Iterator[Draft]:
    """Pair a question that a statement answers with the whole window. The statement is chosen by the note's hash."""
    for start, end in from_chosen(note, sentences):
        forms = list(questions(note.text[start:end], words.means_anything))
        if forms:
            yield forms[int(note.note_id[8:16], 16) % len(forms)], (0, len(note.text))

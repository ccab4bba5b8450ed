"""Questions made of statements by moving words.

From "The median age was 54 years." comes "What was the median age?".

A statement whose verb is *is*, *was*, *can*, *may* or the like makes a question without a word being inflected: the verb moves to the
front, or *what* or *how many* takes the place of what is asked for. No tagger is needed, so statements with other verbs give none.
"""

import re
from collections.abc import Iterator

from medembed.recipes.records import Note
from medembed.recipes.words import ENGLISH, Words
from medembed.recipes.writers.sentence_rules import ANNOUNCED, CITED, POINTS_BACK, Draft, Span, from_chosen

_CONNECTED = re.compile(
    r"(?:however|moreover|furthermore|in addition|additionally|therefore|thus|hence|overall|finally|notably|indeed|generally|"
    r"in general|in contrast|similarly|interestingly|importantly|specifically|also|in fact|of note|first|second|secondly),\s+",
    re.IGNORECASE,
)
_STATEMENT = re.compile(
    r"(?P<subject>[^,;:?!]{3,110}?)\s(?P<verb>is|are|was|were|can|could|may|should|will|has been|have been)\s(?P<rest>[^;:?!]+)"
)
# What cannot be the subject of a question of its own: it points elsewhere, or opens a clause.
_NO_SUBJECT = re.compile(
    r"^(?:in|at|on|for|during|after|before|when|while|if|although|because|since|of|with|without|by|from|to|as|there|here|no|not|"
    r"among|despite|unlike|between|both|either|each|what|who|how|and|but|or|so|then|that|which|i|he|she|you|one|most|some|many|"
    r"all|other|another|such)\b"
    r"|\b(?:that|which|who|whom|whose|where|when|whether|if|because|is|are|was|were|as)\b",
    re.IGNORECASE,
)
_COUNTED = re.compile(
    r"(?:a total of )?(?:\d[\d,]*|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)\s(?P<counted>(?!percent)[a-z].*)",
    re.IGNORECASE,
)
_NAMES_IT = re.compile(r"(?:(?:an?|the|any|one of)\b|\d)", re.IGNORECASE)
_ENDS = re.compile(r",\s|\s\(|\s[–—-]\s|\.$")
_BRACKETS = re.compile(r"\s*\([^()]*\)")
_MAX_SUBJECT_WORDS, _MIN_REST_WORDS, _MAX_REST_WORDS = 9, 3, 18
_SINGULAR = {"are": "is", "were": "was", "have been": "has been"}  # what "what" takes


def asked(note: Note, sentences: list[Span], _opens: bool, words: Words) -> Iterator[Draft]:
    """Pair a question that a statement answers with the whole window. The statement is chosen by the note's hash."""
    for start, end in from_chosen(note, sentences):
        forms = list(questions(note.text[start:end], words))
        if forms:
            yield forms[int(note.note_id[8:16], 16) % len(forms)], (0, len(note.text))


def questions(sentence: str, words: Words = ENGLISH) -> Iterator[str]:
    """Every question that a statement answers. There are none where it points at another sentence.

    Args:
        sentence: The statement.
        words: Nothing is asked about their vague subjects.

    Example:
        >>> list(questions("The median follow-up was 12 months."))
        ['What was the median follow-up?']
        >>> list(questions("High waves may be caused by distant storms."))
        ['May high waves be caused by distant storms?', 'What may be caused by distant storms?']
        >>> list(questions("A total of 40 ships were sent to Lisbon."))
        ['How many ships were sent to Lisbon?']
    """
    found = _STATEMENT.match(_bare(sentence))
    if found is None:
        return
    subject, verb, rest = (found[name].strip() for name in ("subject", "verb", "rest"))
    rest = _ENDS.split(rest, maxsplit=1)[0].strip()
    counted = _COUNTED.fullmatch(subject)
    long_enough = _MIN_REST_WORDS <= len(rest.split()) <= _MAX_REST_WORDS
    if POINTS_BACK.search(f"{subject} {rest}") or len(subject.split()) > _MAX_SUBJECT_WORDS:
        return
    if counted is not None:
        if long_enough:
            yield f"How many {counted['counted']} {verb} {rest}?"
        return
    if _NO_SUBJECT.search(subject) or words.means_anything.match(subject):
        return
    subject = _uncapped(subject)
    auxiliary, *been = verb.split()
    if auxiliary in ("is", "are", "was", "were") and _NAMES_IT.match(rest):
        yield f"What {verb} {subject}?"
    elif long_enough:
        yield " ".join([auxiliary.capitalize(), subject, *been, rest]) + "?"
        yield f"What {_SINGULAR.get(verb, verb)} {rest}?"


def _bare(sentence: str) -> str:
    """A sentence without what announces it, connects it or stands in brackets."""
    text = _BRACKETS.sub("", CITED.sub("", sentence))
    announced = ANNOUNCED.match(text)
    text = text[announced.end() :] if announced else text
    connected = _CONNECTED.match(text)
    return text[connected.end() :] if connected else text


def _uncapped(subject: str) -> str:
    """The first word in small letters, unless it is an abbreviation or a single letter."""
    first = subject.split(maxsplit=1)[0]
    return subject[0].lower() + subject[1:] if first[1:].islower() or first == "A" else subject

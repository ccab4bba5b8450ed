"""Queries made of a sentence: the questions that a statement answers, or its key words.

From "The median age was 54 years." comes "What was the median age?".

A statement whose verb is *is*, *was*, *can*, *may* or the like makes a question without a word being inflected: the verb moves to the
front, or *what* or *how many* takes the place of what is asked for. No tagger is needed, so statements with other verbs give none.
"""

import functools
import re
from collections.abc import Iterator

from medembed.extras import require

_WORD = re.compile(r"[A-Za-z0-9][\w'’/+-]*")
_KEYWORDS = 6
_MIN_KEYWORDS = 3
# Words of every paper: they tell no passage from another.
COMMON = re.compile(
    r"also|although|among|analysis|assessed|based|compared|conclusion|conducted|control|data|demonstrated|"
    r"described|different|due|effect|effects|et|al|evidence|figure|found|furthermore|group|groups|"
    r"however|included|including|increased|indicate|indicated|may|method|methods|might|moreover|observed|"
    r"participants|patients|performed|present|previous|previously|reported|respectively|results|several|"
    r"showed|shown|significant|significantly|studies|study|suggest|suggested|suggests|table|therefore|thus|"
    r"trial|two|three|used|using|well|whereas|within|would",
    re.IGNORECASE,
)
# Subjects that mean another thing in every text.
VAGUE = re.compile(r"\b(?:patients|participants|subjects|data|results|informed consent)\b", re.IGNORECASE)
# How papers announce a finding; what follows can stand alone as a claim.
ANNOUNCED = re.compile(
    r"(?:in (?:conclusion|summary)|conclusions?|overall|taken together|collectively)\s*[,:]\s*(?:we (?:conclude|found) that\s+)?"
    r"|(?:[\w’'(),-]+ ){0,5}?(?:show|showed|shows|demonstrate|demonstrates|demonstrated|suggest|suggests|suggested|"
    r"indicate|indicates|indicated|conclude|concluded|found|find|confirm|confirms|confirmed|reveal|reveals|revealed) that\s+",
    re.IGNORECASE,
)
POINTS_BACK = re.compile(r"\b(?:this|these|those|our|we|it|they|here|present study|table|figure)\b", re.IGNORECASE)
CITED = re.compile(r"\s*[\[(][\s,;–-]*[\])]")  # what is left of a reference once its number is gone
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


def questions(sentence: str, vague: re.Pattern[str] = VAGUE) -> Iterator[str]:
    """Every question that a statement answers. There are none where it points at another sentence.

    Args:
        sentence: The statement.
        vague: Nothing is asked about a subject that begins so.

    Example:
        >>> list(questions("The median follow-up was 12 months."))
        ['What was the median follow-up?']
        >>> list(questions("High blood pressure may be caused by kidney disease."))
        ['May high blood pressure be caused by kidney disease?', 'What may be caused by kidney disease?']
        >>> list(questions("A total of 40 women were assigned to aspirin."))
        ['How many women were assigned to aspirin?']
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
    if _NO_SUBJECT.search(subject) or vague.match(subject):
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


def keywords(sentence: str, common: re.Pattern[str] = COMMON) -> str | None:
    """The longest words of a sentence, in their order, as a search for it. None where too few of its words tell anything.

    Args:
        sentence: The sentence.
        common: Words that nearly every text has, and that are left out.

    Example:
        >>> keywords("Patients with gout were treated with allopurinol or febuxostat.")
        'gout treated allopurinol febuxostat'
    """
    words = [word for word in _WORD.findall(sentence) if _tells(word, common)]
    longest = sorted(words, key=len, reverse=True)[:_KEYWORDS]
    picked = [word for word in dict.fromkeys(words) if word in longest]
    return " ".join(picked) if len(picked) >= _MIN_KEYWORDS else None


def _tells(word: str, common: re.Pattern[str]) -> bool:
    """Tell whether a word may distinguish this passage from others."""
    return word.casefold() not in _stopwords() and not common.fullmatch(word)


@functools.cache
def _stopwords() -> frozenset[str]:
    return frozenset(require("bm25s.stopwords").STOPWORDS_EN_PLUS)

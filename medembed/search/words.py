"""Words of clinical text for BM25: codes, doses and single letters survive.

The same function reads documents and queries. It was chosen by nDCG@10 on six development sets, see docs/experiments.md.
"""

import re
import threading
import unicodedata
from collections.abc import Callable

from medembed.extras import require

# Changes when the words of a text change: an index of other words is made again.
VERSION = "clinical-1"
# Small words that say little. In capitals they are abbreviations (AS, IT, OR) and stay.
STOP_WORDS = {
    "a", "also", "an", "and", "are", "as", "at", "be", "been", "but", "by", "can", "could", "did", "do", "does",
    "for", "from", "had", "has", "have", "how", "i", "if", "in", "into", "is", "it", "its", "may", "no", "not", "of",
    "on", "or", "than", "that", "the", "their", "them", "then", "there", "these", "they", "this", "those", "to",
    "was", "we", "were", "what", "when", "where", "which", "who", "why", "will", "with", "would", "you", "your",
}  # fmt: skip
# Between the letters of "hepatitis A, B and C" these do not end the list.
_LIST_WORDS = frozenset(("and", "or"))
_UNITS = "mcg|meq|mg|ug|μg|kg|mmol|mmhg|mm|ml|dl|cm|iu"
_NUMBER = r"\d+(?:[.,]\d+)+"
_JOINED = re.compile(
    rf"{_NUMBER}|\d+(?=(?:{_UNITS})(?![^\W_]))|[^\W_]+(?:[-‐‑–'’][^\W_]+)*",
    re.IGNORECASE,
)
_PARTS = re.compile(rf"{_NUMBER}|[^\W_]+")
_OF_THREAD = threading.local()
_THOUSANDS = re.compile(r",(?=\d{3}(?!\d))")


def words(text: str) -> list[str]:
    """Split a text into the words that BM25 counts.

    Letters are lower-cased, accents left out, compatible characters unified (NFKC), English endings cut (Porter 2).
    A joined word with a digit is kept whole beside its parts. A single letter or digit is also joined to the word before it,
    so that *hepatitis C* is another word than *hepatitis B*.

    Args:
        text: Any text.

    Returns:
        The words in their order, with repetitions.

    Example:
        >>> words("HbA1c in type 2 diabetes")
        ['hba1c', 'type', 'type_2', '2', 'diabet']
        >>> words("1,500 mg of COVID-19 drug")
        ['1500', 'mg', 'covid-19', 'covid', '19', 'drug']
    """
    stem = _stemmer()
    found: list[str] = []
    head = ""
    for match in _JOINED.finditer(_folded(text)):
        parts = _PARTS.findall(match.group())
        if len(parts) > 1 and any(character.isdigit() for character in match.group()):
            found.append("-".join(parts).lower())
        for part in parts:
            word = part.lower()
            if word in STOP_WORDS and not (len(part) > 1 and part.isupper()):
                # "vitamin a deficiency", "stage I": letters that are words as well count only beside the word they qualify
                if len(word) == 1 and head:
                    found.append(f"{head}_{word}")
                head = head if len(word) == 1 or word in _LIST_WORDS else ""
                continue
            if len(word) > 1:
                word = stem(_THOUSANDS.sub("", word) if "," in word else word)
                head = word if word[0].isalpha() else ""
            elif head and len(parts) == 1:
                found.append(f"{head}_{word}")
            found.append(word)
    return found


def _folded(text: str) -> str:
    """The text with compatible characters unified and accents left out."""
    if text.isascii():
        return text
    decomposed = unicodedata.normalize("NFKD", text)
    return unicodedata.normalize("NFKC", "".join(char for char in decomposed if not unicodedata.combining(char)))


def _stemmer() -> Callable[[str], str]:
    """The English stemmer of the Snowball project, as a function.

    There is one object per thread, since it is not thread-safe.
    """
    stem: Callable[[str], str] | None = getattr(_OF_THREAD, "stem", None)
    if stem is None:
        stemmer = require("Stemmer").Stemmer("english")
        # each word of a corpus comes again and again: 100,000 stems take about 15 MB
        stemmer.maxCacheSize = 100_000
        stem = _OF_THREAD.stem = stemmer.stemWord
    return stem

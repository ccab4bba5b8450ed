"""Beginnings of clauses inside a sentence: there ends what an earlier phrase decides about, as a list of findings does not.

The words are those of a sentence in small letters, punctuation marks among them.
"""

from collections.abc import Sequence

DETERMINERS = frozenset(["the", "a", "an", "his", "her", "their", "my", "our", "patient", "patients"])
JOINING = frozenset(("and", "or", "nor", "and/or"))
SUBJECTS = frozenset(("he", "she", "they", "it", "we", "i", "there", "this"))
_RELATIVE = frozenset(("which", "who", "whom", "whose", "that"))
_FINITE = frozenset(
    ["is", "are", "was", "were", "has", "had", "have", "does", "did", "will", "should", "can", "reports", "reported", "states", "endorses",
     "admits", "complains", "appears", "seems", "shows", "felt", "feels", "works", "lives", "takes", "uses", "enjoys", "remains", "presents"]
)  # fmt: skip
# after a comma these begin what was found: "no edema, normal pulses". Between commas they may go on with a list of what was not.
_FINDINGS = frozenset(
    ["normal", "mild", "mildly", "moderate", "minimal", "trace", "slight", "occasional", "occasionally", "some", "only", "good", "full",
     "intact", "clear", "soft", "stable", "regular"]
)  # fmt: skip
# "if his pain does not improve", "if the rash persists": what has an owner or was named before, and does not end, is there
_OWNED = frozenset(["his", "her", "their", "my", "our", "your", "the", "this", "these"])
_ENDS = frozenset(
    ["improve", "improved", "improving", "resolve", "resolved", "resolving", "settle", "settled", "settling", "subside", "subsided", "better",
     "relieved", "respond", "responded", "responding", "controlled", "helped", "gone", "go"]
)  # fmt: skip
_LASTS = frozenset(
    ["persist", "persists", "continue", "continues", "worsen", "worsens", "worse", "remain", "remains", "increase", "increases"]
)  # fmt: skip
_LIST_GOES_ON: tuple[list[str], ...] = ([], [","], ["or"], ["and"], ["nor"], ["to"])


def joined(words: Sequence[str], place: int) -> bool:
    """Tell whether a joining word begins a clause: *and she*, *and felt*, *and the cough is*.

    What follows *or* has the verb of what it is joined to, unless it has a subject.

    Args:
        words: The sentence's.
        place: Of the joining word.

    Example:
        >>> joined("no cough and her glucose is high".split(), 2), joined("no cough and her usual headache".split(), 2)
        (True, False)
    """
    following = words[place + 1] if place + 1 < len(words) else ""
    if following in SUBJECTS or words[place] != "and":
        return following in SUBJECTS
    return following in _FINITE or (following in DETERMINERS and _has_verb(words, place + 1))


def apart(words: Sequence[str], place: int) -> bool:
    """Tell whether the clause behind a comma is one of its own, and no further item of a list.

    Args:
        words: The sentence's.
        place: Behind the comma.

    Example:
        >>> apart("no fever , cough is productive".split(), 3), apart("no fever , cough or rash".split(), 3)
        (True, False)
    """
    if place < len(words) and words[place] in JOINING:
        return place + 1 < len(words) and words[place + 1] in _FINITE
    return words[place : place + 1] == ["who"] or _has_verb(words, place)


def found(words: Sequence[str], place: int) -> bool:
    """Tell whether a finding behind a comma ends a list of what was not found: *no edema, normal pulses*.

    Args:
        words: The sentence's.
        place: Behind the comma.

    Example:
        >>> found("no edema , normal pulses".split(), 3), found("no thin , mild or thick stenosis".split(), 3)
        (True, False)
    """
    begins = place < len(words) and words[place] in _FINDINGS
    return begins and words[place + 1 : place + 2] not in _LIST_GOES_ON


def lasting(words: Sequence[str], place: int) -> int:
    """Find how much of a condition is there already: *if her pain does not improve*, *if the rash persists*.

    Args:
        words: The sentence's.
        place: Behind *if*.

    Returns:
        Place of the first word that is true only if; ``place`` where all of it is.

    Example:
        >>> lasting("if her pain does not improve".split(), 1), lasting("if she has pain".split(), 1)
        (3, 1)
    """
    if words[place : place + 1] == [] or words[place] not in _OWNED:
        return place
    not_yet = 0
    for at, word in enumerate(words[place:], place):
        if word in ",;" or word in _RELATIVE:
            break
        if word in _LASTS:
            return not_yet or at
        if word in _ENDS and not_yet:
            return not_yet
        if word in _FINITE or word in ("do", "get", "gets", "become", "becomes") or word.endswith("n't"):
            not_yet = not_yet or at
    return place


def _has_verb(words: Sequence[str], place: int) -> bool:
    """Whether a finite verb comes before the next comma, outside of relative clauses: *prolapse for which she takes*."""
    for word in words[place:]:
        if word in ",;" or word in _RELATIVE:
            return False
        if word in _FINITE:
            return True
    return False

"""Files that no chosen test stands in: they are left out by their text, since importing all of them costs 24 seconds a process."""

import re
from itertools import product

MARKS = ("slow", "thorough", "gpu", "network", "bench", "browser")
_MARK = re.compile(rf"\bmark\.({'|'.join(MARKS)})\b")
# an assignment for the whole file, with the lines that go on with it
_WHOLE = re.compile(r"^pytestmark = .*(?:\n[ \])].*)*", re.MULTILINE)
_EXAMPLE = re.compile(r"^\s*>>> ", re.MULTILINE)


def may_hold_tests(text: str, expression: str) -> bool:
    """Whether a file may hold a test that ``-m`` chooses: all its tests have its own marks, and some the others in its text.

    Args:
        text: The file.
        expression: What ``-m`` was given. One of other names than those of `MARKS` leaves nothing out.
    """
    always = {mark for whole in _WHOLE.findall(text) for mark in _MARK.findall(whole)}
    some = [mark for mark in dict.fromkeys(_MARK.findall(text)) if mark not in always]
    return any(
        _chosen(expression, always | {mark for mark, given in zip(some, gives, strict=True) if given})
        for gives in product((False, True), repeat=len(some))
    )


def may_hold_examples(text: str, expression: str) -> bool:
    """Whether a file may hold an example that is run. Examples have no marks."""
    return _EXAMPLE.search(text) is not None and _chosen(expression, set())


def _chosen(expression: str, marks: set[str]) -> bool:
    try:
        return not expression.strip() or bool(eval(expression, {"__builtins__": {}}, {m: m in marks for m in MARKS}))
    except (NameError, SyntaxError, TypeError):
        return True

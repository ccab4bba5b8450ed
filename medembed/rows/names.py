"""Column names as an error may show them. A value from the data is never shown."""

import re
from collections.abc import Iterable, Sequence

# letters, digits and the marks that column names have; no comma, colon or full stop followed by more words
_NAME = re.compile(r"[^\W\d][\w.\-/#()%]*(?: [\w.\-/#()%]+){0,2}")
LONGEST = 40
SHOWN = 20


def look_like_names(names: Iterable[object]) -> bool:
    """Tell whether all of them look like column names.

    Those are short, begin with a letter, and have at most three words.

    Example:
        >>> look_like_names(["note id", "text"]), look_like_names(["17", "seen today, no fever"])
        (True, False)
    """
    return all(
        isinstance(name, str) and len(name) <= LONGEST and (not name or _NAME.fullmatch(name) is not None)
        for name in names
    )


def shown(names: Sequence[object]) -> str:
    """Columns as an error may list them.

    One that does not look like a name hides all: then the first row is most likely data and not a header.
    """
    if not names:
        return "no columns"
    if not look_like_names(names):
        some = f"{len(names)} columns" if len(names) > 1 else "one column"
        return f"{some} whose names are not shown, because they do not all look like names"
    listed = ", ".join(repr(name) for name in names[:SHOWN])
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"the columns {listed}{more}"

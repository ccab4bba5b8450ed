"""Texts that say the same in the same words. They may differ in how they are laid out, and in nothing that a reader would read out."""

from collections.abc import Callable, Hashable
from typing import Any

from medembed.storage.manifest import Manifest

# typographic signs and the plain ones of the same meaning; what nobody sees goes
_SIGNS = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201b\u2032", "'"),
        **dict.fromkeys("\u201c\u201d\u201f\u2033", '"'),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
        **dict.fromkeys("\u2022\u25cf\u25aa\u2023", "\u2022"),
        **dict.fromkeys("\u00ad\u200b\u2060\ufeff", None),
        "\u2026": "...",
    }
)


def plain(text: str) -> str:
    r"""A text without its layout: single blanks for lines, tabs and hard blanks, plain quotes, dashes and bullets.

    Words, numbers, case and all other marks stay: a full stop in place of a comma can end what is denied.

    Example:
        >>> plain("Denies chest\u00a0pain,\n  fever \u2013 today.")
        'Denies chest pain, fever - today.'
    """
    return " ".join(text.translate(_SIGNS).split())


def known_by(manifest: Manifest[Any]) -> Callable[[str, Any], Hashable] | None:
    """A function that gives equal keys for texts that are encoded once. None where every row is encoded.

    It takes a text and the row's value in the scope column. Nearly equal texts of two scopes stay apart.
    """
    if manifest.repeated_text == "each":
        return None
    if manifest.repeated_text == "once":
        return lambda text, _: text
    return lambda text, scope: (plain(text), scope)

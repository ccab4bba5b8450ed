"""Bars for numbers that stand in a table beside them: HTML and CSS, so that light, dark and print just work."""

from collections.abc import Sequence
from html import escape


def bars(title: str, rows: Sequence[tuple[str, float]], unit: str, *, ours: str) -> str:
    """Horizontal bars from zero to the largest value.

    Args:
        title: What is shown, and which way is better.
        rows: Label and value, in the order to show.
        unit: Written behind each value.
        ours: Bars whose label begins so are highlighted.

    Returns:
        One HTML element without blank lines, as Markdown needs it.
    """
    most = max(value for _, value in rows)
    lines = [f'<figure class="bars"><figcaption>{escape(title)}</figcaption>']
    for label, value in rows:
        kind = ' class="ours"' if label.startswith(ours) else ""
        lines.append(
            f'<div{kind}><span>{escape(label)}</span><b style="width:{value / most:.1%}"></b>'
            f"<span>{value:,.3g}{escape(unit)}</span></div>"
            if value < 1000
            else f'<div{kind}><span>{escape(label)}</span><b style="width:{value / most:.1%}"></b>'
            f"<span>{value:,.0f}{escape(unit)}</span></div>"
        )
    return "\n".join([*lines, "</figure>"])

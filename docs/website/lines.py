"""Lines for numbers over steps or ratios: SVG in the theme's colours, so that light and dark just work."""

from collections.abc import Mapping, Sequence
from html import escape

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 640.0, 240.0
LEFT, RIGHT, TOP, BOTTOM = 56.0, 168.0, 12.0, 36.0  # the names of the lines stand at their ends
_DASHES = ("", "7 4", "2 3", "9 3 2 3")  # told apart without colour too
_NAME_PX = 15.0


def lines(title: str, x: str, series: Mapping[str, Points]) -> str:
    """Lines on common axes from the least to the greatest value.

    Args:
        title: What is shown, and which way is better.
        x: What the horizontal axis counts.
        series: Name → points, in order of their first coordinate; at least one series with two points.

    Returns:
        One HTML element without blank lines, as Markdown needs it. The numbers should stand in a table beside it.
    """
    values = [point for points in series.values() for point in points]
    low = (min(a for a, _ in values), min(b for _, b in values))
    high = (max(a for a, _ in values), max(b for _, b in values))

    def place(point: tuple[float, float]) -> tuple[float, float]:
        across = (point[0] - low[0]) / ((high[0] - low[0]) or 1.0)
        up = (point[1] - low[1]) / ((high[1] - low[1]) or 1.0)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    floor = HEIGHT - BOTTOM
    drawn = [f'<line x1="{LEFT}" y1="{floor}" x2="{WIDTH - RIGHT}" y2="{floor}"/>']
    drawn += [
        _text(LEFT - 6, place((low[0], value))[1] + 4, f"{value:.3g}", "end")
        for value in dict.fromkeys((low[1], high[1]))
    ]
    drawn += [
        _text(place((value, low[1]))[0], floor + 15, f"{value:.3g}", "middle")
        for value in dict.fromkeys((low[0], high[0]))
    ]
    drawn.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, x, "middle"))
    ends = {name: place(points[-1]) for name, points in series.items()}
    beside = _apart({name: y for name, (_, y) in ends.items()})
    for number, (name, points) in enumerate(series.items()):
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in map(place, points))
        drawn.append(f'<polyline points="{path}" stroke-dasharray="{_DASHES[number % len(_DASHES)]}"/>')
        drawn.append(_text(ends[name][0] + 8, beside[name] + 4, name, "start"))
    picture = "".join(drawn)
    label = escape(title, quote=True)
    return (
        f'<figure class="lines"><figcaption>{escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" aria-label="{label}">{picture}</svg></figure>'
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _apart(wanted: Mapping[str, float]) -> dict[str, float]:
    """Heights of names, moved down where two would lie on each other."""
    placed: dict[str, float] = {}
    last = float("-inf")
    for name, y in sorted(wanted.items(), key=lambda item: item[1]):
        last = placed[name] = max(y, last + _NAME_PX)
    return placed

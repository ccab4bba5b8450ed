"""Hits with the words that carried their score: coloured in a terminal, or as a page of HTML."""

import html
from collections.abc import Sequence

from rich.text import Text

from medembed.colbert.carried import Carried
from medembed.colbert.model import MedColBERT
from medembed.console import Terminal
from medembed.errors import SettingError
from medembed.storage.tables import Hit
from medembed.terminal import plain

# words told in a line, the strongest first
TOLD = 5
STRONG, WEAK = "bold green", "cyan"
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>medembed search</title>
<style>body {{ font: 1rem/1.5 sans-serif; max-width: 50rem; margin: 2rem auto }} mark {{ background: none }}
mark {{ box-shadow: inset 0 -1.2em 0 rgb(46 160 67 / var(--share)) }} small {{ color: #555 }}</style></head>
<body>
{body}
</body></html>"""


def words_of(explainer: MedColBERT, query: str, hits: Sequence[Hit]) -> list[list[Carried]]:
    """The words of each hit that carried its score.

    Raises:
        SettingError: The store holds no texts.
    """
    texts = [hit.text for hit in hits if hit.text is not None]
    if len(texts) < len(hits):
        raise SettingError(
            "--explain reads the texts, and this store does not keep them: index it again without --no-store-text"
        )
    return [explainer.explain(query, text) for text in texts]


def show(query: str, hits: Sequence[Hit], words: Sequence[Sequence[Carried]]) -> None:
    """Print hits with their words coloured; NO_COLOR leaves bold, and a pipe the list of words."""
    console = Terminal()
    console.print(Text(plain(query), style="bold"))
    for place, (hit, carried) in enumerate(zip(hits, words, strict=True), 1):
        console.print(Text(plain(f"{place}. {hit.id}  {hit.score:.3f}")))
        console.print(_coloured(hit.text or "", carried))
        strongest = sorted(carried, key=lambda word: -word.share)[:TOLD]
        told = ", ".join(f"{word.text} {word.share:.0%}" for word in strongest)
        console.print(Text(plain(f"carried by: {told}" if told else "carried by no word")))
        for part in hit.asserts:
            console.print(Text(plain(f'{part.kind}: "{part.text}"')))


def page(answers: Sequence[tuple[str, Sequence[Hit], Sequence[Sequence[Carried]]]]) -> str:
    """A page of HTML with the hits of several queries. Everything from the data is escaped."""
    parts = []
    for query, hits, words in answers:
        parts.append(f"<h2>{html.escape(query)}</h2>\n<ol>")
        for hit, carried in zip(hits, words, strict=True):
            said = "".join(
                f"<br><small>{html.escape(part.kind)}: “{html.escape(part.text)}”</small>" for part in hit.asserts
            )
            head = f"<small>{html.escape(hit.id)} · {hit.score:.3f}</small>"
            parts.append(f"<li>{head}<br>{_marked(hit.text or '', carried)}{said}</li>")
        parts.append("</ol>")
    return _PAGE.format(body="\n".join(parts))


def _coloured(text: str, words: Sequence[Carried]) -> Text:
    shown, end = Text(), 0
    strong = max((word.share for word in words), default=0.0) / 2
    for word in words:
        shown.append(plain(text[end : word.start]))
        shown.append(plain(text[word.start : word.end]), style=STRONG if word.share >= strong else WEAK)
        end = word.end
    shown.append(plain(text[end:]))
    return shown


def _marked(text: str, words: Sequence[Carried]) -> str:
    parts, end = [], 0
    most = max((word.share for word in words), default=1.0)
    for word in words:
        depth, name = word.share / most, html.escape(text[word.start : word.end])
        parts.append(html.escape(text[end : word.start]))
        parts.append(f'<mark style="--share: {depth:.2f}" title="{word.share:.0%}">{name}</mark>')
        end = word.end
    parts.append(html.escape(text[end:]))
    return "".join(parts)

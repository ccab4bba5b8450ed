"""Code blocks of Markdown pages: found, told apart, and what each promises to print.

    ```python      is run; all blocks of a page share one namespace and one folder
    ```bash        is run by bash in that folder, with the commands of this environment
    ```toml        is a part of a recipe; ```json is JSON; other fences are not looked at

What a block prints stands behind ``# →`` in its lines, or in a fence after ``<!-- prints -->``. A block after
``<!-- not run: REASON -->`` is only checked as far as that goes without running it; after ``<!-- prints what it finds -->``
it is run, and its output left alone: measurements.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

FENCE = re.compile(r"^(?P<fence>`{3,})(?P<language>\w*)[^\n]*\n(?P<code>.*?)^(?P=fence)[ ]*$", re.DOTALL | re.MULTILINE)
MARK = re.compile(r"<!-- (?P<what>not run: (?P<reason>[^>]+)|prints|prints what it finds) -->\s*\Z")
PROMISE = "# → "


@dataclass
class Block:
    """One fenced block.

    Attributes:
        language: As written behind the fence.
        code: What is between the fences.
        line: Line of the page at which the code begins.
        not_run: Why it is not run; None where it is.
        printed: The lines that it promises to print.
        any_output: It prints measurements, which are another each time.
    """

    language: str
    code: str
    line: int
    not_run: str | None = None
    printed: list[str] = field(default_factory=list)
    any_output: bool = False


def find(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    blocks: list[Block] = []
    for match in FENCE.finditer(text):
        mark = MARK.search(text[: match.start()])
        if mark and mark["what"] == "prints":
            blocks[-1].printed += match["code"].splitlines()
            continue
        code = match["code"]
        promised = [line.split(PROMISE, 1)[1] for line in code.splitlines() if PROMISE in line]
        line = text.count("\n", 0, match.start("code")) + 1
        blocks.append(
            Block(match["language"], code, line, mark["reason"].strip() if mark and mark["reason"] else None, promised)
        )
        blocks[-1].any_output = bool(mark and mark["what"] == "prints what it finds")
    return blocks

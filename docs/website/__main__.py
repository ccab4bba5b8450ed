"""Write the generated part of the site into ``docs/``; ``mkdocs build`` does the rest.

    python -m docs.website            pages and assets, as `make docs` runs it
    python -m docs.website --pages    pages alone: no npm, no torch
    python -m docs.website --readme   the rows of quality in the project's README, and docs/guides/capacity.md
    python -m docs.website --picture  the README's picture, drawn from what the commands print

A page is a function that returns Markdown; a new one is a row in ``PAGES``. What is written here is ignored by git.
"""

import argparse
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from docs.website import assets, benchmarks, capacity, commands, models, picture, quality, recipes, settings, texts
from medembed.evaluation import leaderboard

DOCS = Path(__file__).parents[1]

# folder or file under docs/ → what is in it: path → Markdown
PAGES: Mapping[str, Callable[[], Mapping[str, str]]] = {
    "benchmarks": lambda: {
        "index.md": benchmarks.page(),
        "quality.md": quality.page(),
    },
    "changelog.md": lambda: {"": texts.changelog()},
    "decisions/index.md": lambda: {"": texts.decisions()},
    "models": models.pages,
    "recipes": recipes.pages,
    "reference/commands.md": lambda: {"": commands.page()},
    "reference/settings.md": lambda: {"": settings.page()},
}


def write_pages(docs: Path = DOCS) -> None:
    """Write every generated page; a folder is emptied first, so that nothing outlives its source."""
    for name, make in PAGES.items():
        target = docs / name
        if target.is_dir():
            shutil.rmtree(target)
        for inner, text in make().items():
            path = target / inner if inner else target
            path.parent.mkdir(parents=True, exist_ok=True)
            aside = path.with_name(f".{path.name}")
            aside.write_text(text, encoding="utf-8")
            os.replace(aside, path)
    leaderboard.build([docs / "measurements"], docs)


def main() -> None:
    """Parse the command line and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", action="store_true", help="leave out the try-out and the map")
    parser.add_argument(
        "--readme",
        action="store_true",
        help="only rewrite the README's rows of quality and the page of numbers to plan with",
    )
    parser.add_argument("--picture", action="store_true", help="only draw the README's picture")
    asked = parser.parse_args()
    if asked.readme:
        quality.rewrite()
        capacity.PAGE.write_text(capacity.page(), encoding="utf-8")
        return
    if asked.picture:
        picture.draw()
        return
    write_pages()
    if not asked.pages:
        assets.build(DOCS / "assets" / "built")


if __name__ == "__main__":
    main()

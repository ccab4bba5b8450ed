"""A page for each recipe: its card, then the recipe itself and the recipes that lead to it."""

import json

from docs.website import training
from docs.website.texts import BEHIND, ROOT, adopt
from medembed.recipes.catalog import Entry, parts, shipped


def pages() -> dict[str, str]:
    """``index.md`` from the folder's README, ``NAME.md`` from each recipe's card and files."""
    entries = shipped()
    links = {entry.name: f"{entry.name}.md" for entry in entries}
    found = {"index.md": adopt(ROOT / "recipes" / "README.md", links)}
    for entry in entries:
        files = "\n".join(_file(item) for item in (entry, *parts(entry)))
        found[f"{entry.name}.md"] = (
            f"{BEHIND}{adopt(entry.folder / 'README.md')}\n## The recipe\n\n"
            f"All settings and their defaults are in the [reference](../reference/settings.md).\n\n{files}"
        )
    return found


def _file(entry: Entry) -> str:
    """A recipe's file, how its training went, and what comes out."""
    shown = f"### `{entry.file.relative_to(ROOT).as_posix()}`\n\n```toml\n{entry.file.read_text(encoding='utf-8')}```\n"
    expected = entry.beside("expected.json")
    figures = f"\nWhat comes out:\n\n```json\n{json.dumps(expected, indent=1)}\n```\n" if expected else ""
    return f"{shown}{figures}\n{training.section(entry)}"

"""A page for each recipe: its card, then the recipe itself."""

from docs.website import training
from docs.website.texts import ROOT, adopt
from medembed.recipes.catalog import shipped


def pages() -> dict[str, str]:
    """``index.md`` from the folder's README, ``NAME.md`` from each recipe's card and file."""
    entries = shipped()
    links = {entry.name: f"{entry.name}.md" for entry in entries}
    found = {"index.md": adopt(ROOT / "recipes" / "README.md", links)}
    for entry in entries:
        card = adopt(entry.folder / "README.md")
        found[f"{entry.name}.md"] = (
            f"{card}\n{training.section(entry.folder)}## The recipe\n\n`{entry.name}/recipe.toml`; all settings and their defaults are in the "
            f"[reference](../reference/settings.md).\n\n```toml\n{entry.file.read_text(encoding='utf-8')}```\n"
            f"\n## What comes out\n\n`{entry.name}/expected.json`\n\n"
            f"```json\n{(entry.folder / 'expected.json').read_text(encoding='utf-8').rstrip()}\n```\n"
        )
    return found

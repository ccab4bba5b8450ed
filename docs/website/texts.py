"""Markdown that stands elsewhere in the repository, made fit for the site; and the list of decisions."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\[([^\]]+)\]\((?!https?://|#)([^)]+)\)")
# A page for the makers: the site's search shows it after those for users.
BEHIND = "---\nsearch:\n  boost: 0.2\n---\n"
FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)


def adopt(source: Path, links: dict[str, str] | None = None) -> str:
    """A Markdown file of the repository, for the site.

    Args:
        source: The file.
        links: Relative link in it → link on the site. Others point to files that the site does not have: they become
            plain text.

    Returns:
        Markdown without front matter.
    """
    known = links or {}

    def relink(match: re.Match[str]) -> str:
        text, target = match.groups()
        return f"[{text}]({known[target]})" if target in known else text

    return LINK.sub(relink, FRONT_MATTER.sub("", source.read_text(encoding="utf-8")).lstrip())


def changelog() -> str:
    """The project's changelog."""
    return BEHIND + adopt(ROOT / "CHANGELOG.md")


def decisions(folder: Path = ROOT / "docs" / "decisions") -> str:
    """Every decision with its title, and how to add one."""
    lines = ["# Decisions", "", "Why it is as it is: context, decision, consequences, evidence. One page each.", ""]
    for path in sorted(folder.glob("[0-9]*.md")):
        title = FRONT_MATTER.sub("", path.read_text(encoding="utf-8")).partition("\n")[0].lstrip("# ")
        lines.append(f"- [{title}]({path.name})")
    return BEHIND + "\n".join(lines) + "\n"

"""Measures of the house: files, layers, circles, docstrings, recipes, and what a first encode reads.

python -m tests.house
"""

import ast
import re
import statistics
import subprocess
import sys
import tomllib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "medembed"
WH_WORDS = ("what", "who", "which", "where", "how", "when", "why")
# run in a process of its own: the modules of ours that a first encode executes
FIRST_ENCODE = """
import sys
from medembed import MedEmbed
MedEmbed(threads=1).encode("fever")
print(sum(1 for name in sys.modules if name.split(".")[0] == "medembed"))
"""


@dataclass(frozen=True)
class House:
    """The measures; each is a count or a share of 1."""

    files: int
    lines: int
    median_lines: int
    longest_lines: int
    short_files: int
    layers: int
    circles: list[list[str]]
    upward_imports: list[str]
    docstrings: int
    wh_docstrings: list[str]
    semicolon_docstrings: list[str]
    recipe_lines: int


def measure() -> House:
    """Measure the checkout."""
    sources = {_module(path): path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))}
    trees = {module: ast.parse(source) for module, source in sources.items()}
    imports = {module: _imports(module, tree, set(trees)) for module, tree in trees.items()}
    layers = _layers()
    sizes = [len(source.splitlines()) for source in sources.values()]
    opening = [(where, _first_sentence(text)) for module, tree in trees.items() for where, text in _docs(module, tree)]
    return House(
        files=len(sources),
        lines=sum(sizes),
        median_lines=round(statistics.median(sizes)),
        longest_lines=max(sizes),
        short_files=sum(
            1 for module, size in zip(sources, sizes, strict=True) if size < 60 and not _is_package(module)
        ),
        layers=len(layers),
        circles=circles(imports),
        upward_imports=_upwards(imports, layers),
        docstrings=len(opening),
        wh_docstrings=[where for where, text in opening if text.lower().startswith(WH_WORDS)],
        semicolon_docstrings=[where for where, text in opening if ";" in text],
        recipe_lines=sum(len(path.read_text().splitlines()) for path in (ROOT / "recipes").rglob("*.toml")),
    )


def circles(imports: dict[str, set[str]]) -> list[list[str]]:
    """The groups of modules that import each other, by Tarjan's algorithm.

    Args:
        imports: Module → the modules that it imports.

    Returns:
        Each group of two or more, sorted.
    """
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for imported in imports[module]:
            if imported not in index:
                visit(imported)
                low[module] = min(low[module], low[imported])
            elif imported in stack:
                low[module] = min(low[module], index[imported])
        if low[module] == index[module]:
            place = stack.index(module)
            groups.append(sorted(stack[place:]))
            del stack[place:]

    for module in imports:
        if module not in index:
            visit(module)
    return sorted(group for group in groups if len(group) > 1)


def _module(path: Path) -> str:
    """The dotted name of a file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _is_package(module: str) -> bool:
    """True for the `__init__` of a folder."""
    return (ROOT / module.replace(".", "/")).is_dir()


def _imports(module: str, tree: ast.Module, modules: set[str]) -> set[str]:
    """The modules of ours that one imports, inside functions too, under TYPE_CHECKING not."""
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    imported: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                imported.add(whole if whole in modules else node.module)
        elif isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names)
    return (imported & modules) - {module}


def _layers() -> list[set[str]]:
    """The layers that import-linter checks, from the top."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    rows = next(contract["layers"] for contract in contracts if contract["id"] == "layers")
    return [set(re.findall(r"\w+", row)) for row in rows]


def _upwards(imports: dict[str, set[str]], layers: list[set[str]]) -> list[str]:
    """The imports that run from a layer to one above it."""
    height = {name: place for place, names in enumerate(layers) for name in names}
    return sorted(
        f"{module} → {imported}"
        for module, below in imports.items()
        for imported in below
        if _height(imported, height) < _height(module, height)
    )


def _height(module: str, height: dict[str, int]) -> int:
    """The layer of a module, counted from the top; the package itself stands below all."""
    parts = module.split(".")
    return height[parts[1]] if len(parts) > 1 else len(height)


def _docs(module: str, tree: ast.Module) -> list[tuple[str, str]]:
    """The docstrings of a module, its classes and functions, with their places."""
    documented: list[tuple[str, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                documented.append((f"{module}:{getattr(node, 'name', '')}", text))
    return documented


def _first_sentence(text: str) -> str:
    """The first sentence of a docstring."""
    return re.split(r"(?<=[.!?])\s", " ".join(text.split("\n\n", maxsplit=1)[0].split()), maxsplit=1)[0]


def main() -> None:
    """Print the measures, one per line."""
    house = measure()
    first = subprocess.run([sys.executable, "-c", FIRST_ENCODE], capture_output=True, text=True, check=True, cwd=ROOT)
    share = {
        "wh": len(house.wh_docstrings) / house.docstrings,
        "semi": len(house.semicolon_docstrings) / house.docstrings,
    }
    by_room: dict[str, int] = defaultdict(int)
    for path in PACKAGE.rglob("*.py"):
        by_room[path.relative_to(PACKAGE).parts[0]] += len(path.read_text().splitlines())
    print(f"files                       {house.files}, {house.short_files} of them below 60 lines")
    print(f"lines                       {house.lines}; median {house.median_lines}, longest {house.longest_lines}")
    print(f"layers                      {house.layers}")
    print(f"import circles              {len(house.circles)}")
    print(f"upward imports              {len(house.upward_imports)}")
    print(f"docstrings with a wh-word   {share['wh']:.1%} of {house.docstrings}")
    print(f"docstrings with a semicolon {share['semi']:.1%}, in the first sentence")
    print(f"recipe lines                {house.recipe_lines} of TOML")
    print(f"modules of a first encode   {first.stdout.strip()}")
    print("lines per room              " + ", ".join(f"{name} {n}" for name, n in sorted(by_room.items())))
    for name, rows in (("circle", [", ".join(group) for group in house.circles]), ("upward", house.upward_imports)):
        for row in rows:
            print(f"{name}: {row}")


if __name__ == "__main__":
    main()

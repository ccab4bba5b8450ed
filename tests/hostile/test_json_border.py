"""One rule about all of the package: JSON from outside is read by the border, which bounds it."""

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "medembed"

SHIPPED = "a file of the package itself, as trusted as its code"
# Module → why JSON is read there without the border.
EXCEPTIONS = {
    "border.py": "the border",
    "demo/__init__.py": SHIPPED,
    "evaluation/contrasts/__init__.py": SHIPPED,
    "evaluation/leaderboard.py": SHIPPED,
    "evaluation/slices.py": SHIPPED,
    "extras.py": "pip's record of this installation, read below the border and checked there",
    "corpus/embed_ray.py": "manifests and receipts between processes of one run, by pydantic",
    "recipes/pair_blocks.py": "pydantic's own parser, which bounds depth and refuses halves; a line that is not whole is dropped",
    "rows/json_arrays.py": "value by value of a file that may be large; size, depth and NaN are held there",
    "recipes/writers/replies.py": "looks for where an object ends; what it finds goes through the border",
}
# of the json module; and of anything
FUNCTIONS, METHODS = {"load", "loads"}, {"JSONDecoder", "raw_decode", "validate_json", "model_validate_json"}


def readers() -> Iterator[str]:
    """Every module that reads JSON by itself."""
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(_reads(node) for node in ast.walk(tree)):
            yield path.relative_to(PACKAGE).as_posix()


def _reads(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.module == "json"
    if not isinstance(node, ast.Attribute):
        return False
    of_json = isinstance(node.value, ast.Name) and node.value.id == "json"
    return node.attr in METHODS or (of_json and node.attr in FUNCTIONS)


def test_json_from_outside_is_read_by_the_border_alone() -> None:
    assert set(readers()) == set(EXCEPTIONS), "use medembed.border, or say here why not"

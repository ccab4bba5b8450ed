"""What is collected of the package and of its tests."""

from pathlib import Path

import pytest

from tests import collecting

ROOT = Path(__file__).parent


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what holds no chosen test, before it is imported. Programs beside the tests hold none at all."""
    if collection_path.suffix != ".py":
        return None
    text, chosen = collection_path.read_text(encoding="utf-8"), config.getoption("markexpr")
    if collection_path.is_relative_to(ROOT / "medembed"):
        return None if collecting.may_hold_examples(text, chosen) else True
    if collection_path.is_relative_to(ROOT / "tests"):
        is_program = not collection_path.name.startswith("test_")
        return True if is_program or not collecting.may_hold_tests(text, chosen) else None
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files of long tests: one that comes last keeps a single process busy."""
    long = {item.path for item in items if item.get_closest_marker("thorough")}
    items.sort(key=lambda item: item.path not in long)

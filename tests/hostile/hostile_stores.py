"""Stores from a stranger, with manifests that lie and files that are none: refused, or harmless and right."""

import random
from pathlib import Path
from typing import Any

from tests.hostile import stores

COUNT = 500


def run(count: int, seed: int = 0) -> dict[str, Any]:
    """Meet ``count`` hostile stores, both kinds in turn: one change each to the manifest or to a file."""
    tables: dict[str, dict[str, stores.Change]] = {}
    order: dict[str, list[str]] = {}

    def pick(kind: str, folder: Path, number: int, rng: random.Random) -> tuple[str, stores.Change]:
        if kind not in tables:
            tables[kind] = stores.manifest_changes(folder)
            order[kind] = sorted(tables[kind])
            random.Random(seed).shuffle(order[kind])
        name = order[kind][number % len(order[kind])]
        return name, tables[kind][name]

    return stores.attack(count, pick, seed)

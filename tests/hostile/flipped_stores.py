"""Stores with flipped, cut, zeroed, emptied, lengthened or swapped files: told, or right all the same."""

import random
from pathlib import Path
from typing import Any

from tests.hostile import stores

COUNT = 700


def _flip(content: bytearray, rng: random.Random) -> bytes:
    for _ in range(rng.choice((1, 1, 1, 8))):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


def _zero(content: bytearray, rng: random.Random) -> bytes:
    start = rng.randrange(len(content))
    content[start : start + 512] = bytes(len(content[start : start + 512]))
    return bytes(content)


WAYS = {
    "flipped": _flip,
    "flipped again": _flip,
    "cut": lambda content, rng: bytes(content[: rng.randrange(len(content))]),
    "zeroed": _zero,
    "emptied": lambda content, rng: b"",
    "lengthened": lambda content, rng: bytes(content) + b"\0" * rng.choice((1, 64, 4096)),
}


def run(count: int, seed: int = 0) -> dict[str, Any]:
    """Damage one file of a store ``count`` times, both kinds and every file in turn."""

    def pick(kind: str, folder: Path, number: int, rng: random.Random) -> tuple[str, stores.Change]:
        there = [path for path in stores.files(folder) if path.stat().st_size and path.name != ".lock"]
        name = there[number % len(there)].relative_to(folder).as_posix()
        way = sorted(WAYS)[number // len(there) % len(WAYS)]

        def change(hostile: Path, chance: random.Random) -> None:
            (hostile / name).write_bytes(WAYS[way](bytearray((hostile / name).read_bytes()), chance))

        return f"{name} {way} ({number})", change

    return stores.attack(count, pick, seed)

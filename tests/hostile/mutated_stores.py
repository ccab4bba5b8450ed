"""Stores with changed bytes: the same hits as before, or one error of ours that holds no word of the texts.

``run(count)`` changes a good store of each kind so often in all. ``python -m tests.hostile.mutated_stores COUNT`` prints the counts.
"""

import io
import json
import logging
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from medembed import EmbeddedCorpus, FakeEngine, MedColBERT, MedEmbed, TokenIndex
from medembed.colbert.index.build import TokenSettings
from medembed.corpus.embed import Settings
from medembed.corpus.hybrid import Hybrid
from medembed.errors import MedEmbedError
from medembed.rows.read import Columns
from tests.colbert import folders
from tests.rows.fuzz import mutated

MARKER = "zq9marker"
N_ROWS = 24
KEPT = {"year": "int", "ward": "string"}
ROWS = [
    {
        "id": f"{MARKER}-{n}",
        "text": f"{MARKER} has fever and pain number {n}",
        "year": 2000 + n,
        "ward": f"{MARKER} {n % 3}",
    }
    for n in range(N_ROWS)
]
QUERY = "fever and pain number 7"


def corpus(folder: Path) -> Callable[[Path], Any]:
    """Make a corpus with deleted rows and all that is derived; what opens a copy of it is returned."""
    model = MedEmbed(engine=FakeEngine(dimension=16))
    with EmbeddedCorpus.build(folder, ROWS, model, Settings(Columns(kept=KEPT), shard_rows=8)) as made:
        made.delete([f"{MARKER}-3"])
        made.search(QUERY, scan="binary", hybrid=Hybrid())

    def read(path: Path) -> list[Any]:
        with EmbeddedCorpus.open(path, model) as opened:
            found = [
                opened.search(QUERY, 30), opened.search(QUERY, 30, hybrid=Hybrid()), opened.search(QUERY, 30, scan="binary"),
                opened.search(QUERY, 30, filter={"year": 2005}),
            ]  # fmt: skip
            return [told(found), sorted(opened.ids), opened.vectors().tobytes()]

    return read


def token_index(folder: Path) -> Callable[[Path], Any]:
    """As :func:`corpus`, of token vectors."""
    model = MedColBERT(folders.stanford(folder.with_name("colbert")), engine=FakeEngine(folders.HIDDEN))
    with TokenIndex.build(folder, ROWS, model, TokenSettings(Columns(kept=KEPT), shard_rows=8)) as made:
        made.delete([f"{MARKER}-3"])
        made.search(QUERY)

    def read(path: Path) -> list[Any]:
        with TokenIndex.open(path, model) as opened:
            found = [opened.search(QUERY, 30), opened.search(QUERY, 30, filter={"year": 2005})]
            opened.to_npy(path.with_name("v.npy"))
            return [told(found), sorted(opened.ids), path.with_name("v.npy").read_bytes()]

    return read


KINDS: dict[str, Callable[[Path], Callable[[Path], Any]]] = {"embedded corpus": corpus, "token index": token_index}


def told(found: list[list[Any]]) -> list[Any]:
    """All that hits say, except the order among equal scores."""
    return [
        sorted((hit.id, round(hit.score, 4), hit.text, hit.source, hit.line, sorted(hit.kept.items())) for hit in hits)
        for hits in found
    ]


def one(read: Callable[[Path], Any], expected: Any, path: Path) -> str:
    """What became of a changed store: ``"same"`` or ``"refused"``.

    Raises:
        AssertionError: A rule was broken.
    """
    logged = io.StringIO()
    handler, root = logging.StreamHandler(logged), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        found, message, outcome = read(path), "", "same"
    except MedEmbedError as error:
        found, message, outcome = expected, f"{error} {error.__cause__}", "refused"
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    assert found == expected, "other rows or hits, without a word"
    assert MARKER not in message + logged.getvalue(), "a message holds the data"
    return outcome


def run(count: int, seed: int = 0) -> dict[str, Any]:
    """Change a random file of good stores.

    Args:
        count: How often in all.
        seed: The same seed gives the same changes.

    Returns:
        ``mutations``, counts of ``same`` and ``refused`` by kind, and ``faults``: what broke a rule, by kind, number and file.
    """
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    faults: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as place:
        good = {kind: Path(place) / kind for kind in KINDS}
        reads = {kind: make(good[kind]) for kind, make in KINDS.items()}
        expected = {kind: reads[kind](good[kind]) for kind in KINDS}
        for kind in KINDS:  # or the counts would say nothing
            shutil.copytree(good[kind], Path(place) / f"{kind} again")
            assert one(reads[kind], expected[kind], Path(place) / f"{kind} again") == "same"
        for number in range(count):
            kind, chance = list(KINDS)[number % 2], random.Random(f"{seed} {number}")
            path = Path(place) / "changed"
            shutil.copytree(good[kind], path)
            files = sorted(item for item in path.rglob("*") if item.is_file() and item.stat().st_size)
            # the manifest is the one file without a hash: every other change is to it
            changed = path / "manifest.json" if chance.random() < 0.5 else chance.choice(files)
            content = mutated(changed.read_bytes(), chance)
            changed.unlink()
            changed.write_bytes(content)
            try:
                counts[kind][one(reads[kind], expected[kind], path)] += 1
            except Exception as error:  # noqa: BLE001 - any other error is what is looked for
                faults[f"{kind} {number} {changed.relative_to(path)}"] = f"{type(error).__name__}: {str(error)[:200]}"
            shutil.rmtree(path)
    return {
        "mutations": count,
        "seed": seed,
        "kinds": {kind: dict(sorted(found.items())) for kind, found in counts.items()},
        "faults": faults,
    }


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1])), indent=1))

"""What hostile and damaged stores come to: opened, verified, searched, changed, each in a watched process.

A line for the worker is ``KIND FOLDER``; the outcome is ``right`` only where the hits are those of the good store.
"""

import json
import os
import random
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.colbert import folders
from tests.hostile.watched import Tally, Watched

MODULE = "tests.hostile.stores"
KINDS = ("corpus", "tokens")
SIGNS = ["fever", "cough", "chest pain", "itchy rash", "swollen calf", "headache", "nausea"]
ROWS = [
    {
        "id": f"n{number}",
        "text": f"{SIGNS[number % 7]} and {SIGNS[number * 3 % 7]} case {number}",
        "year": 2000 + number % 10,
    }
    for number in range(40)
]
QUERIES = ["fever case 3", "swollen calf", "nausea and cough"]
Change = Callable[[Path, random.Random], object]

_models: dict[str, Any] = {}


def prepare() -> None:
    """Make the models of both kinds."""
    from medembed import FakeEngine, MedColBERT, MedEmbed

    warnings.simplefilter("ignore")
    place = tempfile.TemporaryDirectory()
    colbert = folders.stanford(Path(place.name) / "model")
    _models.update(
        place=place,
        corpus=MedEmbed(engine=FakeEngine(dimension=16)),
        # its directory is new in every process; what it was made of is not
        tokens=MedColBERT(colbert, engine=FakeEngine(folders.HIDDEN)),
    )


def make(kind: str, folder: Path) -> None:
    """Build the good store of a kind: several shards, deleted rows, and what searching derives."""
    from medembed import EmbeddedCorpus, TokenIndex
    from medembed.clinical.split import Splitting
    from medembed.colbert.index.build import TokenSettings
    from medembed.corpus.embed import Settings
    from medembed.rows.read import Columns

    columns = Columns(kept={"year": "int"})
    opened: Any
    if kind == "corpus":
        opened = EmbeddedCorpus.build(
            folder, ROWS, _models[kind], Settings(columns, splitting=Splitting(), shard_rows=16)
        )
    else:
        opened = TokenIndex.build(folder, ROWS, _models[kind], TokenSettings(columns, shard_rows=16))
    with opened as store:
        store.delete(["n5", "n30"])
        _hits(kind, store)


def _hits(kind: str, store: Any) -> list[Any]:
    from medembed.corpus.hybrid import Hybrid

    ways: list[dict[str, Any]] = [{}, {"filter": {"year": 2003}}]
    if kind == "corpus":
        ways += [{"hybrid": Hybrid()}, {"scan": "binary"}]
    return [
        [(hit.id, hit.text, round(hit.score, 4)) for hit in hits]
        for way in ways
        for hits in store.search(QUERIES, 5, **way)
    ]


def attempt(line: str) -> str:
    """Open, verify, search and change the store in a folder."""
    from medembed import EmbeddedCorpus, TokenIndex
    from medembed.errors import MedEmbedError

    kind, _, folder = line.partition(" ")
    opener: Any = EmbeddedCorpus if kind == "corpus" else TokenIndex
    try:
        with opener.open(Path(folder), _models[kind]) as store:
            hits = _hits(kind, store)
            damaged = store.verify()
            ids = list(store.ids)
            store.delete([ids[-1]])
            store.append([{"id": "new", "text": "fever again", "year": 2001}])
            store.compact()
            store.search(QUERIES, 5)
    except MedEmbedError:
        return "refused"
    except BaseException as error:  # noqa: BLE001 - what this is for
        return f"raw {type(error).__name__}"
    expected = _expected(kind)
    if hits == expected:
        return "right"
    return "refused" if damaged else "wrong hits"


def _expected(kind: str) -> list[Any]:
    if f"{kind} hits" not in _models:
        from medembed import EmbeddedCorpus, TokenIndex

        opener: Any = EmbeddedCorpus if kind == "corpus" else TokenIndex
        folder = Path(_models["place"].name) / kind
        make(kind, folder)
        with opener.open(folder, _models[kind]) as store:
            _models[f"{kind} hits"] = _hits(kind, store)
    hits: list[Any] = _models[f"{kind} hits"]
    return hits


def files(folder: Path) -> Iterator[Path]:
    """Every regular file below a folder, in order."""
    yield from sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


@contextmanager
def good_stores() -> Iterator[dict[str, Path]]:
    """A good store of each kind, and a place for hostile ones beside them."""
    prepare()
    with tempfile.TemporaryDirectory() as place:
        made = {kind: Path(place) / "good" / kind for kind in KINDS}
        for kind, folder in made.items():
            folder.parent.mkdir(exist_ok=True)
            make(kind, folder)
        yield made


def attack(
    count: int, pick: Callable[[str, Path, int, random.Random], tuple[str, Change]], seed: int
) -> dict[str, Any]:
    """Change copies of the good stores ``count`` times.

    Args:
        count: How many.
        pick: Gives the name of a change and the change, for a kind, a copy and a number.
        seed: The same seed gives the same changes.
    """
    tally, watched = Tally(), Watched(MODULE)
    with good_stores() as good:
        outside = next(iter(good.values())).parents[1] / "outside"
        outside.mkdir()
        (outside / "thesis.docx").write_bytes(b"years of work")
        honest = 0
        for kind, folder in good.items():
            again = outside.parent / "again"
            shutil.copytree(folder, again)
            assert watched(f"{kind} {again}") == "right", kind
            shutil.rmtree(again)
            honest = max(honest, watched.peak)
        for number in range(count):
            kind, rng = KINDS[number % len(KINDS)], random.Random(f"{seed} {number}")
            hostile = outside.parent / "hostile"
            shutil.copytree(good[kind], hostile)
            name, change = pick(kind, hostile, number // len(KINDS), rng)
            change(hostile, rng)
            outcome = watched(f"{kind} {hostile}")
            if [path.name for path in outside.iterdir()] != ["thesis.docx"] or files_hold(outside) != [
                b"years of work"
            ]:
                outcome = "wrong files outside"
            tally.add(f"{kind}: {name}", outcome)
            shutil.rmtree(hostile)
    watched.close()
    return tally.counts(watched.peak / honest)


def files_hold(folder: Path) -> list[bytes]:
    """The bytes of each file."""
    return [path.read_bytes() for path in files(folder)]


def manifest_changes(folder: Path) -> dict[str, Change]:
    """Every change to a store's manifest, and files that are replaced by something else."""
    from tests.hostile import model_folders as tables

    document = json.loads((folder / "manifest.json").read_text())
    changes: dict[str, Change] = {}
    for at in tables.places(document):
        where = "manifest.json " + ".".join(map(str, at))
        for label, value in tables.VALUES.items():
            changes[f"{where} = {label}"] = tables.value_change("manifest.json", at, value)
        changes[f"{where} removed"] = tables.value_change("manifest.json", at, None, remove=True)
    for path in files(folder):
        name = path.relative_to(folder).as_posix()
        changes |= {f"{name} is {label}": tables.replaced(name, by) for label, by in tables.KINDS.items()}
        changes[f"{name} is a link outside"] = tables.replaced(name, _link_outside)
    changes |= {
        f"manifest.json = {label}": tables.raw("manifest.json", content) for label, content in tables.RAW.items()
    }
    return changes


def _link_outside(path: Path) -> None:
    place = next(parent for parent in path.parents if parent.name == "hostile").parent
    path.symlink_to(os.path.relpath(place / "outside" / "thesis.docx", path.parent))

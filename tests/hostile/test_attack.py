"""The long attacks, short: each module of them runs, finds nothing, and would find something."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.hostile import (
    __main__ as attack,
)
from tests.hostile import (
    endpoint_replies,
    flipped_stores,
    hostile_stores,
    odd_texts,
    recipe_files,
    stores,
    threads,
    watched,
)

pytestmark = pytest.mark.thorough

SHORT: dict[str, tuple[Callable[..., dict[str, Any]], float]] = {
    "odd texts": (odd_texts.run, 250),
    "hostile stores": (hostile_stores.run, 24),
    "flipped stores": (flipped_stores.run, 24),
    "recipes": (recipe_files.run, 8),
    "replies": (endpoint_replies.run, 16),
    "threads": (threads.run, 2.0),
}


@pytest.mark.parametrize(("run", "count"), SHORT.values(), ids=SHORT)
def test_a_short_attack_finds_nothing(run: Callable[..., dict[str, Any]], count: float) -> None:
    told = run(count)
    assert told["faults"] == {}
    assert told["right"] > 0
    assert sum(told[what] for what in attack.BAD if what in told) == 0


# Manifests that lie about their files: a change, and what it once came to.
LIES: dict[str, tuple[tuple[str | int, ...], object]] = {
    "fewer rows than the shard has": (("shards", 1, "n_rows"), 1),
    "no rows in the last shard": (("shards", 2, "n_rows"), 0),
    "a billion rows": (("shards", 1, "n_rows"), 10**9),
    "rows beyond any number": (("shards", 0, "n_rows"), 10**30),
    "rows below none": (("shards", 0, "n_rows"), -1),
    "no shards but deleted rows": (("shards",), []),
    "shards beyond any number": (("shard_rows",), 10**30),
    "a column of no type": (("kept", "year"), "x"),
    "a name of 100,000 letters": (("shards", 0, "file"), "x" * 100_000),
    "no parts": (("parts",), {}),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    stores.prepare()
    folder = tmp_path_factory.mktemp("stores") / "tokens"
    stores.make("tokens", folder)
    return folder


def copied(good: Path, folder: Path) -> Path:
    import shutil

    shutil.copytree(good, folder)
    return folder


@pytest.mark.parametrize(("place", "value"), LIES.values(), ids=LIES)
def test_a_manifest_that_lies_about_its_files_is_damage(
    place: tuple[str | int, ...], value: object, good: Path, tmp_path: Path
) -> None:
    folder = copied(good, tmp_path / "hostile")
    document: Any = json.loads((folder / "manifest.json").read_text())
    held = document
    for key in place[:-1]:
        held = held[key]
    held[place[-1]] = value
    (folder / "manifest.json").write_text(json.dumps(document))
    assert stores.attempt(f"tokens {folder}") == "refused"


def test_a_terabyte_of_holes_is_damage_and_is_not_read(good: Path, tmp_path: Path) -> None:
    folder = copied(good, tmp_path / "hostile")
    shard = next(folder.glob("shards/*.arrow"))
    with shard.open("wb") as file:
        file.truncate(1 << 40)
    assert stores.attempt(f"tokens {folder}") == "refused"


def test_the_watch_tells_hangs_deaths_and_raw_errors_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "LONGEST_SECONDS", 1.0)
    watch = watched.Watched("tests.hostile.watched_program")
    outcomes = [watch(line) for line in ("right", "raise", "exit", "right", "kill", "sleep")]
    watch.close()
    assert outcomes == ["right", "raw exit 1", "raw exit 3", "right", "signal 9", "hang"]
    tally = watched.Tally()
    for number, outcome in enumerate(outcomes):
        tally.add(str(number), outcome)
    assert tally.counts(1.5) == {
        "right": 2, "refused": 0, "raw": 2, "wrong": 0, "signals": 1, "hangs": 1, "memory": 1.5,
        "faults": {"1": "raw exit 1", "2": "raw exit 3", "4": "signal 9", "5": "hang"},
    }  # fmt: skip
    assert watch.peak > 1 << 20


def test_every_attack_is_found_and_the_file_is_of_them() -> None:
    assert {"odd_texts", "model_folders", "hostile_stores", "flipped_stores", "threads"} <= set(attack.modules())
    told = json.loads(attack.RESULTS.read_text())
    assert set(told["attacks"]) <= {*attack.modules(), *attack.TABLES}
    assert told["totals"] == attack.totals(told["attacks"])

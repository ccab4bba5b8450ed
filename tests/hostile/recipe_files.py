"""Recipes and work folders from a stranger: refused, or run on what their own folders hold.

``run(count)`` changes a value of a good recipe, one of its files, or a manifest of its work folder, and runs it up to its pairs.
"""

import json
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

from tests.hostile import model_folders as tables
from tests.hostile.watched import Tally, Watched

COUNT = 400
INPUTS = ("articles.jsonl.gz", "development/corpus.jsonl", "development/queries.jsonl", "development/qrels/test.tsv")
# TOML has no null
VALUES = {label: value for label, value in tables.VALUES.items() if value is not None}


def attempt(line: str) -> str:
    """Plan, run and look at the recipe in a folder."""
    from medembed.errors import MedEmbedError
    from medembed.recipes import pipeline
    from medembed.recipes.load import load_recipe
    from medembed.recipes.sources import Places
    from medembed.recipes.tables import print_status

    folder = Path(line)
    try:
        recipe = load_recipe(folder / "recipe.toml", [f"execution.work={folder / 'work'}"])
        places = Places(folder, recipe.execution)
        print_status(pipeline.plan(recipe, places))
        built = pipeline.build(recipe, places, "pairs")
    except MedEmbedError:
        return "refused"
    except BaseException as error:  # noqa: BLE001 - what this is for
        return f"raw {type(error).__name__}"
    return "right" if built else "wrong: nothing is built"


def _whole(file: Path) -> dict[str, Any]:
    """The small recipe with every setting that a file may name written out."""
    from medembed.recipes.execution import Execution
    from medembed.recipes.load import load_recipe

    recipe = load_recipe(file)
    told = recipe.model_dump(mode="json", exclude_none=True)
    told["execution"] = {key: value for key, value in told["execution"].items() if key in Execution.FILE_MAY_SET}
    return told


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=True)
    return "true" if value is True else "false" if value is False else repr(value)


def _written(document: dict[str, Any]) -> bytes:
    return "".join(f"{json.dumps(key)} = {_toml(value)}\n" for key, value in document.items()).encode()


def _setting(at: tuple[str | int, ...], value: object, *, remove: bool = False) -> tables.Change:
    def change(folder: Path, rng: random.Random) -> None:
        document = _whole(folder / "recipe.toml")
        tables.put(document, at, value, remove=remove)
        (folder / "recipe.toml").write_bytes(_written(document))

    return change


def _in_manifests(name: str, change: tables.Change) -> tables.Change:
    def apply(folder: Path, rng: random.Random) -> None:
        for manifest in sorted(folder.glob("work/*/*/manifest.json")):
            if manifest.parts[-3] == name:
                change(manifest.parent, rng)

    return apply


def changes(folder: Path) -> dict[str, tables.Change]:
    """Every change to a good recipe's folder, by name."""
    table: dict[str, tables.Change] = {}
    for at in tables.places(_whole(folder / "recipe.toml")):
        where = "recipe.toml " + ".".join(map(str, at))
        table |= {f"{where} = {label}": _setting(at, value) for label, value in VALUES.items()}
        table[f"{where} removed"] = _setting(at, None, remove=True)
    table["recipe.toml = deep"] = tables.raw("recipe.toml", b"a = " + b"[" * 100_000)
    table["recipe.toml = an endless line"] = tables.raw("recipe.toml", b'a = "' + b"x" * (8 << 20) + b'"')
    for name in ("recipe.toml", *INPUTS):
        table |= {f"{name} = {label}": tables.raw(name, content) for label, content in tables.RAW.items()}
        table |= {f"{name} is {label}": tables.replaced(name, by) for label, by in tables.KINDS.items()}
        table |= {f"{name} cut": tables.cut(name), f"{name} flipped": tables.flipped(name)}
    for manifest in sorted(folder.glob("work/*/*/manifest.json")):
        stage = manifest.parts[-3]
        for at in tables.places(json.loads(manifest.read_text())):
            where = f"{stage}/manifest.json {'.'.join(map(str, at))}"
            for label, value in tables.VALUES.items():
                table[f"{where} = {label}"] = _in_manifests(stage, tables.value_change("manifest.json", at, value))
        for label, content in tables.RAW.items():
            table[f"{stage}/manifest.json = {label}"] = _in_manifests(stage, tables.raw("manifest.json", content))
    return table


def run(count: int, seed: int = 0) -> dict[str, Any]:
    """Run ``count`` hostile recipes. Those whose work folder is changed have been run before, as they were."""
    from tests.recipes.conftest import make_recipe

    tally, watched = Tally(), Watched(__name__)
    with tempfile.TemporaryDirectory() as place:
        good = make_recipe(Path(place) / "good")
        (good / "recipe.toml").write_bytes(_written(_whole(good / "recipe.toml")))
        assert watched(str(good)) == "right"
        honest = watched.peak
        table = changes(good)
        names = sorted(table)
        random.Random(seed).shuffle(names)
        for number in range(count):
            name, rng = names[number % len(names)], random.Random(f"{seed} {number}")
            folder = Path(place) / "hostile"
            shutil.copytree(good, folder)
            if "manifest.json" not in name:
                shutil.rmtree(folder / "work")
            table[name](folder, rng)
            tally.add(name, watched(str(folder)))
            shutil.rmtree(folder)
    watched.close()
    return tally.counts(watched.peak / honest)

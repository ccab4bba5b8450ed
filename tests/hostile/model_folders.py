"""Hostile model folders, made by the hundred from a seed, and what loading each of them came to.

``run(count)`` makes ``count`` folders and loads each in a watched process.
"""

import json
import os
import random
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from tests import tiny_bert
from tests.hostile.watched import Tally, Watched

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "pain", "chest", "heart", "##s", "a", "b", "the", ".", "1"]
CONFIG = {
    "hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 64, "vocab_size": len(WORDS),
    "max_position_embeddings": 32,
}  # fmt: skip
COUNT = 500
JSON_FILES = (
    "config.json", "modules.json", "1_Pooling/config.json", "sentence_bert_config.json", "config_sentence_transformers.json",
    "tokenizer_config.json", "tokenizer.json",
)  # fmt: skip
FILES = (*JSON_FILES, "model.safetensors")
VALUES: dict[str, Any] = {
    "null": None, "true": True, "minus one": -1, "zero": 0, "one": 1, "a billion": 10**9, "10^30": 10**30, "a fraction": 0.5,
    "text": "x", "no text": "", "a path": "../../etc/passwd", "a list": [], "a list of lists": [[1], [2]], "an object": {},
    "60 levels": json.loads("[" * 55 + "]" * 55), "a long text": "x" * 100_000, "a zero byte": "a\0b",
}  # fmt: skip
RAW: dict[str, bytes] = {
    "empty": b"", "a brace": b"{", "words": b"hello", "null": b"null", "a number": b"1", "an empty list": b"[]", "an empty object": b"{}",
    "latin-1": b'{"a": "\xe9"}', "utf-16": '{"a": 1}'.encode("utf-16"), "nested": b"[" * 100_000,
    "nested objects": b'{"a":' * 5000 + b"1" + b"}" * 5000,
    "half a character": b'{"a": "\\ud800"}', "NaN": b'{"a": NaN}', "many digits": b'{"a": ' + b"9" * 10_000 + b"}",
}  # fmt: skip

Change = Callable[[Path, random.Random], object]


def make(folder: Path) -> Path:
    """Write a good folder of a few thousand weights and fourteen words."""
    made = tiny_bert.make(folder, config=CONFIG, prompts={"query": "the ", "document": ""})
    tokenizer = json.loads((made / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"] = {word: place for place, word in enumerate(WORDS)}
    tokenizer["added_tokens"] = [
        {**token, "id": WORDS.index(token["content"])}
        for token in tokenizer["added_tokens"]
        if token["content"] in WORDS
    ]
    template = tokenizer["post_processor"]
    if "special_tokens" in template:
        for name, told in template["special_tokens"].items():
            told["ids"] = [WORDS.index(name)]
    (made / "tokenizer.json").write_text(json.dumps(tokenizer))
    tiny_bert._write(made / "sentence_bert_config.json", {"max_seq_length": 32, "do_lower_case": False})
    return made


def places(value: object, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The place of every value in a parsed document, its root left out."""
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*at, key)
        yield from places(item, (*at, key))


def put(document: Any, at: tuple[str | int, ...], value: object, *, remove: bool = False) -> None:
    for key in at[:-1]:
        document = document[key]
    if remove:
        del document[at[-1]]
    else:
        document[at[-1]] = value


def value_change(name: str, at: tuple[str | int, ...], value: object, *, remove: bool = False) -> Change:
    """Put a value at a place of a JSON file, or remove what is there."""

    def change(folder: Path, rng: random.Random) -> None:
        document = json.loads((folder / name).read_text())
        put(document, at, value, remove=remove)
        (folder / name).write_text(json.dumps(document))

    return change


def raw(name: str, content: bytes) -> Change:
    return lambda folder, _: (folder / name).write_bytes(content)


def replaced(name: str, by: Callable[[Path], object]) -> Change:
    def change(folder: Path, rng: random.Random) -> None:
        path = folder / name
        path.unlink()
        by(path)

    return change


def _terabyte(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


KINDS: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "a folder": lambda path: path.mkdir(),
    "zeros without end": lambda path: path.symlink_to("/dev/zero"),
    "a terminal": lambda path: path.symlink_to("/dev/tty"),
    "a pipe": os.mkfifo,
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a terabyte of zeros": _terabyte,
    "only zeros": lambda path: path.write_bytes(bytes(10_000)),
}


def cut(name: str) -> Change:
    def change(folder: Path, rng: random.Random) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: rng.randrange(len(content))])

    return change


def flipped(name: str, *, first: int | None = None) -> Change:
    def change(folder: Path, rng: random.Random) -> None:
        content = bytearray((folder / name).read_bytes())
        for _ in range(rng.choice((1, 1, 8, 64))):
            content[rng.randrange(min(first or len(content), len(content)))] ^= 1 << rng.randrange(8)
        (folder / name).write_bytes(content)

    return change


def weights_change(edit: Callable[[dict[str, np.ndarray], random.Random], object]) -> Change:
    """Change the arrays of the weights."""

    def change(folder: Path, rng: random.Random) -> None:
        weights = dict(load_file(folder / "model.safetensors"))
        edit(weights, rng)
        save_file(weights, folder / "model.safetensors")

    return change


def _some(weights: dict[str, np.ndarray], rng: random.Random) -> str:
    return rng.choice(sorted(weights))


def _non_finite(weights: dict[str, np.ndarray], rng: random.Random) -> None:
    weights[_some(weights, rng)].flat[0] = rng.choice((np.nan, np.inf, -np.inf))


def _huge(weights: dict[str, np.ndarray], rng: random.Random) -> None:
    weights[_some(weights, rng)][:] = 3e38


def _other_shape(weights: dict[str, np.ndarray], rng: random.Random) -> None:
    name = _some(weights, rng)
    weights[name] = rng.choice((weights[name].ravel(), weights[name][:0], weights[name][..., None], weights[name][:1]))


def _other_type(weights: dict[str, np.ndarray], rng: random.Random) -> None:
    name = _some(weights, rng)
    weights[name] = weights[name].astype(rng.choice((np.int8, np.int64, np.float64, np.float16, np.bool_)))


def _scaled(weights: dict[str, np.ndarray], rng: random.Random) -> None:
    name = _some(weights, rng)
    weights[name + ".scale"] = np.ones(rng.choice(((1,), (3, 5), (1, 1), (0, 0), (2,))), np.float16)
    weights[name] = weights[name].astype(np.int8)


WEIGHTS: dict[str, Change] = {
    "not finite": weights_change(_non_finite),
    "huge": weights_change(_huge),
    "another shape": weights_change(_other_shape),
    "another type": weights_change(_other_type),
    "a scale that does not fit": weights_change(_scaled),
    "one missing": weights_change(lambda weights, rng: weights.pop(_some(weights, rng))),
    "none at all": weights_change(lambda weights, rng: weights.clear()),
}
HEADERS: dict[str, Any] = {
    "offsets beyond": {"data_offsets": [0, 10**15]}, "offsets reversed": {"data_offsets": [8, 0]}, "offsets negative": {"data_offsets": [-8, 0]},
    "no offsets": {"data_offsets": None}, "three offsets": {"data_offsets": [0, 1, 2]}, "fractions": {"data_offsets": [0.5, 1.5]},
    "a huge shape": {"shape": [10**9, 10**9]}, "a negative shape": {"shape": [-1, 32]}, "a shape of text": {"shape": "x"},
    "a hundred axes": {"shape": [1] * 100}, "another type": {"dtype": "F8_E4M3"}, "no type": {"dtype": 7}, "half as wide": {"dtype": "F16"},
}  # fmt: skip


def header_change(changes: dict[str, Any] | bytes | int) -> Change:
    """Change an entry of the weights' header, the header itself, or the size that it is said to have."""

    def change(folder: Path, rng: random.Random) -> None:
        content = (folder / "model.safetensors").read_bytes()
        size = struct.unpack("<Q", content[:8])[0]
        header, body = content[8 : 8 + size], content[8 + size :]
        if isinstance(changes, dict):
            entries = json.loads(header)
            entries[rng.choice([name for name in sorted(entries) if name != "__metadata__"])].update(changes)
            header = json.dumps(entries).encode()
        elif isinstance(changes, bytes):
            header = changes
        said = changes if isinstance(changes, int) else len(header)
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", said) + header + body)

    return change


def changes() -> dict[str, Change]:
    """Every single change to the good folder, by name."""
    table: dict[str, Change] = {}
    with tempfile.TemporaryDirectory() as place:
        good = make(Path(place) / "m")
        for name in JSON_FILES:
            for at in places(json.loads((good / name).read_text())):
                where = f"{name} {'.'.join(map(str, at))}"
                table |= {f"{where} = {label}": value_change(name, at, value) for label, value in VALUES.items()}
                table[f"{where} removed"] = value_change(name, at, None, remove=True)
    for name in FILES:
        table |= {f"{name} = {label}": raw(name, content) for label, content in RAW.items()}
        table |= {f"{name} is {label}": replaced(name, by) for label, by in KINDS.items()}
        table |= {f"{name} cut": cut(name), f"{name} flipped": flipped(name)}
    table["model.safetensors header flipped"] = flipped("model.safetensors", first=2000)
    table |= {f"weights {label}": change for label, change in WEIGHTS.items()}
    table |= {f"header {label}": header_change(told) for label, told in HEADERS.items()}
    table |= {f"header is {label}": header_change(content) for label, content in RAW.items()}
    table |= {f"header of {size} bytes": header_change(size) for size in (0, 1, 10**6, 2**63, 2**64 - 1)}
    return table


def attempt(folder: Path | str) -> str:
    """Load a folder and encode with it: ``"right"``, ``"refused"``, or ``"raw"`` and what was raised."""
    import warnings

    from medembed import MedEmbed
    from medembed.errors import MedEmbedError

    try:
        with warnings.catch_warnings(), MedEmbed(Path(folder), threads=1) as model:
            warnings.simplefilter("ignore")
            vectors = model.encode(["chest pain", "heart " * 100, "the"])
    except MedEmbedError:
        return "refused"
    except BaseException as error:  # noqa: BLE001 - what this is for
        return f"raw {type(error).__name__}"
    return "right" if np.isfinite(vectors).all() and len(vectors) == 3 else "raw wrong vectors"


def prepare() -> None:
    """Import what the first folder of another architecture would pay for."""
    import transformers  # noqa: F401
    from sentence_transformers.base.modules import Transformer  # noqa: F401 - imports torch and what it needs


def run(count: int, seed: int = 0) -> dict[str, Any]:
    """Load hostile folders.

    Args:
        count: How many: one change each, then two and three at a time.
        seed: The same seed gives the same folders.

    Returns:
        As :meth:`tests.hostile.watched.Tally.counts`.
    """
    rng = random.Random(seed)
    table = changes()
    names = sorted(table)
    rng.shuffle(names)
    tally, watched = Tally(), Watched(__name__)
    with tempfile.TemporaryDirectory() as place:
        good = make(Path(place) / "good")
        assert watched(str(good)) == "right"
        honest = watched.peak
        for number in range(count):
            chosen = [names[number]] if number < len(names) else rng.sample(names, rng.choice((2, 3)))
            folder = Path(place) / "hostile"
            shutil.copytree(good, folder)
            for name in chosen:
                try:
                    table[name](folder, rng)
                except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError):
                    continue  # an earlier change took away what this one changes
            tally.add(" + ".join(chosen), watched(str(folder)))
            shutil.rmtree(folder)
    watched.close()
    return tally.counts(watched.peak / honest)

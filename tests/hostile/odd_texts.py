"""Odd texts by the ten thousand: each gives a unit vector, the same one alone as among others.

``run(count)`` embeds texts of every kind of character, and of no character at all, with engines of each kind.
"""

import random
import tempfile
import unicodedata
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests import tiny_bert
from tests.colbert import folders
from tests.hostile.watched import Tally, Watched

COUNT = 10_000
AT_ONCE = 50
ODD = (
    "\x00", "\ud800", "\udfff", "\u202e", "\u200d", "\ufeff", "\ufffe", "\uffff", "\U0010ffff", "e" + "\u0301" * 40, "\ufdfd", "👩🏽\u200d⚕️",
    "\r", "\x1b[2J", "<s>", "[CLS]", "[SEP]", "[MASK]", "[PAD]", "[unused1]", "##a", "İ", "ß", "ﬁ", "㎎", "½", "１", "\u3000", "\x85", "\u2028",
    "a" * 300, "1" * 80,
)  # fmt: skip
RANGES = (
    (0x0, 0x7F), (0x80, 0x2FF), (0x300, 0x36F), (0x370, 0x1FFF), (0x2000, 0x2BFF), (0x3000, 0x9FFF), (0xD800, 0xDFFF), (0xE000, 0xFFFF),
    (0x10000, 0x10FFFF),
)  # fmt: skip


def _characters(rng: random.Random) -> str:
    first, last = rng.choice(RANGES)
    return "".join(chr(rng.randint(first, last)) for _ in range(rng.choice((0, 1, 2, 5, 20, 60))))


def _pieces(rng: random.Random) -> str:
    return "".join(rng.choice(ODD) for _ in range(rng.choice((1, 2, 6))))


def _mixed(rng: random.Random) -> str:
    return f"chest pain {_pieces(rng)} {_characters(rng)} and fever"


def _long(rng: random.Random) -> str:
    return rng.choice((_characters, _pieces))(rng) * rng.choice((50, 500, 2000))


def _decomposed(rng: random.Random) -> str:
    return unicodedata.normalize(rng.choice(("NFD", "NFKD", "NFC", "NFKC")), _mixed(rng))


KINDS: tuple[Callable[[random.Random], str], ...] = (
    _characters, _characters, _pieces, _pieces, _mixed, _mixed, _decomposed, _long,
)  # fmt: skip


def texts(seed: int, count: int = AT_ONCE) -> list[str]:
    """The same seed gives the same texts."""
    rng = random.Random(seed)
    return [rng.choice(KINDS)(rng) for _ in range(count)]


_models: dict[str, Any] = {}


def prepare() -> None:
    """Make the models, whose folders last as long as the process."""
    from medembed import FakeEngine, MedColBERT, MedEmbed

    warnings.simplefilter("ignore")
    place = tempfile.TemporaryDirectory()
    tiny = tiny_bert.make(Path(place.name) / "tiny")
    colbert = folders.stanford(Path(place.name) / "colbert")
    _models.update(
        place=place,
        mini=MedEmbed(threads=1),
        tiny=MedEmbed(tiny, threads=2),
        chunks=MedEmbed(tiny, threads=1, overlong="chunk"),
        fake=MedEmbed(engine=FakeEngine(dimension=16)),
        colbert=MedColBERT(colbert, threads=1),
    )


def attempt(line: str) -> str:
    """Embed the texts of a seed with one of the models."""
    name, _, seed = line.partition(" ")
    model, odd = _models[name], texts(int(seed))
    try:
        if name == "colbert":
            rows = model.encode_document(odd)
            alone, ours = model.encode_query(odd[0]), model.encode_query(odd)[0]
            flat = np.concatenate([row for row in rows if len(row)])
        else:
            flat = rows = model.encode(odd)
            alone, ours = model.encode(odd[7]), rows[7]
    except BaseException as error:  # noqa: BLE001 - no text is refused by these models
        return f"raw {type(error).__name__}"
    if len(rows) != len(odd) or not np.isfinite(flat).all():
        return "wrong vectors"
    if not np.allclose(np.linalg.norm(flat, axis=1), 1, atol=1e-2):
        return "wrong lengths"
    # bf16, where the CPU has it, rounds by the batch
    return "right" if np.allclose(alone, ours, atol=0.03) else "wrong vector beside others"


def run(count: int, seed: int = 0) -> dict[str, Any]:
    """Embed ``count`` odd texts, fifty at a time; the outcomes are those of the fifties."""
    tally, watched = Tally(), Watched(__name__)
    names = ("mini", "tiny", "chunks", "fake", "colbert")
    honest = 0
    for number in range(-(-count // AT_ONCE)):
        name = names[number % len(names)]
        tally.add(f"{name} {seed + number}", watched(f"{name} {seed + number}"))
        if number == len(names) - 1:
            honest = watched.peak
    watched.close()
    return tally.counts(watched.peak / honest if honest else None)

"""Writes the suite of contrasts from open clinical notes.

    python -m tests.evaluation.write_contrasts NOTES.jsonl.gz medembed/evaluation/contrasts

The notes are those of MTS-Dialog, ACI-Bench and PriMock57 (all CC BY 4.0): `{"note_id", "text"}` per line. A quarter of them,
chosen by a hash, is for measuring; training reads the others.
"""

import gzip
import itertools
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path

from medembed.clinical.sentences import clean, sentence_spans
from medembed.recipes.writers.contrasts import Contrast, from_frames, from_sentences, is_held_out, load_rules

# Pairs of each kind; negation has as many for either way of asking.
PER_KIND = 340
SEED = 1
MAX_CHARACTERS = 300


def main(notes: Path, target: Path) -> None:
    """Write ``pairs.jsonl.gz``."""
    held_out = [(note, text) for note, text in sentences(notes) if is_held_out(note) and len(text) <= MAX_CHARACTERS]
    contexts = [text for _, text in held_out if 20 <= len(text) <= 120]
    frames = target / "frames.toml"
    # real sentences first: frames fill up what they leave
    real = list(from_sentences(load_rules("all", frames), held_out, SEED))
    random.Random(SEED).shuffle(real)
    made = itertools.islice(from_frames(load_rules("held_out", frames), SEED, contexts), 60_000)
    chosen: dict[str, dict[tuple[str, str, str], dict[str, str]]] = {}
    for contrast in itertools.chain(_half(real), made):
        for kind, row in _rows(contrast):
            rows = chosen.setdefault(kind, {})
            if len(rows) < PER_KIND:
                rows.setdefault((row["query"], row["fits"], row["differs"]), row)
    ordered = [{"kind": kind, **row} for kind in sorted(chosen) for row in chosen[kind].values()]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ordered)
    # no time and no name in the header: the same rows give the same bytes
    with gzip.GzipFile(target / "pairs.jsonl.gz", "wb", mtime=0) as file:
        file.write(lines.encode())
    print({kind: len(rows) for kind, rows in sorted(chosen.items())})


def sentences(notes: Path) -> Iterator[tuple[str, str]]:
    """Ids of the notes and their sentences."""
    with gzip.open(notes, "rt", encoding="utf-8") as file:
        for line in file:
            note = json.loads(line)
            text = clean(note["text"])
            yield from ((note["note_id"], text[start:end]) for start, end in sentence_spans(text))


def _half(real: list[Contrast]) -> Iterator[Contrast]:
    """Real sentences, at most half of each kind, so that every kind has frames as well."""
    counts: dict[str, int] = {}
    for contrast in real:
        counts[contrast.kind] = counts.get(contrast.kind, 0) + 1
        if counts[contrast.kind] <= PER_KIND // 2 * (2 if contrast.kind == "negation" else 1):
            yield contrast


def _rows(contrast: Contrast) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a contrast: its kind's, and a control where it has the claim in other words."""
    row = {"query": contrast.query, "fits": contrast.fits, "differs": contrast.differs, "origin": contrast.origin}
    kind = contrast.kind
    if kind == "negation":
        kind = f"negation-{contrast.claim}"
    yield kind, row
    if contrast.also_fits:
        yield "control", {**row, "also_fits": contrast.also_fits}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

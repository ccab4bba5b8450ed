"""The late interaction that ships with mini: offline at once, small, made for the weights beside it, and of use."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from medembed import MedColBERT, demo
from medembed.checkpoints import checkpoint
from medembed.cli import app

HEAD = checkpoint.BUNDLED_FOLDER / checkpoint.HEAD
PASSAGES = demo.passages()[:40]

pytestmark = pytest.mark.filterwarnings("ignore::medembed.TruncationWarning")


def test_it_was_made_for_the_bundled_weights() -> None:
    """After a change of the weights: run the recipe mini/colbert, then python -m medembed.recipes.bundle COLBERT medembed/weights/mini."""
    told = json.loads((HEAD / checkpoint.MADE_FOR).read_text())
    assert told == {"encoder": checkpoint.fingerprint(checkpoint.BUNDLED_FOLDER)}


def test_it_adds_little() -> None:
    assert sum(path.stat().st_size for path in HEAD.rglob("*") if path.is_file()) < 150_000


def test_it_finds_passages_by_their_titles() -> None:
    with MedColBERT("mini", threads=1) as model:
        assert (model.name, model.dimension) == ("mini", 128)
        queries = model.encode_query([passage.title for passage in PASSAGES])
        documents = model.encode_document([passage.text for passage in PASSAGES])
        scores = model.similarity(queries, documents)
    of_same_title = np.array([[a.title == b.title for b in PASSAGES] for a in PASSAGES])
    first = scores.argmax(axis=1)
    assert np.mean(of_same_title[np.arange(len(first)), first]) >= 0.8


def test_punctuation_takes_no_vectors() -> None:
    with MedColBERT("mini", threads=1) as model:
        assert len(model.encode_document("pain, pain.")) == len(model.encode_document("pain pain"))


def test_files_become_an_index_that_is_searched(tmp_path: Path) -> None:
    source = tmp_path / "notes.jsonl"
    source.write_text("".join(json.dumps({"id": p.id, "text": p.text}) + "\n" for p in PASSAGES[:20]))
    made = CliRunner().invoke(
        app, ["token-index", str(source), "-o", str(tmp_path / "tokens"), "-m", "mini", "--threads", "1"]
    )
    assert made.exit_code == 0, made.output
    wanted = PASSAGES[7]
    found = CliRunner().invoke(
        app, ["search", str(tmp_path / "tokens"), wanted.title, "-k", "3", "--json", "--threads", "1"]
    )
    titles = {passage.id: passage.title for passage in PASSAGES}
    assert wanted.title in [titles[hit["id"]] for hit in json.loads(found.output.splitlines()[-1])["hits"]]

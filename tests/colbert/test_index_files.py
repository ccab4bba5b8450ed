"""`medembed token-index` and `medembed search` on what it made: files in, rejects out, resumed after a kill, told from a corpus."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from medembed import EmbeddedCorpus, FakeEngine, MedColBERT, MedEmbed, TokenIndex, demo
from medembed.cli import app
from medembed.colbert.index import build as files
from medembed.colbert.index.build import TokenSettings
from medembed.colbert.index.layout import INDEX
from medembed.errors import CorpusError, IndexingStoppedError, SettingError
from medembed.progress import RowBar
from medembed.storage.manifest import kind_of
from tests.colbert import folders

PASSAGES = demo.passages()[:60]
SMALL = TokenSettings(shard_rows=10)

pytestmark = pytest.mark.filterwarnings("ignore::medembed.TruncationWarning")


@pytest.fixture(scope="module")
def fake(colbert_folder: Path) -> Iterator[MedColBERT]:
    with MedColBERT(colbert_folder, engine=FakeEngine(folders.HIDDEN)) as made:
        yield made


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("notes") / "notes.jsonl"
    path.write_text("".join(json.dumps({"id": p.id, "text": p.text}) + "\n" for p in PASSAGES))
    return path


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, [str(item) for item in arguments])


def test_what_the_files_make_is_what_the_rows_make(notes: Path, tmp_path: Path, fake: MedColBERT) -> None:
    read: list[int] = []

    class Noted(RowBar):
        def read(self, n_bytes: int) -> None:
            read.append(n_bytes)

    summary = files.index([str(notes)], tmp_path / "files", fake, SMALL, progress=Noted(None, None))
    TokenIndex.build(tmp_path / "rows", [{"id": p.id, "text": p.text} for p in PASSAGES], fake, SMALL).close()
    assert (summary.n_rows, summary.embedded, summary.rejected) == (60, 60, {})
    assert sum(read) == notes.stat().st_size
    made = [
        [table.select(["id", "codes", "remainders"]) for table in TokenIndex.open(tmp_path / name, fake).store.tables()]
        for name in ("files", "rows")
    ]
    assert all(one.equals(other) for one, other in zip(*made, strict=True))


def test_a_run_asked_to_stop_ends_between_shards_and_the_next_goes_on(
    notes: Path, tmp_path: Path, fake: MedColBERT
) -> None:
    folder = tmp_path / "index"
    with pytest.raises(IndexingStoppedError, match="stopped with 20 rows in whole shards"):
        files.index([str(notes)], folder, fake, SMALL, stop=lambda: len(list(folder.glob("shards/*"))) == 2)
    assert kind_of(folder) is None
    summary = files.index([str(notes)], folder, fake, SMALL)
    assert (summary.n_rows, summary.embedded) == (60, 40)
    assert not list(folder.glob("**/*.aside"))


def test_rows_that_cannot_be_used_are_left_out_and_named(tmp_path: Path, fake: MedColBERT) -> None:
    source = tmp_path / "notes.csv"
    source.write_text("id,text\na,chest pain\nb,\na,again\nc,itchy skin\n")
    summary = files.index([str(source)], tmp_path / "index", fake)
    assert summary.rejected == {"empty text": 1, "duplicate id": 1}
    told = [json.loads(line) for line in (tmp_path / "index" / "rejects.jsonl").read_text().splitlines()]
    assert [(item["line"], item["id"]) for item in told] == [(3, "b"), (4, "a")]


def test_appending_adds_what_is_new(tmp_path: Path, notes: Path, fake: MedColBERT) -> None:
    files.index([str(notes)], tmp_path / "index", fake, SMALL)
    more = tmp_path / "more.jsonl"
    more.write_text(json.dumps({"id": "new", "text": "zebra"}) + "\n" + json.dumps({"id": PASSAGES[0].id, "text": "x"}))
    summary = files.index([str(more)], tmp_path / "index", fake, replace(SMALL, mode="append"))
    assert (summary.n_rows, summary.embedded, sum(summary.rejected.values())) == (61, 1, 1)
    with TokenIndex.open(tmp_path / "index", fake) as index:
        assert "new" in {hit.id for hit in index.search("zebra", 61)}


def test_another_index_is_not_replaced_unless_told(tmp_path: Path, notes: Path, fake: MedColBERT) -> None:
    files.index([str(notes)], tmp_path / "index", fake, SMALL)
    with pytest.raises(CorpusError, match="is finished; it was made of"):
        files.index([str(notes)], tmp_path / "index", fake, TokenSettings(bits=4))
    files.index([str(notes)], tmp_path / "index", fake, TokenSettings(bits=4, mode="overwrite"))
    with TokenIndex.open(tmp_path / "index", fake) as index:
        assert index.manifest.encoding.bits == 4


def test_appending_to_nothing_makes_no_folder(tmp_path: Path, notes: Path, fake: MedColBERT) -> None:
    with pytest.raises(CorpusError, match="is not a token index: make one with `medembed index FILES -o"):
        files.index([str(notes)], tmp_path / "index", fake, TokenSettings(mode="append"))
    assert not (tmp_path / "index").exists()


# ------------------------------------------------------------------------------------------- commands


def test_from_the_command_line_and_back(tmp_path: Path, colbert_folder: Path) -> None:
    source = tmp_path / "notes.csv"
    source.write_text("key,title,body\na,heart,chest pain at night\nb,skin,an itchy rash\nb,skin,again\n")
    made = command(
        "token-index", str(source), "-o", str(tmp_path / "t"), "--model", str(colbert_folder), "--id-column", "key",
        "--text-column", "title", "--text-column", "body", "--bits", "4", "--threads", "1",
    )  # fmt: skip
    assert made.exit_code == 3, made.output
    assert "t: 2 rows, " in made.output
    assert "(2 embedded now" in made.output
    assert "left out: 1 × duplicate id; see" in made.output
    found = command("search", str(tmp_path / "t"), "heart chest pain at night", "-k", "1", "--json", "--threads", "1")
    hit = json.loads(found.output)["hits"][0]
    assert (hit["id"], hit["text"]) == ("a", "heart chest pain at night")
    assert "an itchy rash" in command("search", str(tmp_path / "t"), "rash", "--threads", "1").output


@pytest.mark.parametrize(
    ("option", "named"),
    [
        (["--hybrid"], "--hybrid"),
        (["--scan", "int8"], "--scan"),
        (["--weight", "0"], "--weight"),
        (["--late-interaction", "mini"], "--late-interaction"),
    ],
    ids=["hybrid", "scan", "weight", "reranking"],
)
def test_options_of_embedded_corpora_are_refused(
    tmp_path: Path, fake: MedColBERT, option: list[str], named: str
) -> None:
    TokenIndex.build(tmp_path / "t", [{"id": "a", "text": "chest pain"}], fake).close()
    done = command("search", str(tmp_path / "t"), "pain", *option)
    assert isinstance(done.exception, SettingError)
    assert str(done.exception) == f"{named}: for embedded corpora only, and this is a token index; leave it out"


def test_an_embedded_corpus_is_told_from_a_token_index(tmp_path: Path, tiny: MedEmbed, fake: MedColBERT) -> None:
    EmbeddedCorpus.build(tmp_path / "c", [{"id": "a", "text": "chest pain"}], tiny).close()
    TokenIndex.build(tmp_path / "t", [{"id": "a", "text": "chest pain"}], fake).close()
    assert [kind_of(tmp_path / name) == INDEX.name for name in ("c", "t", "nowhere")] == [False, True, False]


def test_a_signal_ends_the_command_between_shards(tmp_path: Path, colbert_folder: Path) -> None:
    source = tmp_path / "notes.jsonl"
    source.write_text("".join(json.dumps({"id": number, "text": f"pain {number}"}) + "\n" for number in range(1000)))
    root, folder = Path(__file__).parents[2], tmp_path / "t"
    arguments = ["token-index", str(source), "-o", str(folder), "-m", str(colbert_folder), "--batch-rows", "1"]
    start = [sys.executable, "-m", "medembed", *arguments, "--threads", "1"]
    process = subprocess.Popen(start, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, stderr=subprocess.PIPE)
    while not list(folder.glob("shards/*.arrow")):
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    told = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 128 + signal.SIGTERM, told
    assert "finishing the shard" in told
    assert "run the same command again to go on" in told
    assert "Traceback" not in told
    assert kind_of(folder) is None


def test_lists_of_another_index_are_made_again(tmp_path: Path, fake: MedColBERT) -> None:
    rows = [{"id": p.id, "text": p.text} for p in PASSAGES]
    for name, some in (("c", rows), ("few", rows[:20])):
        with TokenIndex.build(tmp_path / name, some, fake, SMALL) as index:
            before = index.search(PASSAGES[0].text, 5)
            if name == "c":
                expected = before
    [own], [other] = (list((tmp_path / name / "derived").glob("lists*")) for name in ("c", "few"))
    shutil.rmtree(own)
    other.rename(own)
    for _ in range(2):
        with TokenIndex.open(tmp_path / "c", fake) as index:
            assert index.search(PASSAGES[0].text, 5) == expected

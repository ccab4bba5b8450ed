"""Rows in, shards out: what is embedded, kept, rejected, and what the manifest says."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medembed import EmbeddedCorpus, FakeEngine, MedEmbed, vectors
from medembed.corpus import layout
from medembed.corpus.embed import Settings, index
from medembed.corpus.pool import pooled
from medembed.errors import (
    CorpusDamagedError,
    CorpusError,
    CorpusModelError,
    CorpusUnfinishedError,
    CorpusVersionError,
    IndexingStoppedError,
    SettingError,
    VectorError,
)
from medembed.rows.read import Columns
from tests import tiny_bert
from tests.corpus.conftest import Contents, text_of, write_repeating, write_rows

SMALL = Settings(shard_rows=16)
KNOWN = "its id is in the store already: an upsert replaces it"


def test_rows_come_back_with_the_vectors_of_their_texts(notes: Path, tmp_path: Path, fake: MedEmbed) -> None:
    summary = index([str(notes)], tmp_path / "c", fake, SMALL)
    assert (summary.n_rows, summary.embedded, summary.resumed, summary.rejected) == (100, 100, 0, {})
    corpus = EmbeddedCorpus.open(tmp_path / "c", fake)
    assert len(corpus) == 100
    assert corpus.ids == [f"n{i}" for i in range(100)]
    expected = fake.encode_document([text_of(i) for i in range(100)])
    np.testing.assert_array_equal(corpus.vectors(), expected)
    np.testing.assert_array_equal(corpus.vectors(["n99", "n3"]), expected[[99, 3]])


def test_shards_are_arrow_files_with_vectors_of_fixed_length(notes: Path, tmp_path: Path, fake: MedEmbed) -> None:
    arrow, feather = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.feather")
    index([str(notes)], tmp_path / "c", fake, Settings(Columns(kept={"year": "int"}), shard_rows=64))
    first, second = sorted((tmp_path / "c" / "shards").glob("*.arrow"))
    table = feather.read_table(first)
    assert (table.num_rows, feather.read_table(second).num_rows) == (64, 36)
    assert table.column_names == ["id", "text", "source", "line", "text_hash", "year", "vector"]
    assert table.schema.field("vector").type == arrow.list_(arrow.float32(), 16)
    assert table.slice(5, 1).to_pylist()[0]["line"] == 6


def test_manifest_says_what_decided_the_vectors(notes: Path, tmp_path: Path, mini: MedEmbed) -> None:
    head = write_rows(tmp_path / "few.jsonl", 3)
    index([str(head)], tmp_path / "c", mini, Settings(vectors="int8"))
    told = json.loads((tmp_path / "c" / "manifest.json").read_text())
    embedding = told["encoding"]
    assert embedding["model"] == "mini"
    assert embedding["revision"] == mini.revision == embedding["weights"]
    assert (embedding["prompt_kind"], embedding["dimension"], embedding["vectors"]) == ("document", 384, "int8")
    np.testing.assert_array_equal(np.float32(embedding["ranges"]), mini.vector_ranges)
    assert [shard["n_rows"] for shard in told["shards"]] == [3]
    assert len(told["shards"][0]["sha256"]) == 64


@pytest.mark.parametrize("kind", ["float32", "float16", "int8", "binary"])
def test_vectors_are_stored_as_asked(kind: vectors.VectorKind, tmp_path: Path, mini: MedEmbed) -> None:
    source = write_rows(tmp_path / "few.jsonl", 5)
    index([str(source)], tmp_path / "c", mini, Settings(vectors=kind))  # type: ignore[arg-type]
    corpus = EmbeddedCorpus.open(tmp_path / "c", mini)
    stored = mini.quantize(mini.encode_document([text_of(i) for i in range(5)]), kind)
    ranges = mini.vector_ranges if kind == "int8" else None
    np.testing.assert_array_equal(corpus.vectors(), vectors.to_float(stored, kind, ranges))
    assert corpus.index().stored[0].vectors.dtype == stored.dtype


def test_int8_needs_ranges(notes: Path, tmp_path: Path, fake: MedEmbed) -> None:
    with pytest.raises(VectorError, match="no quantization ranges for 16 dimensions"):
        index([str(notes)], tmp_path / "c", fake, Settings(vectors="int8"))


def test_a_second_run_keeps_everything(notes: Path, tmp_path: Path, fake: MedEmbed) -> None:
    index([str(notes)], tmp_path / "c", fake, SMALL)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "c" / "shards").iterdir()}
    summary = index([str(notes)], tmp_path / "c", fake, SMALL)
    assert (summary.embedded, summary.resumed) == (0, 100)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "c" / "shards").iterdir()} == before


def test_a_changed_file_embeds_only_the_shards_that_changed(notes: Path, tmp_path: Path, fake: MedEmbed) -> None:
    index([str(notes)], tmp_path / "c", fake, SMALL)
    lines = notes.read_text().splitlines()
    lines[20] = json.dumps({"id": "n20", "text": "corrected"})
    notes.write_text("\n".join(lines))
    summary = index([str(notes)], tmp_path / "c", fake, SMALL)
    assert (summary.embedded, summary.resumed) == (16, 84)
    np.testing.assert_array_equal(
        EmbeddedCorpus.open(tmp_path / "c").vectors(["n20"]), fake.encode_document(["corrected"])
    )
    assert len(list((tmp_path / "c" / "shards").iterdir())) == 7


def test_a_finished_corpus_is_not_replaced_by_accident(notes: Path, tmp_path: Path, fake: MedEmbed) -> None:
    index([str(notes)], tmp_path / "c", fake, SMALL)
    other = write_rows(tmp_path / "other.jsonl", 3)
    with pytest.raises(
        CorpusError, match=r"is finished; it was made of .*notes.jsonl as 'mini' at .*vectors float32.*--append"
    ):
        index([str(other)], tmp_path / "c", fake, SMALL)
    summary = index([str(other)], tmp_path / "c", fake, Settings(shard_rows=16, mode="overwrite"))
    assert summary.n_rows == 3
    assert len(list((tmp_path / "c" / "shards").iterdir())) == 1


def test_append_adds_rows_and_refuses_ids_that_are_there(notes: Path, tmp_path: Path, fake: MedEmbed) -> None:
    index([str(notes)], tmp_path / "c", fake, SMALL)
    more = write_rows(tmp_path / "more.jsonl", 20, start=90)
    summary = index([str(more)], tmp_path / "c", fake, Settings(shard_rows=16, mode="append"))
    assert (summary.n_rows, summary.embedded, dict(summary.rejected)) == (110, 10, {KNOWN: 10})
    assert EmbeddedCorpus.open(tmp_path / "c").ids == [f"n{i}" for i in range(110)]
    with pytest.raises(CorpusError, match="rows were added or deleted since: use --append"):
        index([str(notes)], tmp_path / "c", fake, SMALL)
    with pytest.raises(CorpusError, match="add to it with the store's own settings"):
        index([str(more)], tmp_path / "c", fake, Settings(vectors="float16", mode="append"))
    with pytest.raises(CorpusError, match=r"repeated text once, .*: add to it with the store's own settings"):
        index([str(more)], tmp_path / "c", fake, Settings(shard_rows=16, mode="append", repeated_text="once"))


@pytest.mark.parametrize(
    ("made", "ranks"),
    [
        ({"normalize": False, "similarity": "euclidean"}, False),
        ({"similarity": "manhattan"}, False),
        ({"similarity": "euclidean"}, True),
        ({"normalize": False, "similarity": "dot"}, True),
        ({"normalize": False, "similarity": "cosine"}, True),
    ],
)
def test_a_model_that_compares_in_another_order_than_the_corpus_is_refused(
    made: dict[str, Any], ranks: bool, notes: Path, tmp_path: Path
) -> None:
    with MedEmbed(tiny_bert.make(tmp_path / "model", **made), threads=1) as model:
        if ranks:
            assert index([str(notes)], tmp_path / "c", model).n_rows
        else:
            with pytest.raises(SettingError, match="distance, and a corpus ranks by their product"):
                index([str(notes)], tmp_path / "c", model)


def test_rejects_name_file_line_and_reason_and_no_text(tmp_path: Path, fake: MedEmbed) -> None:
    source = tmp_path / "notes.jsonl"
    source.write_text(
        '{"id": "a", "text": "fine"}\n{"id": "a", "text": "secret"}\nno json secret\n{"id": "b", "text": " "}\n'
    )
    summary = index([str(source)], tmp_path / "c", fake)
    assert dict(summary.rejected) == {"duplicate id": 1, "not valid JSON": 1, "empty text": 1}
    written = (tmp_path / "c" / "rejects.jsonl").read_text()
    assert [(row["line"], row["reason"], row["id"]) for row in map(json.loads, written.splitlines())] == [
        (2, "duplicate id", "a"), (3, "not valid JSON", None), (4, "empty text", "b"),
    ]  # fmt: skip
    assert "secret" not in written


def test_texts_may_stay_where_they_are(notes: Path, tmp_path: Path, fake: MedEmbed) -> None:
    index([str(notes)], tmp_path / "c", fake, Settings(store_text=False))
    assert b"chest" not in b"".join(path.read_bytes() for path in (tmp_path / "c" / "shards").iterdir())
    [hit] = EmbeddedCorpus.open(tmp_path / "c", fake).search(text_of(7), k=1)
    assert (hit.id, hit.text, hit.source, hit.line) == ("n7", None, str(notes), 8)


def test_stopping_keeps_whole_shards_and_the_next_run_goes_on(
    notes: Path, tmp_path: Path, fake: MedEmbed, contents: Contents
) -> None:
    answers = iter([False, False, False, True])
    with pytest.raises(IndexingStoppedError, match="stopped with 48 rows in whole shards"):
        index([str(notes)], tmp_path / "c", fake, SMALL, stop=lambda: next(answers))
    with pytest.raises(CorpusUnfinishedError, match="run the same `medembed index` command again"):
        EmbeddedCorpus.open(tmp_path / "c")
    summary = index([str(notes)], tmp_path / "c", fake, SMALL)
    assert (summary.embedded, summary.resumed) == (52, 48)
    index([str(notes)], tmp_path / "undisturbed", fake, SMALL)
    assert contents(tmp_path / "c") == contents(tmp_path / "undisturbed")


def test_several_processes_make_the_same_corpus(
    notes: Path, tmp_path: Path, fake: MedEmbed, contents: Contents
) -> None:
    index([str(notes)], tmp_path / "one", fake, SMALL)
    index([str(notes)], tmp_path / "two", fake, SMALL, runner=pooled(fake, 2))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    names = [sorted(path.name for path in (tmp_path / which / "shards").iterdir()) for which in ("one", "two")]
    assert names[0] == names[1]


def test_several_processes_embed_each_text_once(tmp_path: Path, fake: MedEmbed, contents: Contents) -> None:
    source = write_repeating(tmp_path / "notes.jsonl")
    settings = replace(SMALL, repeated_text="once")
    index([str(source)], tmp_path / "each", fake, SMALL)
    index([str(source)], tmp_path / "one", fake, settings)
    summary = index([str(source)], tmp_path / "two", fake, settings, runner=pooled(fake, 2))
    assert summary.repeated == 100 - 30
    assert contents(tmp_path / "two") == contents(tmp_path / "one") == contents(tmp_path / "each")


def test_another_model_or_dimension_is_an_error_that_says_both(
    notes: Path, tmp_path: Path, fake: MedEmbed, tiny: MedEmbed
) -> None:
    index([str(notes)], tmp_path / "c", fake)
    with pytest.raises(
        CorpusModelError,
        match=r"encoded with 'mini' at sha256-\w+\+fake .*16 dimensions.*but this is '.*model'.*64 dim",
    ):
        EmbeddedCorpus.open(tmp_path / "c", tiny)
    with (
        MedEmbed(engine=FakeEngine(dimension=8)) as shorter,
        pytest.raises(CorpusModelError, match=r"16 dimensions.*8 dimensions"),
    ):
        EmbeddedCorpus.open(tmp_path / "c", shorter)
    with pytest.raises(CorpusModelError, match="16 dimensions of 'mini', but the query has 8"):
        EmbeddedCorpus.open(tmp_path / "c").search(np.zeros((1, 8), dtype=np.float32))
    with pytest.raises(CorpusModelError, match=r"\+fake.*but this is 'mini'"):
        EmbeddedCorpus.open(tmp_path / "c").search("a query, for which the corpus would load mini itself")


def test_a_newer_corpus_is_refused(notes: Path, tmp_path: Path, fake: MedEmbed) -> None:
    index([str(notes)], tmp_path / "c", fake)
    manifest = tmp_path / "c" / "manifest.json"
    told = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**told, "format": 3, "medembed": "9.9", "shards": "in another form"}))
    with pytest.raises(
        CorpusVersionError, match=r"written by medembed 9.9 in format 3.*pip install --upgrade medembed"
    ):
        EmbeddedCorpus.open(tmp_path / "c")
    with pytest.raises(CorpusVersionError):
        index([str(notes)], tmp_path / "c", fake)


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 1}', '{"format": null}'])
def test_a_damaged_manifest_says_what_to_do(content: str, notes: Path, tmp_path: Path, fake: MedEmbed) -> None:
    index([str(notes)], tmp_path / "c", fake, SMALL)
    (tmp_path / "c" / "manifest.json").write_text(content)
    with pytest.raises(CorpusDamagedError, match="delete it and run the same `medembed index` command again"):
        EmbeddedCorpus.open(tmp_path / "c")
    (tmp_path / "c" / "manifest.json").unlink()
    assert index([str(notes)], tmp_path / "c", fake, SMALL).resumed == 100


def test_appending_to_nothing_leaves_nothing_behind(notes: Path, tmp_path: Path, fake: MedEmbed) -> None:
    with pytest.raises(CorpusError, match="is not an embedded corpus: make one with"):
        index([str(notes)], tmp_path / "none", fake, Settings(mode="append"))
    assert not (tmp_path / "none").exists()


def test_a_folder_that_is_no_corpus_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="is not an embedded corpus: make one with `medembed index FILES -o"):
        EmbeddedCorpus.open(tmp_path)


def test_texts_that_were_cut_are_counted_and_still_known_when_kept(tmp_path: Path, tiny: MedEmbed) -> None:
    source = tmp_path / "notes.jsonl"
    long = "pain " * 600
    source.write_text(json.dumps({"id": "a", "text": long}) + "\n" + json.dumps({"id": "b", "text": "short"}) + "\n")
    assert index([str(source)], tmp_path / "c", tiny).truncated == 1
    assert index([str(source)], tmp_path / "c", tiny).truncated == 1


def test_a_corpus_records_the_weights_that_made_its_vectors(tmp_path: Path, tiny_folder: Path) -> None:
    """Not those that a folder holds by then; nor is the folder read again for them."""
    shutil.copytree(tiny_folder, tmp_path / "m")
    with MedEmbed(tmp_path / "m", threads=1) as model:
        shutil.rmtree(tmp_path / "m")
        told = layout.embedding_of(model, "float32")
        assert told.weights == told.revision == model.files_hash == model.revision

"""Notes in, passages out: what a store of passages keeps, and how notes are added, replaced and deleted."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from medembed import (
    Columns,
    EmbeddedCorpus,
    FakeEngine,
    MedColBERT,
    MedEmbed,
    Settings,
    Splitting,
    TokenIndex,
    TokenSettings,
    split,
)
from medembed.cli import app
from medembed.errors import CorpusError, SettingError

pytest.importorskip("pyarrow")
RUN = CliRunner()
STAY = "".join(f"Day {number}: she walked and felt well. " for number in range(40))
NOTE = f"HPI: Chest pain since Monday.\n\nHospital Course:\n{STAY}\n\nALLERGIES: penicillin gives her a rash."
SHORT = "HPI: Itchy skin.\n\nALLERGIES: none known."
SETTINGS = Settings(Columns(kept={"patient": "string"}), splitting=Splitting(max_tokens=64))


@pytest.fixture(scope="module")
def fake() -> Iterator[MedEmbed]:
    with MedEmbed(engine=FakeEngine(dimension=16)) as model:
        yield model


def rows(**notes: str) -> list[dict[str, Any]]:
    return [{"id": name, "text": text, "patient": f"p-{name}"} for name, text in notes.items()]


def kept(corpus: Any) -> list[dict[str, Any]]:
    """All rows as they are stored, by note and place."""
    shown = corpus.store.rows(corpus.store.live().nonzero()[0])
    return sorted(shown, key=lambda row: (row["note"], row["start"]))


@pytest.fixture
def corpus(tmp_path: Path, fake: MedEmbed) -> Iterator[EmbeddedCorpus]:
    with EmbeddedCorpus.build(tmp_path / "c", rows(a=NOTE, b=SHORT), fake, SETTINGS) as corpus:
        yield corpus


def test_passages_keep_note_place_section_and_columns(corpus: EmbeddedCorpus, fake: MedEmbed) -> None:
    found = kept(corpus)
    notes = {"a": NOTE, "b": SHORT}
    assert all(notes[row["note"]][row["start"] : row["end"]] == row["text"] for row in found)
    assert [row["id"] for row in found if row["note"] == "b"] == ["b#1", "b#2"]
    assert {row["patient"] for row in found if row["note"] == "a"} == {"p-a"}
    assert [row["text"] for row in found if row["note"] == "a"] == [
        passage.text for passage in split(NOTE, fake, max_tokens=64)
    ]


def test_sections_are_found_by_filter(corpus: EmbeddedCorpus) -> None:
    hits = corpus.search("rash", filter={"section": "allergies"})
    assert {hit.kept["note"] for hit in hits} == {"a", "b"}
    assert all(hit.kept["heading"] == "ALLERGIES" for hit in hits)


def test_appended_notes_are_cut_as_the_others(corpus: EmbeddedCorpus) -> None:
    corpus.append(rows(c=NOTE))
    assert [row["text"] for row in kept(corpus) if row["note"] == "c"] == [
        row["text"] for row in kept(corpus) if row["note"] == "a"
    ]


def test_a_note_that_is_there_is_refused_whole(corpus: EmbeddedCorpus) -> None:
    before = len(corpus)
    with pytest.raises(CorpusError, match="its id is in the store already"):
        corpus.append(rows(b=NOTE))
    assert len(corpus) == before


@pytest.mark.parametrize(
    ("note", "replaced"),
    [
        pytest.param(SHORT, 0, id="the same"),
        pytest.param(NOTE, 2, id="longer"),
        pytest.param("HPI: Itchy skin.", 0, id="shorter"),
        pytest.param("Seen for a check.", 1, id="another"),
    ],
)
def test_a_changed_note_leaves_no_passage_behind(
    tmp_path: Path, fake: MedEmbed, corpus: EmbeddedCorpus, note: str, replaced: int
) -> None:
    summary = corpus.upsert(rows(b=note))
    assert summary.replaced == replaced
    with EmbeddedCorpus.build(tmp_path / "fresh", rows(a=NOTE, b=note), fake, SETTINGS) as fresh:
        assert [{**row, "line": 0} for row in kept(corpus)] == [{**row, "line": 0} for row in kept(fresh)]
    assert corpus.verify() == []


def test_deleting_a_note_deletes_its_passages(corpus: EmbeddedCorpus) -> None:
    corpus.delete(["a", "b#1"])
    assert [row["id"] for row in kept(corpus)] == ["b#2"]
    with pytest.raises(CorpusError, match="1 of 1 ids are not in"):
        corpus.delete(["a"])


def test_token_indexes_split_too(tmp_path: Path) -> None:
    with MedColBERT(threads=1) as model:
        settings = TokenSettings(splitting=Splitting(max_tokens=64))
        with TokenIndex.build(tmp_path / "t", rows(a=NOTE, b=SHORT), model, settings) as index:
            found = index.search("allergic to penicillin", k=1)[0]
            assert (found.kept["note"], found.kept["section"]) == ("a", "allergies")
            index.upsert(rows(a=SHORT))
            assert [row["id"] for row in kept(index)] == ["a#1", "a#2", "b#1", "b#2"]


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: Settings(splitting=Splitting(max_tokens=10_000)), SettingError, "max_tokens=10000: the model reads"),
        (
            lambda: Settings(Columns(kept={"section": "string"}), splitting=Splitting()),
            CorpusError,
            "'section' cannot be kept with --split",
        ),
    ],
)
def test_settings_that_do_not_fit(tmp_path: Path, fake: MedEmbed, make: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        EmbeddedCorpus.build(tmp_path / "c", rows(a=SHORT), fake, make())


def test_a_corpus_keeps_to_its_way_of_cutting(tmp_path: Path, fake: MedEmbed, corpus: EmbeddedCorpus) -> None:
    with pytest.raises(CorpusError, match="passages of notes, max_tokens 64, overlap 0"):
        EmbeddedCorpus.build(tmp_path / "c", rows(a=NOTE, b=SHORT), fake, Settings(SETTINGS.columns))


# ------------------------------------------------------------------------------------------ the commands


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "notes.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows(a=NOTE, b=SHORT), *rows(b=NOTE)]))
    return path


def run(*words: object) -> Any:
    return RUN.invoke(app, [str(word) for word in words])


def test_the_command_splits_and_refuses_a_second_note_whole(tmp_path: Path, source: Path) -> None:
    ran = run("index", source, "-o", tmp_path / "c", "--split", "--max-tokens", 64, "--keep", "patient")
    assert ran.exit_code == 3
    assert "left out: 1 × duplicate id" in ran.output
    found = run("search", tmp_path / "c", "penicillin", "--where", "section=allergies", "--json")
    hits = json.loads(found.output)["hits"]
    assert {hit["kept"]["note"] for hit in hits} == {"a", "b"}
    assert "passages" in run("corpus", "info", tmp_path / "c").output
    again = run("index", source, "-o", tmp_path / "c", "--upsert")
    assert "0 replaced, 0 new" in again.output


def test_a_cut_text_is_told_of_passages(tmp_path: Path, source: Path) -> None:
    ran = run("index", source, "-o", tmp_path / "c")
    assert "were cut: --split makes passages of them" in ran.output
    assert "were cut" not in run("index", source, "-o", tmp_path / "d", "--split").output


@pytest.mark.parametrize("option", ["--max-tokens", "--overlap"])
def test_options_of_passages_need_split(tmp_path: Path, source: Path, option: str) -> None:
    ran = run("index", source, "-o", tmp_path / "c", option, 32)
    assert isinstance(ran.exception, SettingError)
    assert str(ran.exception) == f"{option}: only with --split; leave it out"

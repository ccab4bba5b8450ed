"""Cleaning, cutting and the odd things that notes are."""

import csv
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medembed.clinical.sentences import clean, sentence_spans, windows
from medembed.errors import SourceError
from medembed.recipes import pipeline
from medembed.recipes.artifacts import Artifact
from medembed.recipes.records import Note, read_parquet
from medembed.recipes.schema import Recipe
from medembed.recipes.sources import Places

Loaded = Callable[..., tuple[Recipe, Places]]
SENTENCES = " ".join(f"Sentence number {index} says that the fever went down again." for index in range(40))


def build(loaded: Loaded, *settings: str) -> tuple[list[Note], Artifact]:
    artifact = pipeline.build(*loaded(*settings), "notes")[-1].artifact
    return list(read_parquet(artifact.parts("notes"), Note)), artifact


def test_articles_become_windows_with_title_and_heading(loaded: Loaded) -> None:
    notes, artifact = build(loaded)
    assert artifact.summary["rows"] == len(notes) == 48
    assert (notes[0].doc_id, notes[0].title, notes[0].heading) == ("doc-gout", "Gout", "Symptoms")
    assert len({note.note_id for note in notes}) == 48


@pytest.mark.parametrize(
    ("kind", "encoding"),
    [("jsonl", "utf-8"), ("csv", "utf-8"), ("csv", "utf-8-sig"), ("parquet", ""), ("text", "")],
    ids=["jsonl", "csv", "csv of a spreadsheet", "parquet", "text"],
)
def test_every_format_gives_the_same_texts(loaded: Loaded, recipe_folder: Path, kind: str, encoding: str) -> None:
    rows = [
        {"note": f"{SENTENCES} Note {number} ends here and nowhere else.", "key": f"n{number}"} for number in range(3)
    ]
    path = recipe_folder / f"notes.{kind}"
    if kind == "jsonl":
        path.write_text("".join(f'{{"note": "{row["note"]}", "key": "{row["key"]}"}}\n' for row in rows))
    elif kind == "csv":
        with path.open("w", newline="", encoding=encoding) as file:
            writer = csv.DictWriter(file, ["note", "key"])
            writer.writeheader()
            writer.writerows(rows)
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.mkdir()
        for row in rows:
            (path / f"{row['key']}.txt").write_text(row["note"])
    columns = [] if kind == "text" else ["notes.sources.mine.text=note", "notes.sources.mine.id=key"]
    notes, _ = build(
        loaded,
        f"notes.sources.mine.format={kind}",
        f"notes.sources.mine.path={path.name}",
        *columns,
    )
    mine = [note for note in notes if note.source == "mine"]
    assert {note.doc_id.removesuffix(".txt") for note in mine} == {"n0", "n1", "n2"}
    assert [note.text.rpartition("Note ")[2] for note in mine if "ends here" in note.text] == [
        f"{i} ends here and nowhere else." for i in range(3)
    ]


def test_odd_notes_are_counted_by_reason_and_none_stops_the_run(loaded: Loaded, recipe_folder: Path) -> None:
    (recipe_folder / "odd.jsonl").write_text(
        '{"id": "empty", "text": ""}\n{"id": "blank", "text": " \\u0000\\u0007 "}\n{"id": "none"}\n{"id": "number", "text": 3}\n'
        f'{{"id": "twice", "text": "{SENTENCES}"}}\n{{"id": "twice", "text": "{SENTENCES}"}}\n{{"id": "short", "text": "No fever."}}\n'
    )
    _, artifact = build(loaded, "notes.sources.odd.format=jsonl", "notes.sources.odd.path=odd.jsonl")
    counts = artifact.summary["counts"]
    repeated = counts["kept:odd"]
    assert {name: counts[name] for name in ("empty", "not text", "too short", "duplicate")} == {
        "empty": 2,
        "not text": 2,
        "too short": 1,
        "duplicate": repeated,
    }


def test_a_note_of_a_megabyte_is_cut_in_linear_time(loaded: Loaded, recipe_folder: Path) -> None:
    (recipe_folder / "long.txt").write_text(" ".join(f"fever{n}" for n in range(120_000)) + ". " + SENTENCES * 240)
    assert (recipe_folder / "long.txt").stat().st_size > 1_000_000
    notes, _ = build(loaded, "notes.sources.long.format=text", "notes.sources.long.path=long.txt")
    lengths = [len(note.text.split()) for note in notes if note.source == "long"]
    assert max(lengths) <= 180
    assert sum(lengths) > 120_000


def test_a_wrong_hash_is_refused_with_both_hashes(loaded: Loaded) -> None:
    with pytest.raises(SourceError, match="the recipe names 0000"):
        build(loaded, f"notes.sources.articles.sha256={'0' * 64}")


def test_a_missing_file_says_where_it_comes_from_and_how_to_give_it(loaded: Loaded, recipe_folder: Path) -> None:
    (recipe_folder / "articles.jsonl.gz").unlink()
    with pytest.raises(SourceError, match=r"made by the tests.*execution.data=DIR"):
        build(loaded)


@pytest.mark.parametrize("line", ["{broken", '["a list"]'], ids=["not JSON", "no object"])
def test_a_line_that_cannot_be_read_is_named_without_its_text(loaded: Loaded, recipe_folder: Path, line: str) -> None:
    (recipe_folder / "bad.jsonl").write_text('{"text": "x"}\n' + line + "\n")
    with pytest.raises(SourceError, match=r"source 'bad': .*bad.jsonl, line 2: ") as caught:
        build(loaded, "notes.sources.bad.format=jsonl", "notes.sources.bad.path=bad.jsonl")
    assert "broken" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "content", "setting", "says"),
    [
        (
            "csv",
            "note,key\nx,1\n",
            "",
            "no column 'text', but the columns 'note', 'key': name it with notes.sources.odd.text",
        ),
        (
            "csv",
            "note;key\nx;1\n",
            "notes.sources.odd.text=note,key",
            "no column 'note,key', but the columns 'note', 'key'",
        ),
        ("csv", "text,key\nx,1\n", "notes.sources.odd.id=nr", "no column 'nr', .* name it with notes.sources.odd.id"),
        ("jsonl", '{"note": "x"}\n', "", "its first row has no field 'text', but the columns 'note'"),
        (
            "jsonl",
            '{"text": "x"}\n{"text": "y"}\n',
            "notes.sources.odd.id=nr",
            "none of its first 2 rows has a field 'nr'",
        ),
        ("csv", '1,"Fever, he said; seen today"\n', "", "columns whose names are not shown"),
    ],
    ids=["text", "separator", "id", "field", "id field", "no header"],
)
def test_a_wrong_column_is_an_error_by_the_first_rows(
    loaded: Loaded, recipe_folder: Path, kind: str, content: str, setting: str, says: str
) -> None:
    (recipe_folder / f"odd.{kind}").write_text(content)
    settings = [
        f"notes.sources.odd.format={kind}",
        f"notes.sources.odd.path=odd.{kind}",
        *([setting] if setting else []),
    ]
    with pytest.raises(SourceError, match=says) as caught:
        build(loaded, *settings)
    assert "Fever" not in str(caught.value)


def test_articles_whose_sections_are_none_are_counted(loaded: Loaded, recipe_folder: Path) -> None:
    (recipe_folder / "odd.jsonl").write_text('{"sections": "fever"}\n{"sections": ["fever"]}\n{"sections": []}\n')
    _, artifact = build(loaded, "notes.sources.odd.format=articles", "notes.sources.odd.path=odd.jsonl")
    assert artifact.summary["counts"]["not text"] == 2


def test_texts_of_one_name_in_two_folders_are_two_documents(
    loaded: Loaded, recipe_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for ward in ("ward1", "ward2"):
        (recipe_folder / "wards" / ward).mkdir(parents=True)
        (recipe_folder / "wards" / ward / "NOTE.TXT").write_text(f"{SENTENCES} Seen on {ward}.")
        (recipe_folder / "wards" / ward / "scan.PDF").write_text("?")
    notes, _ = build(loaded, "notes.sources.wards.format=text", "notes.sources.wards.path=wards")
    assert {note.doc_id for note in notes if note.source == "wards"} == {"ward1/NOTE.TXT", "ward2/NOTE.TXT"}
    assert "source 'wards': files that were not read: 2 .pdf" in caplog.text


def test_sentences_end_where_they_end() -> None:
    text = 'Seen by Dr. May at 3.5 mg. Better (much). "Fine?" Yes!\nNew line'
    assert [text[start:end] for start, end in sentence_spans(text)] == [
        "Seen by Dr. May at 3.5 mg.",
        "Better (much).",
        '"Fine?"',
        "Yes!",
        "New line",
    ]


def test_control_characters_go_and_paragraphs_stay() -> None:
    assert clean("a\x00b\tc\r\n\r\n d\u0301 \x1b[0m") == "a b c\nd\u0301 [0m".replace("d\u0301", "d\u0301")


@given(st.text(), st.integers(2, 30))
def test_windows_keep_every_word_in_order_and_their_limit(text: str, limit: int) -> None:
    cleaned = clean(text)
    cut = [cleaned[start:end] for start, end in windows(cleaned, limit)]
    assert " ".join(cut).split() == cleaned.split()
    assert all(len(window.split()) <= limit for window in cut)

"""Search over passages: grouped by note, the query's words marked, what stands around a hit."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from medembed import Columns, EmbeddedCorpus, FakeEngine, MedEmbed, Settings, Splitting
from medembed.cli import app
from medembed.cli import hits as printing
from medembed.errors import CorpusError, SettingError
from medembed.search.marks import marks
from medembed.storage import grouped
from medembed.storage.tables import Hit

pytest.importorskip("pyarrow")
NOTES = {
    f"n{number}": "\n\n".join(f"PLAN: walk {number} day {day} with pain and fever" for day in range(5))
    for number in range(30)
}


@pytest.fixture(scope="module")
def fake() -> Iterator[MedEmbed]:
    with MedEmbed(engine=FakeEngine(dimension=16)) as model:
        yield model


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, fake: MedEmbed) -> Iterator[EmbeddedCorpus]:
    rows = [{"id": name, "text": text, "patient": None if name == "n0" else name[:2]} for name, text in NOTES.items()]
    settings = Settings(Columns(kept={"patient": "string"}), splitting=Splitting())
    with EmbeddedCorpus.build(tmp_path_factory.mktemp("c") / "c", rows, fake, settings) as corpus:
        yield corpus


def every(corpus: EmbeddedCorpus, query: str) -> list[Hit]:
    return corpus.search(query, k=len(corpus))


@pytest.mark.parametrize("column", ["note", "patient", "section"])
@pytest.mark.parametrize("k", [1, 3, 7, 200])
def test_groups_are_those_of_the_whole_ranking(corpus: EmbeddedCorpus, column: str, k: int) -> None:
    whole = every(corpus, "walk 7 day 3")
    best: dict[Any, Hit] = {}
    for hit in whole:
        best.setdefault(hit.id if hit.kept[column] is None else hit.kept[column], hit)
    expected = list(best.values())[:k]
    found = corpus.search("walk 7 day 3", k, group_by=column)
    assert [hit.id for hit in found] == [hit.id for hit in expected]
    assert [hit.score for hit in found] == pytest.approx([hit.score for hit in expected])
    last = expected[-1].score - grouped.SAME
    for hit in found:
        same = [other for other in whole if other.kept[column] == hit.kept[column] is not None and other.score >= last]
        assert hit.others == max(0, len(same) - 1)


def test_groups_of_several_queries_and_filters(corpus: EmbeddedCorpus) -> None:
    several = corpus.search(["walk 3", "fever"], 4, group_by="note")
    alone = corpus.search("walk 3", 4, group_by="note")
    assert [(hit.id, hit.others) for hit in several[0]] == [(hit.id, hit.others) for hit in alone]
    only = corpus.search("walk", 5, group_by="note", filter={"note": ["n1", "n2"]})
    assert {hit.id.partition("#")[0] for hit in only} == {"n1", "n2"}


def test_an_unknown_column_is_named(corpus: EmbeddedCorpus) -> None:
    with pytest.raises(CorpusError, match="cannot be grouped by 'ward': the kept columns are patient, note, start"):
        corpus.search("walk", group_by="ward")


def test_around_are_the_passages_of_the_note_beside(corpus: EmbeddedCorpus) -> None:
    hits = corpus.search("walk 7 day 3", 5)
    for hit, around in zip(hits, corpus.around(hits, 2), strict=True):
        name, number = hit.id.split("#")
        ids = [f"{name}#{place}" for place in range(1, 6)]
        assert [part.id for part in around.before] == ids[max(0, int(number) - 3) : int(number) - 1]
        assert [part.id for part in around.after] == ids[int(number) : int(number) + 2]
        assert all(NOTES[name][part.start : part.end] == part.text for part in (*around.before, *around.after))


def test_around_needs_passages(tmp_path: Path, fake: MedEmbed, corpus: EmbeddedCorpus) -> None:
    plain = EmbeddedCorpus.build(tmp_path / "c", [{"id": "a", "text": "pain"}], fake)
    with pytest.raises(CorpusError, match="are no passages of notes: index the notes again with --split"):
        plain.around(plain.search("pain"))
    with pytest.raises(SettingError, match="n=0: give at least 1 passage"):
        corpus.around([], 0)


@pytest.mark.parametrize(
    ("query", "text", "expected"),
    [
        ("allergy to penicillins", "Allergies: penicillin", ["Allergies", "penicillin"]),
        ("HbA1c", "hba1c of 7.1", ["hba1c"]),
        ("is it the", "it is the end", []),
        ("fever", "", []),
        ("fièvre", "Fievre", ["Fievre"]),
    ],
)
def test_marks_are_words_whatever_their_ending(query: str, text: str, expected: list[str]) -> None:
    assert [text[start:end] for start, end in marks(query, text)] == expected


# ------------------------------------------------------------------------------------------ the command


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    lines = [{"id": name, "text": text, "patient": name[:2]} for name, text in NOTES.items()]
    (folder / "notes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    words = ["index", folder / "notes.jsonl", "-o", folder / "c", "--split", "--keep", "patient", "-m", tiny_folder]
    ran = CliRunner().invoke(app, [*map(str, words)])
    assert ran.exit_code == 0, ran.output
    return folder / "c"


def run(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200"})


def test_json_has_everything(indexed: Path) -> None:
    ran = run("search", indexed, "walking on day 3", "-k", 2, "--group-by", "note", "--context", 1, "--json")
    hits = json.loads(ran.output)["hits"]
    assert len(hits) == 2
    for hit in hits:
        assert {
            "id",
            "score",
            "text",
            "source",
            "line",
            "kept",
            "asserts",
            "others",
            "also_in",
            "marks",
            "around",
        } == set(hit)
        note = NOTES[hit["kept"]["note"]]
        assert note[hit["kept"]["start"] : hit["kept"]["end"]] == hit["text"]
        assert next(hit["text"][start:end] for start, end in hit["marks"]) == "walk"
        assert hit["around"]["before"] or hit["around"]["after"]


def test_a_table_shows_place_section_and_others(indexed: Path) -> None:
    ran = run("search", indexed, "walk 3", "-k", 2, "--group-by", "patient", "--context", 1)
    assert ran.exit_code == 0, ran.output
    for word in ("characters", "section", "patient", "others", "plan"):
        assert word in ran.output
    assert "heading" not in ran.output


def test_kept_columns_leave_ids_and_values_whole_in_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    kept = {"date": "2024-03-05", "type": "Progress\x1b[2J note", "patient": "17", "ward": None, "section": "plan"}
    hit = Hit("DocumentReference/d0#3", 0.5, "Ultrasound of the leg veins.", "a.ndjson", 1, kept)
    printing.show(printing.Answer("clot", [hit], []), dict.fromkeys(kept, "string"), grouped=False)
    shown = capsys.readouterr().out
    for whole in (hit.id, "date: 2024-03-05", "patient: 17", "section: plan", "Ultrasound of the leg"):
        assert whole in shown
    assert "ward" not in shown
    assert "\x1b[2J" not in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_the_part_with_the_marks_is_shown_and_steers_nothing() -> None:
    text = f"{'nothing here. ' * 50}penicillin rash\x1b[2J {'nothing there. ' * 50}"
    shown = printing._marked("penicillin", text)
    assert "penicillin" in shown.plain
    assert "\x1b" not in shown.plain
    assert [shown.plain[span.start : span.end] for span in shown.spans] == ["penicillin"]
    assert len(shown.plain) <= printing.SHOWN + 4

"""Which model for one's own notes: questions by rule, rankings as a search gives them, verdicts that hold."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medembed import EmbeddedCorpus, Hybrid, demo
from medembed.corpus.embed import Settings, index_rows
from medembed.errors import EvaluationError, SettingError
from medembed.evaluation import own_ranking
from medembed.evaluation.models import Setup
from medembed.evaluation.own_notes import KINDS, Assessment, assess
from medembed.evaluation.own_page import cut_notes, to_html, to_json
from medembed.evaluation.own_questions import OwnNote, OwnQuestion, by_rule, sentences
from medembed.model import MedEmbed
from medembed.rows.read import Row
from tests import tiny_bert
from tests.recipes.endpoint_server import Server, completion

SETUP = Setup(threads=1, local_files_only=True)
REST = " ".join(f"It came back in week {number} and went away by itself after two days of rest." for number in range(3))
URATE = "What was lowered by allopurinol?"
NOTES = [OwnNote(item.id, item.text, item.title) for item in demo.passages()]


@pytest.mark.parametrize(
    ("kind", "note", "question"),
    [
        ("title", OwnNote("n", REST, "Gout of the big toe"), "Gout of the big toe"),
        ("heading", OwnNote("n", f"## Gout of the big toe\n\n{REST}"), "Gout of the big toe"),
        ("heading", OwnNote("n", f"{REST}\n\nGOUT OF THE BIG TOE:\n{REST}"), "GOUT OF THE BIG TOE"),
        ("lead", OwnNote("n", f"A man of 60 has gout. {REST}"), "A man of 60 has gout."),
        ("asked", OwnNote("n", f"{REST} Serum urate was lowered by allopurinol."), URATE),
        ("keyword", OwnNote("n", f"{REST} Colchicine had relieved the swollen toes."), "Colchicine relieved swollen toes"),
    ],
)  # fmt: skip
def test_each_kind_asks_for_what_it_cuts_out(kind: str, note: OwnNote, question: str) -> None:
    others = [OwnNote(str(number), "Too short.") for number in range(3)]
    trial = by_rule([*others, note], 10, [kind])
    assert trial.questions == [OwnQuestion(kind, question, "n")]
    assert question not in trial.texts["n"]
    assert "It came back in week 1" in trial.texts["n"]
    assert all(trial.texts[other.id] == other.text for other in others)


@pytest.mark.parametrize("kind", KINDS)
def test_a_note_of_which_too_little_would_be_left_is_not_asked_for(kind: str) -> None:
    text = "# Gout of the toe\n\nSeen on the ward with gout. Serum urate was lowered by allopurinol."
    assert by_rule([OwnNote("n", text, "Gout of the big toe")], 10, [kind]).questions == []


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "heading"])
def test_no_sentence_that_is_asked_stays_in_its_note(kind: str) -> None:
    trial = by_rule(NOTES, 600, [kind])
    by_id = {note.id: note for note in NOTES}
    assert len(trial.questions) > 50
    assert len({item.note_id for item in trial.questions}) == len(trial.questions)
    for item in trial.questions:
        left, note = trial.texts[item.note_id], by_id[item.note_id]
        gone = [note.title] if kind == "title" else [
            said for span in sentences(note.text) if (said := note.text[slice(*span)].strip()) not in left
        ]  # fmt: skip
        assert len(gone) == 1
        if kind in ("title", "lead", "cropped"):
            assert " ".join(gone[0].split()) == item.text
    asked = {item.note_id for item in trial.questions}
    assert all(trial.texts[note.id] == note.whole for note in NOTES if note.id not in asked)


def test_kinds_are_asked_alike_and_chance_is_the_seeds_alone() -> None:
    trial = by_rule(NOTES, 100, ["title", "lead", "cropped", "keyword"], seed=3)
    counts = [sum(item.kind == kind for item in trial.questions) for kind in ("title", "lead", "cropped", "keyword")]
    assert max(counts) - min(counts) <= 4
    assert by_rule(NOTES[::-1], 100, ["title", "lead", "cropped", "keyword"], seed=3).questions == trial.questions
    assert by_rule(NOTES, 100, ["title", "lead", "cropped", "keyword"], seed=4).questions != trial.questions


@pytest.mark.parametrize(
    ("kind", "notes"),
    [
        ("title", [OwnNote("a", REST, "Follow-up visit"), OwnNote("b", REST + " Twice.", "follow-up visit")]),
        ("heading", [OwnNote("a", f"# Seen on the ward\n{REST}"), OwnNote("b", f"# Seen on the ward\n{REST} Twice.")]),
        ("heading", [OwnNote("a", f"# Past medical history\n{REST}")]),
    ],
    ids=["title of two notes", "heading of two notes", "usual heading"],
)
def test_what_names_no_single_note_is_not_asked(kind: str, notes: list[OwnNote]) -> None:
    assert by_rule(notes, 10, [kind]).questions == []


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Seen by Dr. May. Better now. Home.", 3),
        ("seen on the ward . no fever was found . he went home .", 3),
        ("Seen on the ward at noon today by the doctor on\ncall.\n\nPlan: rest.", 2),
        ("", 1),
    ],
    ids=["abbreviation", "small letters", "paragraphs", "empty"],
)
def test_sentences_cover_a_text(text: str, count: int) -> None:
    found = sentences(text)
    assert len(found) == count
    assert "".join(text[slice(*span)] for span in found) == text


@pytest.fixture(scope="module")
def random_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that knows nothing."""
    return tiny_bert.make(tmp_path_factory.mktemp("random") / "model")


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["mini", "bm25"], ["mini", "bm25"]),
        (["mini", "bm25", "hybrid"], ["mini", "bm25", "hybrid mini"]),
        (["bm25", "hybrid"], ["bm25", "hybrid mini"]),
        (["mini", "R=RANDOM", "hybrid"], ["mini", "R", "hybrid mini", "hybrid R"]),
        (["hybrid:R=RANDOM", "colbert:mini"], ["hybrid R", "colbert:mini"]),
    ],
)
def test_names_are_systems(names: Sequence[str], labels: list[str], random_folder: Path) -> None:
    given = [name.replace("RANDOM", str(random_folder)) for name in names]
    assert [system.label for system in own_ranking.systems(given, SETUP)] == labels


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["mini", "mini"], "mini: named twice"),
        (["mini", "hybrid", "hybrid:mini"], "hybrid mini: named twice"),
        (["mini", "st:somewhere"], "'st:somewhere' is not assessed"),
        (["mini", "mteb:x"], "'mteb:x' is not assessed"),
        (["mini", "mini+scopes"], "is not assessed"),
        (["mini", "hybrid:bm25"], "is not assessed"),
        (["mini", "hybrid:colbert:mini"], "hybrid search is of dense models"),
        (["mini"], "one system alone"),
    ],
)
def test_what_is_no_system_is_refused_before_anything_runs(names: list[str], problem: str) -> None:
    with pytest.raises(SettingError, match=problem):
        assess(NOTES, names, setup=SETUP)


def test_hybrid_ranks_as_a_search_of_a_corpus_does(random_folder: Path, tmp_path: Path) -> None:
    texts = [note.text for note in NOTES[:80]]
    asked = ["kidney infection", "what may people on hemodialysis eat", "blood pressure"]
    names = [f"R={random_folder}", "hybrid"]
    dense, both = own_ranking.rank(own_ranking.systems(names, SETUP), texts, asked, SETUP)
    with MedEmbed(random_folder, threads=1) as model:
        rows = [Row(str(place), text, "s", place) for place, text in enumerate(texts)]
        index_rows(rows, tmp_path / "corpus", model, Settings(), inputs=[])
        corpus = EmbeddedCorpus.open(tmp_path / "corpus", model=model)
        for answer, how in ((dense, None), (both, Hybrid())):
            found = corpus.search(asked, 10, hybrid=how)
            assert [list(map(str, rows[:10])) for rows in answer.rows] == [[hit.id for hit in hits] for hits in found]


def test_bm25_does_not_find_what_shares_no_word() -> None:
    (only,) = own_ranking.rank(own_ranking.systems(["bm25"], SETUP), ["gout", "asthma", "gout again"], ["gout"], SETUP)
    assert sorted(only.rows[0].tolist()) == [0, 2]


@pytest.fixture(scope="module")
def assessed(random_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Assessment:
    """The demonstration's notes, by a model, the same once more, and one that knows nothing."""
    same = tmp_path_factory.mktemp("same") / "mini"
    subprocess.run(
        [sys.executable, "-m", "medembed", "models", "export", "mini", str(same)], check=True, capture_output=True
    )
    some = [*NOTES[:50], OwnNote("copy", NOTES[0].text, NOTES[0].title)]
    return assess(some, ["mini", f"same={same}", f"random={random_folder}"], most_questions=50, setup=SETUP)


def test_a_model_is_better_than_one_that_knows_nothing_and_not_than_itself(assessed: Assessment) -> None:
    verdicts = {(pair.first, pair.second): pair.verdict for pair in assessed.pairs}
    first, second, third = (score.label for score in assessed.scores)
    assert ({first, second}, third) == ({"mini", "same"}, "random")
    assert verdicts == {(first, second): "no difference shown", (first, third): "better", (second, third): "better"}
    assert assessed.verdict == (
        f"{first} finds these notes better than random. Between {first} and {second} no difference can be shown."
    )


def test_the_score_is_the_mean_over_kinds_and_the_difference_that_of_scores(assessed: Assessment) -> None:
    assert sum(assessed.weights.values()) == pytest.approx(1)
    assert set(assessed.weights) <= set(assessed.questions)
    scores = {score.label: score.score for score in assessed.scores}
    for score in assessed.scores:
        assert score.score == pytest.approx(np.mean(list(score.by_kind.values())))
    for pair in assessed.pairs:
        assert pair.difference == pytest.approx(scores[pair.first] - scores[pair.second])
        assert pair.p_holm >= pair.p_value


def test_notes_are_counted_and_repeats_left_out(assessed: Assessment) -> None:
    assert (assessed.n_read, assessed.n_repeated) == (51, 1)
    assert assessed.n_notes == 50


def test_the_page_shows_the_verdict_and_the_worst_questions_and_fetches_nothing(assessed: Assessment) -> None:
    page = to_html(assessed)
    shown = unescape(page)
    assert assessed.verdict in shown
    assert all(item.question in shown for item in assessed.worst)
    assert len(assessed.worst) == 20
    assert "http" not in page.replace("https", "http").partition("<body>")[0]
    assert "<script" not in page
    told = json.loads(to_json(assessed))
    assert [item["label"] for item in told["scores"]] == [score.label for score in assessed.scores]


def test_a_model_that_cuts_notes_is_told_of_once(assessed: Assessment) -> None:
    one = assessed.scores[0]
    scores = [replace(one, label=label, n_cut=n) for label, n in (("hybrid mini", 7), ("mini", 7), ("bm25", 0))]
    assert cut_notes(replace(assessed, scores=scores)) == [
        "mini reads only the beginning of 7 of the notes: --split assesses passages"
    ]


def test_texts_cannot_become_markup(assessed: Assessment) -> None:
    bad = replace(assessed.worst[0], question="<script>alert(1)</script>", note="<img src=x>", note_id="<b>")
    page = to_html(replace(assessed, worst=[bad]))
    assert not any(mark in page for mark in ("<script>", "<img", "<b>"))


def test_of_many_notes_some_are_drawn_and_the_rest_is_not_held() -> None:
    found = assess((note for note in NOTES), ["bm25", "hybrid"], most_notes=40, most_questions=20, setup=SETUP)
    assert (found.n_read, found.n_notes) == (600, 40)


@pytest.mark.parametrize("notes", [[], [OwnNote(str(n), f"Too short {n}.") for n in range(50)]], ids=["none", "short"])
def test_notes_that_give_too_few_questions_are_refused(notes: list[OwnNote]) -> None:
    with pytest.raises(EvaluationError, match=f"{len(notes)} notes give 0 questions, and 10 are the least"):
        assess(notes, ["bm25", "hybrid"], setup=SETUP)


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "medembed", "assess", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture
def notes_file(tmp_path: Path) -> Path:
    rows = [{"key": note.id, "note": note.text, "about": note.title} for note in NOTES[:40]]
    path = tmp_path / "notes.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


COLUMNS = ("--text-column", "note", "--id-column", "key")


def test_the_command_takes_models_one_after_the_other_and_prints_no_text(notes_file: Path, random_folder: Path) -> None:
    ran = run(
        "notes.jsonl", "--models", f"R={random_folder}", "bm25", "hybrid", *COLUMNS, "--title-column", "about",
        "--html", "it.html", cwd=notes_file.parent,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert all(name in ran.stdout for name in ("R", "bm25", "hybrid R", "questions (", "asked of 40 notes"))
    said = ran.stdout + ran.stderr
    for note in NOTES[:40]:
        assert note.id not in said
        assert not any(note.text[slice(*span)][:40] in said for span in sentences(note.text))
    assert "<title>Which model for these notes</title>" in (notes_file.parent / "it.html").read_text(encoding="utf-8")
    again = run("notes.jsonl", "--models", "bm25", "hybrid", *COLUMNS, "--html", "it.html", cwd=notes_file.parent)
    assert again.returncode == 1
    assert "--overwrite" in again.stderr


def test_the_command_gives_json_assesses_passages_and_tells_rows_left_out(
    notes_file: Path, random_folder: Path
) -> None:
    with notes_file.open("a", encoding="utf-8") as file:
        file.write('{"key": "x", "note": ""}\n')
        file.write(json.dumps({"key": NOTES[0].id, "note": REST}) + "\n")
    ran = run("notes.jsonl", *COLUMNS, "-m", f"R={random_folder}", "bm25", "--split", "--json", cwd=notes_file.parent)
    assert ran.returncode == 3, ran.stderr
    told = json.loads(ran.stdout)
    assert {score["label"] for score in told["scores"]} == {"R", "bm25"}
    assert all("#" in item["note_id"] for item in told["worst"])
    assert "left out: 1 × empty text, 1 × duplicate id" in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--llm", "m"), "only with --endpoint"),
        (("--endpoint", "http://127.0.0.1:9/v1"), "--llm NAME"),
        (("--split", "--title-column", "about"), "not with --split"),
    ],
)
def test_options_that_mean_nothing_together_are_refused(
    arguments: tuple[str, ...], problem: str, notes_file: Path
) -> None:
    ran = run("notes.jsonl", *COLUMNS, "--models", "bm25", "hybrid", *arguments, cwd=notes_file.parent)
    assert (ran.returncode, problem in ran.stderr) == (1, True), ran.stderr


def test_a_language_model_asks_in_place_of_the_rules(notes_file: Path, random_folder: Path) -> None:
    def answer(note: str, _: int) -> Any:
        words = note.split()
        item = {
            "query": " ".join(words[5:9]),
            "query_type": "keyword",
            "passage": " ".join(words[:12]),
            "relevance_score": 5,
        }
        poor = item | {"query": "something else", "relevance_score": 1}
        return completion(json.dumps({"pairs": [poor, item]}))

    server = Server(answer)
    try:
        ran = run(
            "notes.jsonl", *COLUMNS, "--models", f"R={random_folder}", "bm25", "--endpoint", server.url, "--llm", "m",
            "--questions", "30", "--json", cwd=notes_file.parent,
        )  # fmt: skip
    finally:
        server.stop()
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert set(told["questions"]) == {"llm"}
    assert 10 <= told["questions"]["llm"] <= 30
    assert len(server.asked) == 30

"""Pairs by rule and pairs from replies: every passage is a span of its note."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medembed.errors import RecipeConfigError
from medembed.recipes import pipeline
from medembed.recipes.llm import Llm
from medembed.recipes.records import Failure, Note, Pair, content_id, read_parquet
from medembed.recipes.schema import Extractive, Recipe
from medembed.recipes.sources import Places
from medembed.recipes.writers.extractive import RULES, ExtractiveWriter
from medembed.recipes.writers.prompts import explained, messages, reply_schema
from medembed.recipes.writers.replies import find_span, parse_reply
from medembed.recipes.writers.scripted import ScriptedWriter
from tests.recipes.conftest import medical_words

Loaded = Callable[..., tuple[Recipe, Places]]


def pair(**changed: object) -> dict[str, object]:
    return {
        "query": "fever in January",
        "query_type": "keyword",
        "passage": "The fever went down at once.",
        "relevance_score": 5,
    } | changed


def reply(*pairs: object) -> str:
    return json.dumps({"pairs": pairs})


def test_every_extractive_passage_is_the_span_it_names(loaded: Loaded) -> None:
    built = pipeline.build(*loaded(), "pairs")
    notes = {note.note_id: note for note in read_parquet(built[0].artifact.parts("notes"), Note)}
    pairs = list(read_parquet(built[1].artifact.parts("pairs"), Pair))
    assert {pair.query_type for pair in pairs} == {"heading", "question", "lead", "cropped"}
    assert all(notes[pair.note_id].text[pair.start : pair.end] == pair.passage for pair in pairs)


def test_a_sentence_asked_for_is_not_in_its_own_passage(notes: list[Note]) -> None:
    writer = ExtractiveWriter(Extractive(kinds=("lead", "cropped")))
    pairs = [pair for written in writer.write(notes) for pair in written.pairs]
    assert len(pairs) == 8
    assert all(pair.query not in pair.passage for pair in pairs)


@pytest.mark.parametrize(
    ("title", "heading", "text", "kind", "query"),
    [
        ("Gout", "Causes > Treatment", "Rest helps. " * 8, "question", "How is Gout treated?"),
        (
            "",
            "",
            "What is gout? It is a disease of the joints that comes with crystals in them.",
            "question",
            "What is gout?",
        ),
        (
            "",
            "",
            "Gouty arthritis is a disease of the joints that comes with crystals in them.",
            "term",
            "Gouty arthritis",
        ),
        ("Gout", "Signs", "Rest helps. " * 8, "heading", "Gout Signs"),
        ("Gout in old age", "Abstract", "Rest helps. " * 8, "title", "Gout in old age"),
        (
            "",
            "",
            "However, the study showed that allopurinol was used for hyperuricaemia and tophi by older participants.",
            "keyword",
            "allopurinol hyperuricaemia tophi older",
        ),
        (
            "",
            "",
            "Some of them had taken part in an earlier randomised controlled trial (RCT) of uric acid and of its salts.",
            "acronym",
            "What is RCT?",
        ),
        (
            "",
            "",
            "Gout was looked at in two hundred older adults of one town. Our suggest that allopurinol lowers uric acid in older adults [,].",
            "claim",
            "Allopurinol lowers uric acid in older adults.",
        ),
    ],
    ids=[
        "heading question",
        "asked in the text",
        "definition",
        "short heading",
        "title",
        "key words",
        "abbreviation",
        "claim",
    ],
)
def test_rules_ask_what_they_should(title: str, heading: str, text: str, kind: str, query: str) -> None:
    note = Note("0" * 16, "d", "s", title, heading, text.strip())
    [written] = ExtractiveWriter(Extractive(kinds=tuple(RULES)), medical_words()).write([note])
    assert (kind, query) in [(pair.query_type, pair.query) for pair in written.pairs]


@pytest.mark.parametrize(
    "text",
    [
        "a number of units (SI) was given to each of them in the course of a week of rest",
        "Rest (See Table) helps those who are ill, and water does too, as everybody knows.",
    ],
    ids=["other initials", "no capitals"],
)
def test_what_explains_no_abbreviation_is_not_asked_for(text: str) -> None:
    [written] = ExtractiveWriter(Extractive(kinds=("acronym",))).write([Note("0" * 16, "d", "s", "", "", text)])
    assert written.pairs == []


@pytest.mark.parametrize(
    "text",
    [
        "Older adults were asked about gout and its care. We found that these drugs were taken by most of them.",
        "Older adults were asked about gout and its care. Most of them took allopurinol every day of the week.",
    ],
    ids=["points back", "announces nothing"],
)
def test_a_sentence_that_cannot_stand_alone_is_no_claim(text: str) -> None:
    [written] = ExtractiveWriter(Extractive(kinds=("claim",))).write([Note("0" * 16, "d", "s", "", "", text)])
    assert written.pairs == []


def test_the_passage_of_a_claim_does_not_hold_it() -> None:
    text = "Gout was looked at in two hundred older adults of the town. In conclusion, allopurinol lowers uric acid in older adults."
    [written] = ExtractiveWriter(Extractive(kinds=("claim",))).write([Note("0" * 16, "d", "s", "", "", text)])
    [pair] = written.pairs
    assert (pair.query, pair.passage) == (
        "Allopurinol lowers uric acid in older adults.",
        "Gout was looked at in two hundred older adults of the town.",
    )


def test_extractive_writing_is_fast_enough(notes: list[Note]) -> None:
    many = [
        Note(content_id(str(i)), f"d{i}", "s", "Gout", "Treatment", note.text * 3) for i, note in enumerate(notes * 250)
    ]
    writer = ExtractiveWriter(Extractive())
    started = time.process_time()
    pairs = sum(len(written.pairs) for written in writer.write(many))
    assert pairs / (time.process_time() - started) > 5000


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty reply"),
        ('{"pairs": [{"query": "x"', "reply is not JSON"),
        ("[]", "reply has no list of pairs"),
        ('{"pairs": {}}', "reply has no list of pairs"),
        (reply(), "no pairs in reply"),
        (reply("x"), "pair is no object"),
        (reply(pair(query=3)), "wrong types"),
        (reply(pair(relevance_score="5")), "wrong types"),
        (reply(pair(relevance_score=True)), "wrong types"),
        (reply(pair(query_type="poem")), "unknown query type"),
        (reply(pair(relevance_score=9)), "empty text or score outside 1 to 5"),
        (reply(pair(query="  ")), "empty text or score outside 1 to 5"),
        (reply(pair(passage="The fever went up.")), "passage not in note"),
    ],
)
def test_a_bad_reply_is_counted_by_its_reason_and_kept(notes: list[Note], text: str, reason: str) -> None:
    written = parse_reply(notes[0], text, Llm())
    assert written.pairs == []
    assert [failure.reason for failure in written.failures] == [reason]
    assert written.reply == text


def test_good_pairs_survive_beside_a_bad_one(notes: list[Note]) -> None:
    written = parse_reply(notes[0], reply(pair(), pair(passage="none")), Llm())
    assert [item.passage for item in written.pairs] == ["The fever went down at once."]
    assert written.failures == [Failure(f"{notes[0].note_id}:1", "passage not in note")]


WHOLE = reply(pair(), pair(query="visit in March", passage="A visit in March was normal."))
INDENTED = json.dumps(json.loads(WHOLE), indent=2)
DRESSED = {
    "bare": WHOLE,
    "blanks": f"\n\n  {INDENTED}\n",
    "byte order mark": f"\ufeff{WHOLE}",
    "fence": f"```json\n{INDENTED}\n```",
    "fence without a language": f"```\n{WHOLE}\n```",
    "fence never closed": f"```json\n{WHOLE}",
    "words before": f"Here are the pairs you asked for:\n{WHOLE}",
    "words after": f"{WHOLE}\nI hope that helps.",
    "words and a fence": f"Sure!\n\n```json\n{INDENTED}\n```\n\nLet me know.",
    "thoughts": f"<think>Which query? Perhaps fever.</think>\n{WHOLE}",
    "thoughts, other tag": f"<thinking>Well.</thinking>{WHOLE}",
    "thoughts never opened": f"Well, the note says so.\n</think>\n\n{WHOLE}",
    "thoughts with another list": f"<think>{reply(pair(query='draft'))}</think>{WHOLE}",
    "the form in words": f'The form is {{"pairs": [...]}} and so: {WHOLE}',
    "comma too many": WHOLE.replace("}]}", "},]}"),
    "brace too few": WHOLE[:-1],
    "score as a float": WHOLE.replace('_score": 5', '_score": 5.0'),
}


@pytest.mark.parametrize("dress", DRESSED)
def test_pairs_are_read_whatever_stands_around_them(notes: list[Note], dress: str) -> None:
    written = parse_reply(notes[0], DRESSED[dress], Llm())
    assert [item.query for item in written.pairs] == ["fever in January", "visit in March"]
    assert written.failures == []


@pytest.mark.parametrize("cut", range(1, len(WHOLE), 7))
def test_a_reply_cut_anywhere_keeps_its_whole_pairs_and_is_counted(notes: list[Note], cut: int) -> None:
    text = WHOLE[:cut]
    whole = text.count('"relevance_score": 5}')
    for before in ("", "```json\n", "<think>Well.</think>"):
        written = parse_reply(notes[0], before + text, Llm(), cut=True)
        assert len(written.pairs) == whole
        assert [failure.reason for failure in written.failures] == ["reply cut at the token limit"] or text.endswith(
            "]"
        )


def test_a_reply_cut_in_its_thoughts_is_counted_as_cut(notes: list[Note]) -> None:
    written = parse_reply(notes[0], "<think>Which query? Per", Llm(), cut=True)
    assert [failure.reason for failure in written.failures] == ["reply cut at the token limit"]


def test_more_pairs_or_longer_ones_than_asked_for_are_counted(notes: list[Note]) -> None:
    settings = Llm(pairs_per_note=2, max_query_chars=20, max_passage_chars=40)
    long = [pair(query="a" * 21), pair(passage=notes[0].text)]
    written = parse_reply(notes[0], reply(*long, pair(), *[pair()] * 50), settings)
    assert [failure.reason for failure in written.failures] == [
        "more pairs than asked for",
        *["longer than allowed"] * 2,
    ]
    assert written.pairs == []


@pytest.mark.parametrize("score", [0, 6, -1, 10**30, 4.5, "4", True, None, [], {}])
def test_a_score_is_a_whole_number_from_one_to_five(notes: list[Note], score: object) -> None:
    assert parse_reply(notes[0], reply(pair(relevance_score=score)), Llm()).pairs == []


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"pairs": ' + "[" * 100_000,
        '{"pairs": [{"query": ' + '{"a": ' * 50_000,
        '{"pairs": [' * 50_000,
        "</think>" * 100_000,
        "```" * 100_000,
        "{" * 1_000_000,
        '{"pairs": [' + " " * 1_000_000,
        '{"pairs": [' + '{"query": "x"},' * 100_000,
        '{"pairs": [{"relevance_score": ' + "9" * 100_000 + "}]}",
        '{"pairs": [{"query": "' + "x" * 3_000_000 + '"}]}',
        reply(pair(passage="x " * 500_000)),
    ],
    ids=range(12),
)
def test_no_reply_takes_long_or_fails(notes: list[Note], text: str) -> None:
    started = time.process_time()
    for settings in (Llm(), Llm(passage="sentence")):
        written = parse_reply(notes[0], text, settings)
        assert written.pairs == []
        assert written.failures
        assert len(written.failures) < 10
    assert time.process_time() - started < 2.0


@given(st.text(), st.integers(0, 400), st.sampled_from(["", "[", "{", "\\", '"', "\ud800", "\x00", "]}", "null"]))
def test_any_change_to_a_reply_gives_pairs_of_the_note_or_a_reason(text: str, place: int, put: str) -> None:
    note = Note("0" * 16, "d", "s", "", "", "Gout was found. The fever went down at once. A visit in March was normal.")
    for changed in (text, WHOLE[:place] + put + WHOLE[place:], WHOLE[:place] + text + WHOLE[place + 1 :]):
        written = parse_reply(note, changed, Llm())
        assert written.pairs or written.failures
        for found in written.pairs:
            assert note.text[found.start : found.end] == found.passage
            found.query.encode()


@given(st.lists(st.text(min_size=1), min_size=1), st.data())
def test_a_span_of_the_text_is_found_whatever_its_blanks(words: list[str], data: st.DataObject) -> None:
    text = "\n".join(" ".join(word.split()) for word in words)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    passage = " ".join(text[start:end].split())
    if passage:
        found = find_span(text, passage)
        assert found is not None
        assert text[slice(*found)].split() == passage.split()


def test_the_prompt_holds_the_note_and_the_schema_bounds_the_answer(notes: list[Note]) -> None:
    settings = Llm(pairs_per_note=3, max_query_chars=50, query_types={"lay": "in plain words", "code": "a code"})
    system, user = messages(notes[0], settings)
    assert notes[0].text in user["content"]
    assert "Write 3 pairs" in user["content"]
    assert "lay (in plain words), code (a code)" in system["content"]
    pairs = reply_schema(notes[0], settings)["properties"]["pairs"]
    assert pairs["maxItems"] == 3
    assert pairs["items"]["properties"]["query"]["maxLength"] == 50
    assert pairs["items"]["properties"]["query_type"]["enum"] == ["lay", "code"]


def test_sentence_passages_are_the_notes_own(notes: list[Note]) -> None:
    schema = reply_schema(notes[0], Llm(passage="sentence"))
    choices = schema["properties"]["pairs"]["items"]["properties"]["passage"]["enum"]
    assert len(choices) == 4
    assert all(choice in notes[0].text for choice in choices)


def test_an_unknown_prompt_names_those_there_are() -> None:
    with pytest.raises(RecipeConfigError, match="pairs-v1"):
        explained(Llm(prompt="pairs-v999"))


def test_the_scripted_writer_answers_every_note_once(notes: list[Note]) -> None:
    writer = ScriptedWriter(lambda note: reply(pair()))
    assert [written.note_id for written in writer.write(notes)] == [note.note_id for note in notes]


def test_ready_pairs_keep_their_source_and_bad_rows_are_counted(loaded: Loaded, recipe_folder: Path) -> None:
    rows = [
        {"query": "gout", "positive": "A disease of joints.", "source": "onto:X", "doc_id": "d1"},
        {"query": "", "positive": "x"},
        {"query": 3},
    ]
    (recipe_folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe, places = loaded(
        "pairs.sources.given.format=jsonl", "pairs.sources.given.path=pairs.jsonl", "pairs.writer=none"
    )
    artifact = pipeline.build(recipe, places, "pairs")[-1].artifact
    [found] = read_parquet(artifact.parts("pairs"), Pair)
    assert (found.query, found.source, found.doc_id, found.query_type) == ("gout", "onto:X", "d1", "given")
    assert artifact.summary["failures"] == {"empty": 1, "not text": 1}

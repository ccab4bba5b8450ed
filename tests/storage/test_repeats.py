"""Repeated text embedded once: the same vectors, hits and scores as without, and nothing lost with the first row."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from medembed import Columns, EmbeddedCorpus, Embedder, FakeEngine, MedEmbed, Settings
from medembed.cli import app
from medembed.corpus import embed, embed_ray
from medembed.errors import CorpusError, IndexingStoppedError, SettingError
from medembed.storage import repeats
from medembed.storage.manifest import Manifest, Shard
from medembed.storage.places import SHARDS, STAGING
from medembed.storage.repeats import Places
from medembed.storage.shards import Job

pytest.importorskip("pyarrow")
WORDS = [
    "acute",
    "chest",
    "pain",
    "fever",
    "cough",
    "aspirin",
    "metformin",
    "rash",
    "knee",
    "swollen",
    "calf",
    "headache",
    "nausea",
]
# fifteen texts, some of them in every shard, some in none but the first
TEXTS = [" ".join(WORDS[(n * 5 + place) % 13] for place in range(4 + n % 3)) for n in range(15)]
ORDER = [(n * n + n // 7) % 15 for n in range(64)]
ROWS = [{"id": f"r{number}", "text": TEXTS[text]} for number, text in enumerate(ORDER)]
ONCE = Settings(shard_rows=7, repeated_text="once")


@pytest.fixture(scope="module")
def fake() -> Iterator[MedEmbed]:
    with MedEmbed(engine=FakeEngine(dimension=16)) as model:
        yield model


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Texts that were embedded."""
    seen: list[str] = []
    whole = MedEmbed.encode_counted

    def counted(self: MedEmbed, inputs: Any, **options: Any) -> Any:
        seen.extend(inputs)
        return whole(self, inputs, **options)

    monkeypatch.setattr(MedEmbed, "encode_counted", counted)
    return seen


def ranking(hits: Any) -> dict[str, float]:
    """Ids by score, with those that a hit names beside."""
    return {name: hit.score for hit in hits for name in (hit.id, *hit.also_in)}


@pytest.mark.parametrize("vectors", ["float32", "float16", "binary"])
@pytest.mark.parametrize("shard_rows", [1, 7, 64])
def test_hits_and_scores_are_those_of_every_row(tmp_path: Path, fake: MedEmbed, vectors: Any, shard_rows: int) -> None:
    settings = Settings(vectors=vectors, shard_rows=shard_rows)
    each = EmbeddedCorpus.build(tmp_path / "each", ROWS, fake, settings)
    once = EmbeddedCorpus.build(tmp_path / "once", ROWS, fake, replace(settings, repeated_text="once"))
    assert np.array_equal(each.vectors(), once.vectors())
    assert once.ids == each.ids
    assert once.verify() == []
    for query in ("acute chest pain", "rash", TEXTS[3]):
        every = each.search(query, k=64)
        found = once.search(query, k=15)
        assert ranking(found) == pytest.approx(ranking(every))
        assert len({hit.text for hit in found}) == len(found) == len({hit.text for hit in every})
        assert ranking(once.search(query, k=3)).items() <= ranking(found).items()


def test_each_text_is_embedded_once_and_added_ones_not_again(tmp_path: Path, fake: MedEmbed, read: list[str]) -> None:
    corpus = EmbeddedCorpus.build(tmp_path / "c", ROWS, fake, ONCE)
    assert sorted(read) == sorted({TEXTS[text] for text in ORDER})
    read.clear()
    corpus.append([{"id": "new", "text": TEXTS[ORDER[0]]}, {"id": "other", "text": "gout"}])
    assert read == ["gout"]
    assert "new" in ranking(corpus.search(TEXTS[ORDER[0]], k=1))


def test_a_runner_that_takes_all_jobs_and_ends_in_any_order(tmp_path: Path, fake: MedEmbed) -> None:
    """As Ray does: its actors and its staging, without a cluster."""

    def backwards(jobs: Iterable[Job], folder: Path, manifest: Manifest[Any]) -> Iterator[Shard]:
        (folder / SHARDS / STAGING).mkdir(parents=True)
        staged = {job.id: embed_ray._stage(folder / SHARDS / STAGING, job) for job in jobs}
        actor = embed_ray._ShardMaker(Embedder(fake), manifest.model_dump_json(), str(folder))
        for name in sorted(staged, reverse=True):
            yield Shard.model_validate_json(actor({"shard": [name]})["told"][0])

    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    for name, runner in (("here", None), ("backwards", backwards)):
        summary = embed.index([str(source)], tmp_path / name, fake, ONCE, runner=runner)
        assert summary.repeated == len(ROWS) - len(set(ORDER))
    here, there = (EmbeddedCorpus.open(tmp_path / name, fake) for name in ("here", "backwards"))
    assert there.verify() == []
    assert [shard.file for shard in there.manifest.shards] == [shard.file for shard in here.manifest.shards]


def test_deleting_the_first_keeps_the_others(tmp_path: Path, fake: MedEmbed) -> None:
    corpus = EmbeddedCorpus.build(tmp_path / "c", ROWS, fake, ONCE)
    first = corpus.search(TEXTS[ORDER[0]], k=1)[0]
    assert len(first.also_in) > 1
    corpus.delete([first.id])
    corpus.compact()
    second = corpus.search(TEXTS[ORDER[0]], k=1)[0]
    assert (second.id, *second.also_in) == first.also_in
    assert second.score == pytest.approx(first.score)
    assert corpus.verify() == []


def test_others_are_only_rows_that_the_filter_lets_through(tmp_path: Path, fake: MedEmbed) -> None:
    corpus = EmbeddedCorpus.build(tmp_path / "c", ROWS, fake, ONCE)
    names = [f"r{number}" for number in range(0, 64, 3)]
    found = corpus.search(TEXTS[ORDER[0]], k=20, filter={"id": names})
    assert set(ranking(found)) == set(names)


def test_counts_of_what_was_saved(tmp_path: Path, fake: MedEmbed) -> None:
    summary = embed.index_python(ROWS, tmp_path / "c", fake, ONCE)
    assert summary.repeated == len(ROWS) - len(set(ORDER))
    new = sum(len(TEXTS[text]) for text in set(ORDER))
    assert summary.repeated_share == pytest.approx(1 - new / sum(len(row["text"]) for row in ROWS))
    assert summary.seconds_saved > 0


def test_a_run_that_was_stopped_knows_the_texts_of_its_first_half(
    tmp_path: Path, fake: MedEmbed, read: list[str]
) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    answers = iter([False, False, False, True])
    with pytest.raises(IndexingStoppedError):
        embed.index([str(source)], tmp_path / "c", fake, ONCE, stop=lambda: next(answers))
    assert sorted(path.suffix for path in (tmp_path / "c" / "shards").iterdir()) == [".arrow"] * 3
    embed.index([str(source)], tmp_path / "c", fake, ONCE)
    assert sorted(read) == sorted({TEXTS[text] for text in ORDER})
    assert EmbeddedCorpus.open(tmp_path / "c", fake).verify() == []


NOTE = "Denies fever, chills. The patient's left knee - 1.5 cm - hurts."
NEAR = {
    "wrapped": NOTE.replace(". ", ".\n   "),
    "windows": NOTE.replace(" ", "\r\n"),
    "hard blanks": NOTE.replace(" ", "\u00a0"),
    "quotes": NOTE.replace("'", "\u2019"),
    "dashes": NOTE.replace("-", "\u2013"),
    "hidden": NOTE.replace("chills", "chi\u00adlls\ufeff"),
}
OTHER = {
    "a number": NOTE.replace("1.5", "15"),
    "a raised number": NOTE.replace("1.5", "1.5\u00b2"),
    "a negation": NOTE.replace("Denies", "Reports"),
    "a side": NOTE.replace("left", "right"),
    "whose": NOTE.replace("patient", "mother"),
    "a finding": NOTE.replace("fever", "cough"),
    "a full stop": NOTE.replace(", ", ". "),
    "doubt": NOTE.replace("hurts.", "hurts?"),
    "order": NOTE.replace("fever, chills", "chills, fever"),
    "case": NOTE.replace("hurts", "HURTS"),
    "a blank inside": NOTE.replace("chills", "chi lls"),
    "a sentence more": NOTE + " Penicillin gave hives.",
    "a sentence less": NOTE.partition(". ")[0] + ".",
}


@pytest.mark.parametrize("other", NEAR)
def test_layout_makes_no_other_text(tmp_path: Path, fake: MedEmbed, read: list[str], other: str) -> None:
    rows = [{"id": "first", "text": NOTE}, {"id": "copy", "text": NEAR[other]}]
    corpus = EmbeddedCorpus.build(tmp_path / "c", rows, fake, Settings(repeated_text="near"))
    assert read == [NOTE]
    assert np.array_equal(*corpus.vectors())
    [hit] = corpus.search("knee", k=5)
    assert (hit.id, hit.also_in) == ("first", ("copy",))
    corpus.delete(["first"])
    [left] = corpus.search("knee", k=5)
    assert (left.id, left.also_in, left.text) == ("copy", (), NEAR[other])
    assert left.score == pytest.approx(hit.score)


@pytest.mark.parametrize("other", OTHER)
def test_what_is_said_makes_another_text(tmp_path: Path, fake: MedEmbed, read: list[str], other: str) -> None:
    rows = [{"id": "first", "text": NOTE}, {"id": "other", "text": OTHER[other]}]
    corpus = EmbeddedCorpus.build(tmp_path / "c", rows, fake, Settings(repeated_text="near"))
    assert read == [NOTE, OTHER[other]]
    assert {(hit.id, hit.also_in) for hit in corpus.search("knee", k=5)} == {("first", ()), ("other", ())}


def test_near_copies_of_two_patients_stay_apart(tmp_path: Path, fake: MedEmbed, read: list[str]) -> None:
    given = [("p1", NOTE), ("p2", NEAR["quotes"]), ("p1", NEAR["wrapped"]), ("p2", NOTE)]
    rows = [{"id": f"n{number}", "text": text, "patient": who} for number, (who, text) in enumerate(given)]
    settings = Settings(Columns(scope="patient"), repeated_text="near")
    corpus = EmbeddedCorpus.build(tmp_path / "c", rows, fake, settings)
    assert read == [NOTE, NEAR["quotes"]]
    assert {(hit.id, hit.also_in) for hit in corpus.search("knee", k=5, scope="all")} == {
        ("n0", ("n2",)),
        ("n1", ("n3",)),
    }
    assert [hit.id for hit in corpus.search("knee", k=5, scope={"patient": "p2"})] == ["n1"]


def test_near_copies_assert_what_their_own_text_says(tmp_path: Path, fake: MedEmbed) -> None:
    rows = [{"id": name, "text": text} for name, text in {"first": NOTE, **NEAR}.items()]
    each = EmbeddedCorpus.build(tmp_path / "each", rows, fake, Settings(assertions=True))
    near = EmbeddedCorpus.build(tmp_path / "near", rows, fake, Settings(assertions=True, repeated_text="near"))
    told, own = (corpus.store.table(0).column("scopes").to_pylist() for corpus in (near, each))
    assert told == own
    assert len({tuple(scopes) for scopes in told}) > 1


def test_added_near_copies_are_not_embedded_again(tmp_path: Path, fake: MedEmbed, read: list[str]) -> None:
    corpus = EmbeddedCorpus.build(tmp_path / "c", [{"id": "first", "text": NOTE}], fake, Settings(repeated_text="near"))
    read.clear()
    corpus.upsert([{"id": "first", "text": NEAR["quotes"]}, {"id": "new", "text": NEAR["wrapped"]}])
    assert read == []
    assert [(hit.id, hit.also_in) for hit in corpus.search("knee")] == [("first", ("new",))]
    with pytest.raises(CorpusError, match="repeated text near"):
        embed.index_python([], tmp_path / "c", fake, replace(ONCE, shard_rows=4096, mode="append"))


def test_places_survive_sorting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "RECENT", 3)
    places = Places()
    keys = [bytes([number, 0, number]) + bytes(13) for number in range(50)]
    for number, key in enumerate(keys):
        places.add(key, number)
    assert [places.get(key) for key in keys] == list(range(50))
    assert places.get(b"x" * 16) is None


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"repeated_text": "never"}, "repeated_text='never': choose one of each, once, near"),
        ({"repeated_text": "once", "store_text": False}, "keep them, without --no-store-text"),
        ({"repeated_text": "near", "store_text": False}, "keep them, without --no-store-text"),
    ],
)
def test_settings_that_do_not_go_together(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingError, match=says):
        Settings(**settings)


def test_the_command_tells_what_was_saved(tmp_path: Path, tiny_folder: Path) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    words = ["index", source, "-o", tmp_path / "c", "-m", tiny_folder, "--repeated-text", "once"]
    ran = CliRunner().invoke(app, [*map(str, words)])
    assert ran.exit_code == 0, ran.output
    assert f"{len(ROWS) - len(set(ORDER))} texts were there before, " in ran.output
    found = CliRunner().invoke(app, ["search", str(tmp_path / "c"), TEXTS[ORDER[0]], "-k", "1"], env={"COLUMNS": "200"})
    assert "also in: r" in found.output

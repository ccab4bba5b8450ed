"""Search that reads what texts assert, in both kinds of store, with and without the column of scopes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medembed import EmbeddedCorpus, MedEmbed
from medembed.clinical import hits as in_order
from medembed.clinical.assertions import RULES, scopes
from medembed.clinical.hits import packed, unpacked
from medembed.corpus import embed
from medembed.corpus.embed import Settings
from medembed.corpus.hybrid import Hybrid
from medembed.errors import CorpusError, InputTypeError

TEXTS = {
    "denied": "She denies chest pain and cough.",
    "there": "She reports chest pain and cough.",
    "mother": "Her mother had chest pain and cough.",
    "other": "Toenail fungus was treated.",
}


def corpus_of(folder: Path, model: MedEmbed, **settings: Any) -> EmbeddedCorpus:
    rows = [{"id": name, "text": text} for name, text in TEXTS.items()]
    return EmbeddedCorpus.build(folder, rows, model, replace(Settings(), **settings))


@pytest.mark.parametrize("assertions", [True, False])
@pytest.mark.parametrize("hybrid", [None, Hybrid(depth=4)])
def test_what_is_asserted_decides_the_order(
    tmp_path: Path, fake: MedEmbed, assertions: bool, hybrid: Hybrid | None
) -> None:
    corpus = corpus_of(tmp_path / "c", fake, assertions=assertions)

    def first(query: str, **options: Any) -> str:
        return corpus.search(query, k=1, hybrid=hybrid, **options)[0].id

    assert first("patient with chest pain and cough") == "there"
    assert first("patient without chest pain and cough") == "denied"
    assert first("mother with chest pain and cough") == "mother"
    assert first("chest pain and cough", assertion="negated") == "denied"
    plain = corpus.search("chest pain and cough", k=4, hybrid=hybrid)
    assert corpus.search("chest pain and cough", k=4, hybrid=hybrid, assertion="any") == plain
    assert all(not hit.asserts for hit in plain)


def test_hits_say_what_they_assert(tmp_path: Path, fake: MedEmbed) -> None:
    corpus = corpus_of(tmp_path / "c", fake, assertions=True)
    hits = {hit.id: hit for hit in corpus.search("patient with chest pain and cough", k=4)}
    (said,) = hits["denied"].asserts
    assert (said.kind, said.text) == ("negated", "denies chest pain and cough")
    assert TEXTS["denied"][said.start : said.end] == said.text
    assert hits["there"].asserts == ()
    assert hits["denied"].score < hits["there"].score


def test_the_column_is_kept_by_every_change(tmp_path: Path, fake: MedEmbed) -> None:
    corpus = corpus_of(tmp_path / "c", fake, assertions=True, shard_rows=2)
    corpus.append([{"id": "new", "text": "No chest pain, no cough."}])
    corpus.delete(["there"])
    corpus.compact()
    assert corpus.verify() == []
    found = {
        name: unpacked(numbers)
        for table in corpus.store.tables()
        for name, numbers in zip(table.column("id").to_pylist(), table.column("scopes").to_pylist(), strict=True)
    }
    assert found == {
        name: scopes(text) for name, text in {**TEXTS, "new": "No chest pain, no cough."}.items() if name != "there"
    }
    assert "scopes" not in next(corpus.groups())[0].column_names


def test_scopes_of_other_rules_are_found_anew(
    tmp_path: Path, fake: MedEmbed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as other:
        other.setattr(in_order, "scopes", lambda _text: [])  # a version that finds nothing
        corpus_of(tmp_path / "same", fake, assertions=True)
        other.setattr(embed, "RULES", RULES - 1)
        corpus_of(tmp_path / "other", fake, assertions=True)
    same = EmbeddedCorpus.open(tmp_path / "same", fake)
    assert not any(hit.asserts for hit in same.search("patient without chest pain"))  # the column is taken at its word
    corpus = EmbeddedCorpus.open(tmp_path / "other", fake)
    assert not caplog.records
    for _ in range(2):
        assert any(hit.asserts for hit in corpus.search("patient without chest pain"))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "--assertions --overwrite" in caplog.text
    # neither the same command again nor another row changes what is there
    again = corpus_of(tmp_path / "other", fake, assertions=True)
    assert again.manifest.assertion_rules == RULES - 1
    again.append([{"id": "new", "text": "No chest pain."}])
    assert again.manifest.assertion_rules == RULES - 1


def test_a_store_without_the_column_is_another_one(tmp_path: Path, fake: MedEmbed) -> None:
    corpus_of(tmp_path / "c", fake)
    with pytest.raises(CorpusError, match="with assertions"):
        corpus_of(tmp_path / "c", fake, assertions=True)


def test_words_are_needed_to_compare_them(tmp_path: Path, fake: MedEmbed) -> None:
    corpus = corpus_of(tmp_path / "c", fake, store_text=False)
    assert corpus.search("patient without chest pain", k=1)
    with pytest.raises(CorpusError, match="this store holds none: index again with --store-text"):
        corpus.search("chest pain", assertion="negated")
    with pytest.raises(InputTypeError, match="needs the queries' texts"):
        corpus.search(np.ones((1, 16), dtype=np.float32), assertion="negated")


async def test_waiting_gives_the_same(tmp_path: Path, fake: MedEmbed) -> None:
    corpus = corpus_of(tmp_path / "c", fake)
    query = "patient without chest pain and cough"
    assert await corpus.asearch(query, assertion="affirmed") == corpus.search(query, assertion="affirmed")


def test_scopes_survive_as_numbers() -> None:
    found = scopes("Mother never had asthma; no fever.")
    assert len(found) == 3
    assert unpacked(packed(found)) == found

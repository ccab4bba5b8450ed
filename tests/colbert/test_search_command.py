"""`medembed search --late-interaction`: what the corpus's own model finds, in the order of MaxSim."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medembed import EmbeddedCorpus, MedColBERT, MedEmbed, TokenIndex
from medembed.cli import app
from medembed.corpus.embed import Settings
from medembed.corpus.hybrid import Hybrid
from medembed.errors import CorpusError, SettingError

TEXTS = ["gout of the big toe", "a broken wrist", "kidney stone", "toe nail fungus", "stone in the shoe"]
ROWS = [{"id": f"d{number}", "text": text} for number, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, tiny: MedEmbed) -> Path:
    folder = tmp_path_factory.mktemp("corpus") / "corpus"
    EmbeddedCorpus.build(folder, ROWS, tiny).close()
    return folder


def hits(*arguments: str) -> list[str]:
    result = CliRunner().invoke(app, ["search", *arguments, "--json", "--threads", "1"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return [hit["id"] for hit in json.loads(result.output.splitlines()[-1])["hits"]]


def test_hits_come_in_the_order_of_maxsim(corpus: Path, colbert_folder: Path, colbert: MedColBERT) -> None:
    expected = [f"d{item.index}" for item in colbert.rerank("a stone in the kidney", TEXTS, 3)]
    late = ["--dense", "--late-interaction", str(colbert_folder)]
    assert hits(str(corpus), "a stone in the kidney", "-k", "3", *late) == expected


def test_only_as_many_as_asked_for_are_put_in_order(corpus: Path, colbert_folder: Path) -> None:
    first = hits(str(corpus), "toe", "-k", "2")
    late = hits(str(corpus), "toe", "-k", "2", "--late-interaction", str(colbert_folder), "--depth", "2")
    assert sorted(late) == sorted(first)


def test_over_hybrid_search_the_first_score_keeps_a_share(
    corpus: Path, colbert_folder: Path, colbert: MedColBERT, tiny: MedEmbed
) -> None:
    with EmbeddedCorpus.open(corpus, tiny) as opened:
        first = opened.search("stone", 5, hybrid=Hybrid())
    scores = [hit.score for hit in first]
    late = colbert.rerank("stone", [str(hit.text) for hit in first], first_scores=scores)
    command = [str(corpus), "stone", "-k", "5", "--hybrid", "--late-interaction", str(colbert_folder)]
    assert hits(*command) == [first[item.index].id for item in late]
    assert hits(*command, "--first-share", "1") == [hit.id for hit in first]


def test_a_share_of_the_first_order_needs_a_second(corpus: Path) -> None:
    with pytest.raises(SettingError, match="--first-share: there is no second order without --late-interaction"):
        hits(str(corpus), "stone", "--first-share", "0.5")


def test_a_token_index_is_no_embedded_corpus_and_nobody_is_told_to_delete_it(
    tmp_path: Path, colbert: MedColBERT, tiny: MedEmbed, corpus: Path
) -> None:
    TokenIndex.build(tmp_path / "tokens", ROWS, colbert).close()
    with pytest.raises(CorpusError, match="is not an embedded corpus: it is a whole token index, so give another"):
        EmbeddedCorpus.open(tmp_path / "tokens", tiny)
    with pytest.raises(CorpusError, match="is not a token index: it is a whole embedded corpus, so give another"):
        TokenIndex.open(corpus, colbert)
    with pytest.raises(SettingError, match="--first-share: for embedded corpora only"):
        hits(str(tmp_path / "tokens"), "stone", "--first-share", "0.5")


def test_a_corpus_without_texts_cannot_be_reranked(tmp_path: Path, tiny: MedEmbed, colbert_folder: Path) -> None:
    EmbeddedCorpus.build(tmp_path / "corpus", ROWS, tiny, Settings(store_text=False)).close()
    with pytest.raises(SettingError, match="reads the texts, and this corpus does not store them"):
        hits(str(tmp_path / "corpus"), "toe", "--late-interaction", str(colbert_folder))

"""Mistakes around stores, one error of ours each; and searching in a forked child."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from medembed import EmbeddedCorpus, FakeEngine, MedColBERT, MedEmbed, TokenIndex
from medembed.cli import app
from medembed.colbert.index import build as tokens
from medembed.colbert.index.build import TokenSettings
from medembed.corpus import embed
from medembed.corpus.embed import Settings
from medembed.corpus.hybrid import Hybrid
from medembed.errors import (
    CorpusDamagedError,
    CorpusError,
    InputFileError,
    InputTypeError,
    OverlongTextError,
    SettingError,
    VectorError,
)
from tests.colbert import folders
from tests.storage.conftest import Kind, row, rows

ROOT = Path(__file__).parents[2]


def test_a_text_that_is_too_long_is_named_by_file_and_line(tmp_path: Path, token_model: MedColBERT) -> None:
    source = tmp_path / "notes.csv"
    source.write_text("id,text\n" + "".join(f"n{i},fever\n" for i in range(20)) + f"long,{'pain ' * 600}\nlast,cough\n")
    says = r"notes.csv, line 22: the text has \d+ tokens, but the model reads"
    with MedEmbed(engine=FakeEngine(16), overlong="error") as model, pytest.raises(OverlongTextError, match=says):
        embed.index([str(source)], tmp_path / "c", model, Settings(shard_rows=8))
    with (
        MedColBERT(token_model.name, engine=FakeEngine(folders.HIDDEN), overlong="error") as late,
        pytest.raises(OverlongTextError, match=says),
    ):
        tokens.index([str(source)], tmp_path / "t", late, TokenSettings(shard_rows=8))


def test_models_of_the_other_kind_are_refused(tmp_path: Path, text_model: MedEmbed, token_model: Any) -> None:
    with pytest.raises(SettingError, match="a token index needs a MedColBERT, and this is a MedEmbed"):
        TokenIndex.build(tmp_path / "t", rows(3), text_model)  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="an embedded corpus needs a MedEmbed, and this is a MedColBERT"):
        EmbeddedCorpus.build(tmp_path / "c", rows(3), token_model)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("queries", "error", "says"),
    [
        (np.full((1, 16), np.nan, np.float32), VectorError, "NaN or infinity"),
        (np.full((2, 16), np.inf, np.float32), VectorError, "NaN or infinity"),
        (np.ones((1, 16), np.int8), InputTypeError, "are int8; expected floats"),
        (np.ones(16, np.float32), InputTypeError, r"shape \(16,\)"),
    ],
    ids=["nan", "infinity", "bytes", "one dimension"],
)
def test_query_vectors_that_mean_nothing(
    tmp_path: Path, text_model: MedEmbed, queries: Any, error: type[Exception], says: str
) -> None:
    with EmbeddedCorpus.build(tmp_path / "c", rows(3), text_model) as corpus, pytest.raises(error, match=says):
        corpus.search(queries)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_token_vectors_that_mean_nothing(tmp_path: Path, token_model: MedColBERT, value: float) -> None:
    with TokenIndex.build(tmp_path / "t", rows(3), token_model) as index:
        query = token_model.encode_query("fever")
        query[1, 2] = value
        with pytest.raises(VectorError, match="NaN or infinity"):
            index.search_vectors([query])


def test_an_empty_corpus_finds_nothing_in_any_way(tmp_path: Path, text_model: MedEmbed) -> None:
    with EmbeddedCorpus.build(tmp_path / "c", [], text_model) as corpus:
        for scan in ("auto", "exact", "int8", "binary"):
            if scan != "int8":  # the fake model has no ranges
                assert corpus.search("fever", scan=scan, filter={"line": 3}) == []
        assert corpus.search(["fever", "cough"], hybrid=Hybrid()) == [[], []]
        assert corpus.upsert([row(1)]).new == 1
        corpus.delete(["n1"])
        corpus.compact()
        assert (corpus.ids, corpus.verify(), len(corpus.manifest.shards)) == ([], [], 0)


def test_more_rows_than_there_are_cost_no_memory(kind: Kind, tmp_path: Path) -> None:
    with kind.build(tmp_path / "s", rows(20)) as store:
        assert len(store.search("fever", 2**31)) == 20


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (["delete", "STORE", "--ids-from", "IDS"], InputFileError, "ids.txt, line 2: not UTF-8"),
        (["export", "STORE", "-o", "nowhere/v.npy"], CorpusError, "make it first"),
        (["export", "STORE", "-o", "nowhere/v.parquet"], CorpusError, "make it first"),
        (["verify", "nowhere"], CorpusError, "is not an embedded corpus: make one"),
    ],
    ids=["ids", "npy", "parquet", "no store"],
)
def test_commands_on_what_is_not_there(
    kind: Kind, tmp_path: Path, arguments: list[str], error: type[Exception], says: str
) -> None:
    kind.build(tmp_path / "s", rows(3)).close()
    (tmp_path / "ids.txt").write_bytes("n1\nZürich".encode("latin-1"))
    known = {"STORE": str(tmp_path / "s"), "IDS": str(tmp_path / "ids.txt")}
    words = [known.get(word, str(tmp_path / word) if "nowhere" in word else word) for word in arguments]
    result = CliRunner().invoke(app, ["corpus", *words])
    assert isinstance(result.exception, error)
    assert says in str(result.exception)


FORKED = """
import os, signal, sys
from medembed import EmbeddedCorpus, FakeEngine, MedEmbed
model = MedEmbed(engine=FakeEngine(16))
corpus = EmbeddedCorpus.build(sys.argv[1], [{"id": str(i), "text": f"fever {i}"} for i in range(20)], model)
queries = model.encode_query(["fever 3"])
before = [hit.id for hit in corpus.search(queries, 5, scan="binary")[0]], [hit.id for hit in corpus.search(queries, 5)[0]]
child = os.fork()
if child == 0:
    signal.alarm(20)
    after = [hit.id for hit in corpus.search(queries, 5, scan="binary")[0]], [hit.id for hit in corpus.search(queries, 5)[0]]
    again = EmbeddedCorpus.open(sys.argv[1], model)
    os._exit(0 if after == before and len(again.ids) == 20 else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
def test_a_forked_child_searches_what_its_parent_has_searched(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", FORKED, str(tmp_path / "c")], env=environment, check=False, timeout=120
    )
    assert done.returncode == 0


def test_ids_that_are_no_text_are_refused_by_their_place(kind: Kind, tmp_path: Path) -> None:
    with kind.build(tmp_path / "s", rows(20)) as store:
        with pytest.raises(InputTypeError, match="id 1 is a int, not a str"):
            store.delete(["n3", 4])
        with pytest.raises(CorpusError, match=r"1 of 2 ids are not in .*number 1 of those given"):
            store.delete(["n3", "\udce9"])
        assert len(store) == 20


@pytest.mark.parametrize("kept", ['"ward": "string"', '"year": "int"'])
def test_a_manifest_of_other_columns_is_damaged(kind: Kind, tmp_path: Path, kept: str) -> None:
    """The one file of a store that no hash covers."""
    kind.build(tmp_path / "s", rows(9)).close()
    manifest = tmp_path / "s" / "manifest.json"
    name = kept.split('"')[1]
    manifest.write_text(manifest.read_text().replace(f'"{name}"', f'"{name}d"'))
    with (
        kind.open(tmp_path / "s") as store,
        pytest.raises(CorpusDamagedError, match="names other rows or columns than shards/"),
    ):
        store.search("fever")


@pytest.mark.parametrize("splitting", [{}, {"x": 1}, {"max_tokens": 64}, {"max_tokens": 64, "overlap": 0}])
def test_a_manifest_that_claims_passages_without_their_columns_is_damaged(
    kind: Kind, tmp_path: Path, splitting: dict[str, int]
) -> None:
    kind.build(tmp_path / "s", rows(3)).close()
    manifest = tmp_path / "s" / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "splitting": splitting}))
    with pytest.raises(CorpusDamagedError, match="cannot be read as the manifest"):
        kind.open(tmp_path / "s")


@pytest.mark.parametrize("key", ["deleted", "shards", "kept", "scope", "repeated_text", "encoding", "sha256", "n_rows"])
def test_a_manifest_with_a_misspelt_key_is_damaged(kind: Kind, tmp_path: Path, key: str) -> None:
    with kind.build(tmp_path / "s", rows(9)) as store:
        store.delete(["n3"])
    manifest = tmp_path / "s" / "manifest.json"
    told = manifest.read_text()
    assert f'"{key}"' in told
    manifest.write_text(told.replace(f'"{key}"', f'"{key}d"'))
    with pytest.raises(CorpusDamagedError, match="cannot be read as the manifest"):
        kind.open(tmp_path / "s")

"""`/v1/search` and the tool `search`: what they find and tell equals what the command and the library do."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from medembed import Columns, EmbeddedCorpus, Hybrid, MedColBERT, MedEmbed, Settings, TokenIndex
from medembed.cli import app
from medembed.clinical.split import Splitting
from medembed.serving import corpora, keys, schemas
from medembed.serving.keys import Key
from medembed.serving.served import Served
from tests import tiny_bert
from tests.serving.conftest import Serve, build, rows
from tests.serving.test_answers import ask, refusal

QUERIES = ["no swollen calf", "fever"]
SAYS = ("denies chest pain", "has chest pain", "no swollen calf", "swollen calf since day one", "mother with fever")


@pytest.fixture(scope="module")
def divided(tiny: MedEmbed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Passages of twelve notes of three patients, which no search reaches without a scope."""
    folder = tmp_path_factory.mktemp("corpora") / "divided"
    notes = [
        {
            "id": f"n{i}",
            "text": " ".join(f"{SAYS[(i + line) % 5].capitalize()}, line {line}." for line in range(12)),
            "patient": f"p{i % 3}",
        }
        for i in range(12)
    ]
    settings = Settings(columns=Columns(scope="patient"), splitting=Splitting(max_tokens=30))
    EmbeddedCorpus.build(folder, notes, tiny, settings)
    return folder


@pytest.fixture(scope="module")
def tokens(colbert_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A token index of the forty notes."""
    folder = tmp_path_factory.mktemp("corpora") / "tokens"
    with MedColBERT(colbert_folder, threads=1) as model:
        TokenIndex.build(folder, [{"id": row["id"], "text": row["text"]} for row in rows()], model)
    return folder


@pytest.fixture(scope="module")
def bare(tiny: MedEmbed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus without texts."""
    folder = tmp_path_factory.mktemp("corpora") / "bare"
    EmbeddedCorpus.build(folder, rows(), tiny, Settings(store_text=False))
    return folder


@pytest.fixture(scope="module")
def every(serve: Serve, notes: Path, divided: Path, tokens: Path, bare: Path, colbert_folder: Path) -> TestClient:
    """A server of all of them."""
    corpora = {"notes": notes, "divided": divided, "tokens": tokens, "bare": bare}
    return serve(corpora=corpora, late_interaction=str(colbert_folder))


SEARCHES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "as the command does": ({}, {"hybrid": Hybrid()}),
    "vectors alone": ({"hybrid": False}, {}),
    "hybrid": ({"hybrid": True}, {"hybrid": Hybrid()}),
    "a weight": ({"hybrid": {"weight": 0.5, "depth": 20}}, {"hybrid": Hybrid(0.5, 20)}),
    "where": ({"where": ["ward=icu"], "hybrid": False}, {"filter": {"ward": "icu"}}),
    "filter": ({"filter": {"ward": ["icu"], "patient": "p1"}}, {"filter": {"ward": "icu", "patient": "p1"}, "hybrid": Hybrid()}),
    "binary": ({"scan": "binary", "hybrid": False}, {"scan": "binary"}),
    "negated": ({"assertion": "negated"}, {"assertion": "negated", "hybrid": Hybrid()}),
    "no matter": ({"assertion": "any"}, {"assertion": "any", "hybrid": Hybrid()}),
    "a patient once": ({"group_by": "patient"}, {"group_by": "patient", "hybrid": Hybrid()}),
}  # fmt: skip


@pytest.mark.parametrize(("body", "options"), SEARCHES.values(), ids=SEARCHES)
def test_hits_are_those_of_search(
    every: TestClient, notes: Path, tiny: MedEmbed, body: dict[str, Any], options: dict[str, Any]
) -> None:
    told = ask(every, "/v1/search", query=QUERIES, corpus="notes", k=5, **body)
    schemas.SearchAnswer.model_validate(told)
    with EmbeddedCorpus.open(notes, tiny) as corpus:
        expected = corpus.search(QUERIES, 5, **options)
    assert [one["hits"] for one in told["results"]] == json.loads(
        json.dumps([list(map(asdict, some)) for some in expected])
    )
    assert told["usage"]["prompt_tokens"] > 0


def harmed(folder: Path, how: str) -> None:
    if how == "a changed shard":
        [shard] = (folder / "shards").iterdir()
        shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    elif how == "a missing shard":
        next((folder / "shards").iterdir()).unlink()
    elif how == "a broken manifest":
        (folder / "manifest.json").write_text("{")
    else:
        (folder / "shards" / "link").symlink_to("/etc")


@pytest.mark.parametrize(
    ("how", "status"),
    [("a changed shard", 503), ("a missing shard", 503), ("a broken manifest", 503), ("a link", 500)],
    ids=str,
)
def test_errors_of_a_corpus_call_it_by_its_name_alone(
    serve: Serve, tiny: MedEmbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, status: int
) -> None:
    folder = build(tmp_path / "cellar", tiny, rows())
    client = serve(corpora={"ward": folder})
    monkeypatch.setattr(corpora, "LOOK_S", 0)
    harmed(folder, how)
    told, message = refusal(client, "/v1/search", {"query": "fever"})
    assert told == status
    assert "ward/" in message
    assert "cellar" not in message


def test_a_corpus_that_another_model_has_replaced_is_not_searched_with_the_first(
    serve: Serve, tiny: MedEmbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both models have vectors of one length: nothing else than the check would notice."""
    folder = build(tmp_path / "cellar", tiny, rows())
    client = serve(corpora={"ward": folder})
    monkeypatch.setattr(corpora, "LOOK_S", 0)
    assert client.post("/v1/search", json={"query": "fever"}).status_code == 200
    with MedEmbed(tiny_bert.make(tmp_path / "vault", pooling="cls_token"), threads=1) as other:
        EmbeddedCorpus.build(
            folder, rows(), other, Settings(columns=Columns(kept={"patient": "string"}), mode="overwrite")
        )
    for _ in range(2):
        told, message = refusal(client, "/v1/search", {"query": "fever"})
        assert told == 422
        assert message.startswith("ward is encoded with another model")
        assert "cellar" not in message
        assert "vault" not in message


def by_command(folder: Path, *words: str) -> list[dict[str, Any]]:
    result = CliRunner().invoke(app, ["search", str(folder), QUERIES[0], "--json", "-k", "5", "--threads", "1", *words])
    assert result.exit_code == 0, result.output
    hits: list[dict[str, Any]] = json.loads(result.stdout)["hits"]
    return [{name: value for name, value in hit.items() if name != "marks"} for hit in hits]


def by_tool(client: TestClient, **given: Any) -> list[dict[str, Any]]:
    mcp_server = pytest.importorskip("medembed.serving.mcp_server", reason="the extra mcp is not installed")
    served: Served = client.app.state.served  # type: ignore[attr-defined]
    tools = mcp_server.Tools(served, Key(""), {})
    hits: list[dict[str, Any]] = asyncio.run(tools.search(QUERIES[0], k=5, **given))["hits"]
    return hits


Alike = tuple[str, list[str], dict[str, Any], dict[str, Any] | None]
ALIKE: dict[str, Alike] = {
    "nothing said": ("notes", [], {}, {}),
    "vectors alone": ("notes", ["--dense"], {"hybrid": False}, {"hybrid": False}),
    "no texts": ("bare", [], {}, {}),
    "a token index": ("tokens", [], {}, {}),
    "a scope": ("divided", ["--scope", "patient=p1"], {"scope": {"patient": "p1"}}, {"scope": {"patient": "p1"}}),
    "all": ("divided", ["--scope", "all"], {"scope": "all"}, {"scope": "all"}),
    "context": ("divided", ["--scope", "all", "--context", "2"], {"scope": "all", "context": 2}, {"scope": "all", "context": 2}),
    "groups": ("divided", ["--scope", "all", "--group-by", "note"], {"scope": "all", "group_by": "note"}, {"scope": "all", "group_by": "note"}),
    "assertion": ("notes", ["--assertion", "any"], {"assertion": "any"}, {"assertion": "any"}),
    "a new order": ("notes", ["--late-interaction", "COLBERT"], {"rerank": True}, None),
    "a new order of vectors": ("notes", ["--dense", "--late-interaction", "COLBERT"], {"rerank": True, "hybrid": False}, None),
    "a new order, a share": ("notes", ["--late-interaction", "COLBERT", "--first-share", "0.6"], {"rerank": {"first_share": 0.6}}, None),
    "a new order of few": ("notes", ["--late-interaction", "COLBERT", "--depth", "7"], {"rerank": {"depth": 7}}, None),
    "a new order of groups": ("notes", ["--late-interaction", "COLBERT", "--group-by", "ward"], {"rerank": True, "group_by": "ward"}, None),
    "explanation": ("notes", ["--explain", "--late-interaction", "COLBERT"], {"rerank": True, "explain": True}, None),
    "explanation of a token index": ("tokens", ["--explain"], {"explain": True}, None),
}  # fmt: skip


@pytest.mark.parametrize(("name", "words", "body", "given"), ALIKE.values(), ids=ALIKE)
def test_command_server_and_tool_answer_alike(
    every: TestClient,
    colbert_folder: Path,
    name: str,
    words: list[str],
    body: dict[str, Any],
    given: dict[str, Any] | None,
) -> None:
    served: Served = every.app.state.served  # type: ignore[attr-defined]
    words = [str(colbert_folder) if word == "COLBERT" else word for word in words]
    expected = by_command(served.serving.corpora[name], *words)
    assert len(expected) > 1
    told = ask(every, "/v1/search", query=QUERIES[0], corpus=name, k=5, **body)
    schemas.SearchAnswer.model_validate(told)
    found = told["results"][0]["hits"]
    assert found == [approximately(hit) for hit in expected]
    if given is not None:
        assert json.loads(json.dumps(by_tool(every, corpus=name, **given))) == [approximately(hit) for hit in expected]


def approximately(value: Any) -> Any:
    """The same with numbers that may differ in their last digits: batches are of other sizes."""
    if isinstance(value, dict):
        return {name: approximately(one) for name, one in value.items()}
    if isinstance(value, list):
        return [approximately(one) for one in value]
    return pytest.approx(value, abs=2e-4) if isinstance(value, float) else value


def test_without_texts_nothing_of_them_is_told(every: TestClient) -> None:
    for options in ({"context": 2}, {"explain": True}, {"rerank": True}):
        body = {"query": QUERIES[0], "corpus": "divided", "scope": "all", "k": 5, **options}
        bare = every.post("/v1/search", json={**body, "return_text": False})
        schemas.SearchAnswer.model_validate(bare.json())
        assert not any(word in bare.text.lower() for word in ("calf", "chest", "fever"))
        assert [hit["id"] for hit in bare.json()["results"][0]["hits"]] == [
            hit["id"] for hit in ask(every, "/v1/search", **body)["results"][0]["hits"]
        ]


REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "nobody's rows": ({"corpus": "divided"}, 422, '"scope": "all"'),
    "no values": ({"corpus": "divided", "scope": {}}, 422, '"scope": "all"'),
    "another column": ({"corpus": "divided", "scope": {"ward": "icu"}}, 422, "divided by 'patient'"),
    "every": ({"corpus": "divided", "scope": "every"}, 422, "scope"),
    "context of whole notes": ({"corpus": "notes", "context": 1}, 422, "--split"),
    "much context": ({"corpus": "divided", "scope": "all", "context": 10, "k": 500}, 413, "too many rows"),
    "too much context": ({"corpus": "divided", "scope": "all", "context": 11}, 422, "context"),
    "groups of many queries": ({"corpus": "notes", "group_by": "ward", "query": ["fever"] * 11}, 413, "too many rows"),
    "groups of nothing": ({"corpus": "notes", "group_by": "doctor"}, 422, "cannot be grouped"),
    "too much to explain": ({"corpus": "notes", "explain": True, "k": 101}, 413, "explain"),
    "explained without texts": ({"corpus": "bare", "explain": True}, 422, "reads the texts"),
    "ranked without texts": ({"corpus": "bare", "rerank": True}, 422, "reads the texts"),
    "words without texts": ({"corpus": "bare", "hybrid": True}, 422, "--store-text"),
    "asserted without texts": ({"corpus": "bare", "assertion": "negated"}, 422, "--store-text"),
    "another assertion": ({"corpus": "notes", "assertion": "perhaps"}, 422, "assertion"),
    "a share above 1": ({"corpus": "notes", "rerank": {"first_share": 1.5}}, 422, "less than or equal to 1"),
    "words of a token index": ({"corpus": "tokens", "hybrid": True}, 400, "token index"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "status", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_done_is_refused(every: TestClient, body: dict[str, Any], status: int, words: str) -> None:
    told = refusal(every, "/v1/search", {"query": "fever", **body})
    assert told[0] == status
    assert words in told[1]


def test_a_server_without_ranking_neither_ranks_nor_explains(serve: Serve, notes: Path) -> None:
    client = serve(corpora={"notes": notes})
    for options in ({"rerank": True}, {"explain": True}):
        status, message = refusal(client, "/v1/search", {"query": "fever", **options})
        assert (status, "--late-interaction" in message) == (501, True)


def test_groups_are_looked_for_among_so_many_rows_alone(every: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one value has most rows, the library looks at every row of the corpus; a server's request may not."""
    asked_for: list[int] = []
    own = EmbeddedCorpus.search

    def counted(self: EmbeddedCorpus, queries: Any, k: int = 10, **options: Any) -> Any:
        asked_for.append(k)
        return own(self, queries, k, **options)

    monkeypatch.setattr(EmbeddedCorpus, "search", counted)
    ask(every, "/v1/search", query="fever", corpus="notes", k=900, group_by="ward")
    assert max(asked_for) == 1000


# ------------------------------------------------------------------------------------------- whose rows

Search = Callable[..., Any]


@pytest.fixture(scope="module")
def bound(serve: Serve, divided: Path, notes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Search, Path]:
    """Searches with a key of some name, and the audit log."""
    folder = tmp_path_factory.mktemp("bound")
    reach: dict[str, dict[str, Any]] = {"all": {}, "two": {"patient": ["p0", "p1"]}, "one": {"patient": None}}
    known = {
        name: keys.add(folder / "keys.json", name, corpora=None, scope=scope, may=keys.USES)
        for name, scope in reach.items()
    }
    client = serve(corpora={"divided": divided, "notes": notes}, keys=folder / "keys.json", audit=folder / "log")

    def search(key: str, **body: Any) -> Any:
        headers = {"authorization": f"Bearer {known[key]}"}
        return client.post("/v1/search", json={"query": "chest pain", "corpus": "divided", **body}, headers=headers)

    return search, folder / "log"


def patients(answer: Any) -> set[str]:
    assert answer.status_code == 200, answer.text
    return {hit["kept"]["patient"] for one in answer.json()["results"] for hit in one["hits"]}


def test_all_rows_are_for_keys_that_are_bound_to_none(bound: tuple[Search, Path]) -> None:
    search, _ = bound
    assert patients(search("all", scope="all", k=50)) == {"p0", "p1", "p2"}
    for name in ("two", "one"):
        for corpus in ("divided", "notes"):
            assert search(name, scope="all", corpus=corpus).status_code == 403
    assert search("all").status_code == 422
    assert search("two", scope={"patient": ["p0", "p2"]}).status_code == 403


SEVERAL: dict[str, dict[str, Any]] = {
    "vectors": {"hybrid": False},
    "hybrid": {"hybrid": True},
    "an assertion": {"assertion": "negated"},
    "context": {"context": 3},
    "groups": {"group_by": "patient"},
    "a wider filter": {"filter": {"patient": ["p0", "p1", "p2"]}},
    "binary": {"scan": "binary", "hybrid": False},
}


@pytest.mark.parametrize("options", SEVERAL.values(), ids=SEVERAL)
def test_several_patients_are_a_scope_of_their_own(
    bound: tuple[Search, Path], divided: Path, tiny: MedEmbed, options: dict[str, Any]
) -> None:
    """Nobody else's rows are found, counted or shown beside, and the order is that of the library's own filter."""
    search, log = bound
    answer = search("two", scope={"patient": ["p1", "p0"]}, k=12, **options)
    assert patients(answer) == {"p0", "p1"}
    (found,) = answer.json()["results"]
    with EmbeddedCorpus.open(divided, tiny) as corpus:
        theirs = set(corpus.ids_in({"patient": "p2"}))
        given = set(json.loads(log.read_text().splitlines()[-1])["hits"][0])
        given |= set(json.loads(log.read_text().splitlines()[-1]).get("context", [[]])[0])
        shown = {one["id"] for hit in found["hits"] for some in (hit.get("around") or {}).values() for one in some}
        assert given == {hit["id"] for hit in found["hits"]} | shown
        assert not theirs & given
        assert len(shown) > 0 or "context" not in options
        own = {name: value for name, value in options.items() if name in ("assertion", "group_by", "scan")}
        how = None if options.get("hybrid") is False else Hybrid()
        expected = corpus.search("chest pain", 12, filter={"patient": ["p0", "p1"]}, scope="all", hybrid=how, **own)
    assert [(hit["id"], hit["others"]) for hit in found["hits"]] == [(hit.id, hit.others) for hit in expected]


def test_context_never_leaves_the_scope_of_a_corpus_that_is_not_divided(
    serve: Serve, tiny: MedEmbed, tmp_path: Path
) -> None:
    """A key may be bound to a column by which passages of one note differ: their section."""
    text = "HISTORY\n" + "Chest pain for days. " * 12 + "\n\nPLAN\n" + "Secret of the plan. " * 12
    settings = Settings(splitting=Splitting(max_tokens=40))
    EmbeddedCorpus.build(tmp_path / "notes", [{"id": "n", "text": text}], tiny, settings)
    key = keys.add(tmp_path / "keys.json", "k", corpora=None, scope={"section": ["history"]}, may=["search"])
    client = serve(corpora={"notes": tmp_path / "notes"}, keys=tmp_path / "keys.json")
    body = {"query": "chest pain", "scope": {"section": "history"}, "context": 10, "k": 3}
    answer = client.post("/v1/search", json=body, headers={"authorization": f"Bearer {key}"})
    assert answer.status_code == 200
    assert any(hit["around"]["before"] or hit["around"]["after"] for hit in answer.json()["results"][0]["hits"])
    assert "Secret" not in answer.text

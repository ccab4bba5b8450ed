"""Who may ask for what: keys, scopes, the audit log."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from medembed.cli import app
from medembed.errors import ServingError, SettingError
from medembed.serving import keys, settings
from medembed.serving.audit import AuditLog
from medembed.serving.served import Served
from tests.serving.conftest import Serve

KEYS: dict[str, dict[str, Any]] = {
    "all": {},
    "patient-0": {"scope": {"patient": ["p0"]}, "may": ["search"]},
    "any-one": {"scope": {"patient": None}},
    "elsewhere": {"corpora": ["other"]},
    "embeds": {"may": ["embed"]},
}


class Ward:
    """A server with keys and a log."""

    def __init__(self, serve: Serve, notes: Path, colbert: Path, folder: Path) -> None:
        path, self.log = folder / "keys.json", folder / "audit.jsonl"
        settings: dict[str, Any] = {"corpora": None, "scope": {}, "may": keys.USES}
        self.keys = {name: keys.add(path, name, **{**settings, **given}) for name, given in KEYS.items()}
        self.file = path
        self.client: TestClient = serve(
            corpora={"notes": notes}, late_interaction=str(colbert), keys=path, audit=self.log
        )

    def post(self, key: str | None, path: str, **body: Any) -> Any:
        headers = {} if key is None else {"authorization": f"Bearer {self.keys.get(key, key)}"}
        return self.client.post(path, json=body, headers=headers)

    def search(self, key: str, **body: Any) -> Any:
        return self.post(key, "/v1/search", **{"query": "swollen calf", "k": 40, **body})

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@pytest.fixture(scope="module")
def ward(serve: Serve, notes: Path, colbert_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Ward:
    return Ward(serve, notes, colbert_folder, tmp_path_factory.mktemp("ward"))


def found(answer: Any) -> set[str]:
    assert answer.status_code == 200, answer.text
    return {hit["kept"]["patient"] for one in answer.json()["results"] for hit in one["hits"]}


def test_a_request_without_a_key_or_with_an_unknown_one_is_refused(ward: Ward) -> None:
    for key in (None, "me_unknown", "x" * 100_000, "ä"):
        headers = [] if key is None else [(b"authorization", f"Bearer {key}".encode())]
        for path in ("/v1/models", "/metrics", "/info"):
            answer = ward.client.get(path, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
    assert ward.client.get("/health").status_code == 200


def test_the_file_holds_no_key_and_is_its_owners(ward: Ward) -> None:
    content = ward.file.read_text()
    assert not any(key in content for key in ward.keys.values())
    assert ward.file.stat().st_mode & 0o077 == 0


ESCAPES: dict[str, dict[str, Any]] = {
    "none": {},
    "empty": {"scope": {}},
    "null": {"scope": None},
    "another patient": {"scope": {"patient": "p1"}},
    "both": {"scope": {"patient": ["p0", "p1"]}},
    "another column": {"scope": {"ward": "icu"}},
    "an empty value": {"scope": {"patient": ""}},
    "no values": {"scope": {"patient": []}},
    "a where in its place": {"where": ["patient=p0"]},
    "a filter in its place": {"filter": {"patient": "p0"}},
}


@pytest.mark.parametrize("body", ESCAPES.values(), ids=ESCAPES)
def test_a_bound_key_gets_nothing_without_its_scope(ward: Ward, body: dict[str, Any]) -> None:
    assert ward.search("patient-0", **body).status_code in (403, 422)


WIDER: dict[str, dict[str, Any]] = {
    "alone": {},
    "where names another": {"where": ["patient=p1"]},
    "where names another too": {"where": ["patient=p0", "patient=p1"]},
    "where excludes": {"where": ["patient!=p0"]},
    "filter names another": {"filter": {"patient": ["p0", "p1"]}},
    "several queries": {"query": ["swollen calf", "fever"]},
    "hybrid": {"hybrid": True},
    "binary": {"scan": "binary"},
    "a new order": {"rerank": True},
}


@pytest.mark.parametrize("body", WIDER.values(), ids=WIDER)
def test_no_search_leads_out_of_the_scope(ward: Ward, body: dict[str, Any]) -> None:
    assert found(ward.search("patient-0", scope={"patient": "p0"}, **body)) <= {"p0"}
    assert found(ward.search("any-one", scope={"patient": ["p1"]}, **{**body, "where": []})) <= {"p1"}


def test_a_scope_finds_what_is_in_it(ward: Ward) -> None:
    assert len(ward.search("patient-0", scope={"patient": "p0"}).json()["results"][0]["hits"]) == 20
    assert found(ward.search("all")) == {"p0", "p1"}
    assert ward.search("any-one").status_code == 403
    assert ward.search("any-one", scope={"patient": ["p0", "p1"]}).status_code == 403


def test_a_key_reaches_its_corpora_and_uses_alone(ward: Ward) -> None:
    assert ward.search("elsewhere", corpus="notes").status_code == 404
    assert (
        ward.search("elsewhere", corpus="nothing").json()["message"]
        == ward.search("elsewhere", corpus="notes").json()["message"]
    )
    assert (
        ward.client.get("/v1/models", headers={"authorization": f"Bearer {ward.keys['elsewhere']}"}).json()["corpora"]
        == []
    )
    assert ward.search("embeds").status_code == 403
    assert ward.post("patient-0", "/v1/embeddings", input="a").status_code == 403
    assert ward.post("embeds", "/v1/embeddings", input="a").status_code == 200
    assert ward.post("embeds", "/v1/rerank", query="a", documents=["b"]).status_code == 403


def test_the_log_says_who_asked_for_what_and_holds_no_text(ward: Ward) -> None:
    before = len(ward.lines())
    secret = "unmistakable"
    ward.search("patient-0", query=secret, scope={"patient": "p0"}, k=2)
    ward.post("all", "/v1/embeddings", input=[secret, "pain " * 300])
    ward.post("all", "/v1/embeddings", input=secret, **{secret: 1})
    ward.post("me_unknown", "/v1/embeddings", input=secret)
    searched, embedded, wrong, unknown = ward.lines()[before:]
    assert searched["key"] == "patient-0"
    assert searched["scope"] == {"patient": ["p0"]}
    assert len(searched["hits"][0]) == 2
    assert (embedded["key"], embedded["texts"], embedded["truncated_texts"]) == ("all", 2, 1)
    assert embedded["tokens"] > 2
    assert {"time", "route", "status", "ms"} <= embedded.keys()
    assert (wrong["status"], unknown["status"], unknown["key"]) == (422, 401, "")
    assert secret not in ward.log.read_text()
    assert ward.log.stat().st_mode & 0o077 == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_refuses_to_serve_until_there_is_room(serve: Serve, tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    client = serve(audit=log)
    served: Served = client.app.state.served  # type: ignore[attr-defined]
    assert client.post("/v1/embeddings", json={"input": "a"}).status_code == 200
    own, served.audit._handle = served.audit._handle, os.open("/dev/full", os.O_WRONLY)
    batches = served.metrics.batches.labels("dense-short")._value.get()
    for _ in range(3):
        answer = client.post("/v1/embeddings", json={"input": "a"})
        assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
        assert "embedding" not in answer.text
    # the first was computed before its line failed, the others were not
    assert served.metrics.batches.labels("dense-short")._value.get() == batches + 1
    os.close(served.audit._handle)
    served.audit._handle = own
    assert client.post("/v1/embeddings", json={"input": "a"}).status_code == 200
    lines = [json.loads(line) for line in log.read_text().splitlines() if line]
    assert [line.get("event", line.get("status")) for line in lines] == [200, "audit log resumed", 200]


def test_a_line_that_was_cut_does_not_swallow_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = AuditLog(tmp_path / "audit.jsonl")
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, line: write(handle, line[:10]))
    with pytest.raises(settings_error()):
        log.write({"key": "a"})
    monkeypatch.undo()
    log.write({"key": "b"})
    assert json.loads((tmp_path / "audit.jsonl").read_text().splitlines()[1])["key"] == "b"
    log.close()


def settings_error() -> type[Exception]:
    from medembed.errors import RefusedError

    return RefusedError


BAD_FILES = {
    "no JSON": "{",
    "a list": "[]",
    "an unknown field": '{"keys": [], "secret": 1}',
    "a hash that is none": '{"keys": [{"name": "a", "sha256": "secret"}]}',
    "a use that is none": json.dumps({"keys": [{"name": "a", "sha256": "0" * 64, "may": ["secret"]}]}),
}


@pytest.mark.parametrize("content", BAD_FILES.values(), ids=BAD_FILES)
def test_a_file_that_is_none_of_keys_is_refused_without_quoting_it(tmp_path: Path, content: str) -> None:
    (tmp_path / "keys.json").write_text(content)
    with pytest.raises(ServingError) as caught:
        keys.Keyring(tmp_path / "keys.json")
    assert "secret" not in str(caught.value)


def test_keys_are_made_listed_and_removed_by_command(tmp_path: Path) -> None:
    runner, file = CliRunner(), str(tmp_path / "keys.json")
    made = runner.invoke(
        app,
        [
            "keys",
            "add",
            file,
            "ward",
            "--corpus",
            "notes",
            "--scope",
            "patient=p0",
            "--scope",
            "ward",
            "--may",
            "search",
        ],
    )
    key = made.stdout.strip()
    found = keys.Keyring(Path(file)).find(f"Bearer {key}")
    assert (found.name, found.corpora, found.may) == ("ward", frozenset({"notes"}), frozenset({"search"}))
    assert found.scope == {"patient": ["p0"], "ward": None}
    assert "patient=p0, ward=…" in runner.invoke(app, ["keys", "list", file]).stdout
    assert isinstance(runner.invoke(app, ["keys", "add", file, "ward"]).exception, ServingError)
    assert runner.invoke(app, ["keys", "remove", file, "ward"]).exit_code == 0
    assert keys.read(Path(file)).keys == []


def test_a_changed_file_counts_once_it_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    first = keys.add(file, "first", corpora=None, scope={}, may=keys.USES)
    ring = keys.Keyring(file)
    keys.remove(file, "first")
    second = keys.add(file, "second", corpora=None, scope={}, may=keys.USES)
    assert ring.find(f"Bearer {first}").name == "first"
    ring.reload()
    assert ring.find(f"bearer  {second} ").name == "second"
    file.write_text("broken")
    with pytest.raises(ServingError):
        ring.reload()
    assert ring.find(f"Bearer {second}").name == "second"


def test_other_machines_are_served_with_keys_or_when_it_is_said() -> None:
    for host in ("0.0.0.0", "192.168.1.17", "::", "ward.example.org"):
        with pytest.raises(SettingError, match="medembed keys add"):
            settings.check_open(host, None, open_to_all=False)
        settings.check_open(host, Path("keys.json"), open_to_all=False)
        settings.check_open(host, None, open_to_all=True)
    for host in ("127.0.0.1", "::1", "localhost", "127.1.2.3"):
        settings.check_open(host, None, open_to_all=False)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8321", 200),
        ("127.0.0.1", 200),
        ("[::1]:8321", 200),
        ("evil.example.org", 403),
        ("", 403),
        ("localhost.evil.org:80", 403),
    ],
)
def test_pages_of_other_sites_reach_no_server_without_keys(client: TestClient, host: str, status: int) -> None:
    assert client.get("/v1/models", headers={"host": host}).status_code == status


SITE, OTHER = "https://wiki.example.org", "https://evil.example.org"
PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "authorization, content-type"}


@pytest.mark.parametrize(
    ("origins", "origin", "let_in"), [((SITE,), SITE, True), ((SITE,), OTHER, False), ((), SITE, False)]
)
def test_pages_of_named_sites_alone_are_let_in(
    serve: Serve, tmp_path: Path, origins: tuple[str, ...], origin: str, let_in: bool
) -> None:
    key = keys.add(tmp_path / "keys.json", "page", corpora=None, scope={}, may=keys.USES)
    client = serve(keys=tmp_path / "keys.json", origins=origins)
    asked = client.options("/v1/embeddings", headers={"origin": origin, **PREFLIGHT})
    assert (asked.status_code == 200) is let_in
    for headers, status in (({"authorization": f"Bearer {key}"}, 200), ({}, 401)):
        answer = client.post("/v1/embeddings", json={"input": "a"}, headers={"origin": origin, **headers})
        assert answer.status_code == status
        assert answer.headers.get("access-control-allow-origin") == (origin if let_in else None)
        assert "access-control-allow-credentials" not in answer.headers


def test_an_origin_is_a_site_and_no_pattern() -> None:
    assert settings.checked_origins(["http://127.0.0.1:8000", SITE]) == ("http://127.0.0.1:8000", SITE)
    for given in (
        "*",
        "null",
        "wiki.example.org",
        f"{SITE}/",
        f"{SITE}/try",
        "https://",
        "file:///home",
        "",
        "https://*.example.org ",
    ):
        with pytest.raises(SettingError, match="--allow-origin"):
            settings.checked_origins([given])

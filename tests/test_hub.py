"""The hub code against a stand-in hub on this machine, and offline."""

import hashlib
import json
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path

import pytest

from medembed import MedEmbed
from medembed.checkpoints import hub
from medembed.checkpoints.registry import MODELS
from medembed.errors import ModelNotCachedError
from tests import tiny_bert

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "clinic/tiny"


class StandIn(BaseHTTPRequestHandler):
    """As much of the hub's HTTP interface as a download uses."""

    folder: Path
    requests: list[str]

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        type(self).requests.append(path)
        if path.startswith(f"/api/models/{REPO}"):
            names = [str(p.relative_to(self.folder)) for p in sorted(self.folder.rglob("*")) if p.is_file()]
            if "/tree/" in path:
                tree = [
                    {"type": "file", "path": name, "size": (self.folder / name).stat().st_size, "oid": "0" * 40}
                    for name in names
                ]
                self._send(json.dumps(tree).encode(), body=body)
                return
            self._send(
                json.dumps({"id": REPO, "sha": COMMIT, "siblings": [{"rfilename": n} for n in names]}).encode(),
                body=body,
            )
            return
        lead = f"/{REPO}/resolve/{COMMIT}/"
        found = self.folder / path.removeprefix(lead)
        if not path.startswith(lead) or not found.is_file():
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.end_headers()
            return
        self._send(found.read_bytes(), body=body)

    def _send(self, content: bytes, *, body: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def stand_in(tmp_path: Path) -> Iterator[tuple[str, Path, list[str]]]:
    folder = tiny_bert.make(tmp_path / "repository")
    (folder / "evil.py").write_text("raise SystemExit")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    handler = type("Handler", (StandIn,), {"folder": folder, "requests": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", folder, handler.requests  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def secured(stand_in: tuple[str, Path, list[str]], tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The same hub behind TLS, its certificate signed by an authority that no machine knows. Address, authority."""
    _, folder, _ = stand_in
    openssl = shutil.which("openssl")
    if not openssl:
        pytest.skip("openssl makes the certificates, and is not here")
    place = tmp_path / "certificates"
    place.mkdir()
    (place / "san").write_text("subjectAltName=IP:127.0.0.1")
    request = [openssl, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj"]
    authority = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign"]
    for command in (
        [*request, "/CN=the house", "-x509", *authority, "-days", "2", "-keyout", "ca.key", "-out", "ca.pem"],
        [*request, "/CN=127.0.0.1", "-keyout", "hub.key", "-out", "hub.csr"],
        [openssl, "x509", "-req", "-in", "hub.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
         "-extfile", "san", "-out", "hub.pem"],
    ):  # fmt: skip
        subprocess.run(command, cwd=place, check=True, capture_output=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (StandIn,), {"folder": folder, "requests": []}))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(place / "hub.pem", place / "hub.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}", place / "ca.pem"
    server.shutdown()
    server.server_close()
    thread.join()


def run(
    endpoint: str, cache: Path, code: str, *, offline: bool = False, authority: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the hub client reads its settings at import."""
    environment = {
        "PATH": "/usr/bin:/bin", "HOME": str(cache), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1" if offline else "0",
    }  # fmt: skip
    if authority is not None:
        environment[TRUSTED] = str(authority)
    script = f"from medembed import MedEmbed\ncache = {str(cache)!r}\n{code}"
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, env=environment, check=False
    )


# the hub's client asks through requests before its version 1, and through httpx since
TRUSTED, UNREACHED = (
    ("REQUESTS_CA_BUNDLE", "ConnectionError")
    if version("huggingface-hub").startswith("0.")
    else ("SSL_CERT_FILE", "ConnectError")
)
LOAD = f"m = MedEmbed({REPO!r}, cache_dir=cache, threads=1); print(m.revision, m.encode('pain').shape)"
LOADED = f"{COMMIT} (64,)"


def test_download_then_offline_without_a_request(stand_in: tuple[str, Path, list[str]], tmp_path: Path) -> None:
    endpoint, _, requests = stand_in
    cache = tmp_path / "cache"
    ran = run(endpoint, cache, LOAD)
    assert ran.stdout.strip() == LOADED, ran.stderr
    fetched = {path.name for path in cache.rglob("*")}
    assert "model.safetensors" in fetched
    assert not {"evil.py", "pytorch_model.bin"} & fetched
    assert json.loads((cache / "medembed-revisions.json").read_text()) == {REPO: COMMIT}
    requests.clear()
    assert run(endpoint, cache, LOAD).stdout.strip() == LOADED
    assert requests == []
    assert run(endpoint, cache, LOAD, offline=True).stdout.strip() == LOADED
    assert run(endpoint, cache, LOAD.replace("threads", "local_files_only=True, threads")).stdout.strip() == LOADED


def test_a_hub_behind_an_unknown_authority_says_how_to_trust_it(secured: tuple[str, Path], tmp_path: Path) -> None:
    endpoint, authority = secured
    refused = run(endpoint, tmp_path / "cache", LOAD)
    host = endpoint.removeprefix("https://")
    message = refused.stderr.strip().splitlines()[-1]
    assert "ModelNotCachedError" in message
    assert f"the certificate of {host} cannot be verified" in message
    assert f"{TRUSTED}=house-ca.pem medembed models download {REPO}" in message
    trusted = run(endpoint, tmp_path / "cache", LOAD, authority=authority)
    assert trusted.stdout.strip() == LOADED, trusted.stderr


def test_a_failure_of_another_kind_is_no_certificates(tmp_path: Path) -> None:
    ran = run("https://127.0.0.1:9", tmp_path / "cache", LOAD)
    assert "downloading failed" in ran.stderr
    assert TRUSTED not in ran.stderr


def test_a_download_cut_off_before_the_weights_is_taken_up_again(
    stand_in: tuple[str, Path, list[str]], tmp_path: Path
) -> None:
    endpoint, _, _ = stand_in
    cache = tmp_path / "cache"
    run(endpoint, cache, LOAD)
    for path in cache.rglob("model.safetensors"):
        path.unlink()
    assert run(endpoint, cache, LOAD).stdout.strip() == LOADED


def test_a_repository_of_pickles_is_refused_before_anything_is_fetched(
    stand_in: tuple[str, Path, list[str]], tmp_path: Path
) -> None:
    endpoint, folder, requests = stand_in
    (folder / "model.safetensors").unlink()
    ran = run(endpoint, tmp_path / "cache", LOAD)
    assert "UnsafeWeightsError" in ran.stderr
    assert not any("/resolve/" in path for path in requests)


def test_offline_and_not_cached_says_where_it_looked_and_the_ways_out(tmp_path: Path) -> None:
    with pytest.raises(ModelNotCachedError) as caught:
        MedEmbed("small", cache_dir=tmp_path, local_files_only=True)
    message = str(caught.value)
    commit = MODELS["small"].revision
    for part in (
        f"at revision {commit}",
        str(tmp_path),
        f"hf download abhinand/MedEmbed-small-v0.1 --revision {commit}",
        "MedEmbed('mini')",
    ):
        assert part in message
    assert isinstance(caught.value, FileNotFoundError)


def test_no_network_says_so(tmp_path: Path) -> None:
    ran = run("http://127.0.0.1:9", tmp_path / "cache", LOAD)
    assert "ModelNotCachedError" in ran.stderr
    assert f"downloading failed ({UNREACHED}" in ran.stderr


def test_a_cache_made_by_other_tools_is_used(tiny_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models--clinic--tiny"
    shutil.copytree(tiny_folder, folder / "snapshots" / COMMIT)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)
    assert hub.is_cached(REPO, None, str(tmp_path))
    assert MedEmbed(REPO, cache_dir=tmp_path, local_files_only=True, threads=1).revision == COMMIT
    with pytest.raises(ModelNotCachedError, match="at revision v2"):
        MedEmbed(REPO, cache_dir=tmp_path, local_files_only=True, revision="v2")

"""A server listens on loopback alone, answers, and opens no connection of its own."""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.no_network import tracing
from tests.no_network.unasked import assert_nothing

pytest.importorskip("starlette")

pytestmark = pytest.mark.skipif(tracing.missing() is not None, reason=tracing.missing() or "")

SERVED = """
import json, pathlib, re, subprocess, sys, urllib.request
words = ["-m", "medembed", "serve", "--port", "0", "--threads", "1", "--audit", "audit.jsonl"]
server = subprocess.Popen([sys.executable, *words], stderr=subprocess.PIPE, text=True)
try:
    told = server.stderr.readline()
    address = re.search(r"on (http://[\\d.:]+)", told)[1]
    body = json.dumps({"input": ["pain"]}).encode()
    asked = urllib.request.Request(address + "/v1/embeddings", body, {"Content-Type": "application/json"})
    assert len(json.load(urllib.request.urlopen(asked))["data"][0]["embedding"]) == 384
    tables = [pathlib.Path("/proc/net/tcp").read_text(), pathlib.Path("/proc/net/tcp6").read_text()]
    port = f":{int(address.rsplit(':', 1)[1]):04X} "
    lines = [line for table in tables for line in table.splitlines() if port in line and " 0A " in line]
    assert [line.split()[1].split(":")[0] for line in lines] == ["0100007F"], lines
finally:
    server.terminate()
    server.wait()
assert "pain" not in pathlib.Path("audit.jsonl").read_text()
"""


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="medembed-traced-") as folder:
        yield Path(folder)


def test_a_server_listens_on_loopback_and_sends_nothing(place: Path) -> None:
    observed = tracing.observe([sys.executable, "-c", SERVED], place)
    assert_nothing(observed, place, opens_sockets=True, loopback=True)

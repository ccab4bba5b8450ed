"""With a model on this disk, no socket is opened: not by this library, not by openvino's telemetry."""

import shutil
import subprocess
import sys
from pathlib import Path

from tests import tiny_bert

COMMIT = "0123456789abcdef0123456789abcdef01234567"

SCRIPT = """
import sys
opened = []
def watch(event, args):
    if event.startswith("socket."):
        opened.append((event, args[1:] if event == "socket.__new__" else args))
sys.addaudithook(watch)
from medembed import MedEmbed, demo
with MedEmbed(threads=2) as model:
    model.encode([p.text for p in demo.passages()[:50]])
    model.encode_query("pain")
folder, cache = sys.argv[1:]
for found in (MedEmbed(folder, threads=1), MedEmbed("clinic/tiny", threads=1, cache_dir=cache)):
    found.encode("pain")
assert found.revision == "COMMIT"
from medembed.cli import app
import typer.testing
result = typer.testing.CliRunner().invoke(app, ["models"])
assert result.exit_code == 0, result.output
print("sockets:", opened)
""".replace("COMMIT", COMMIT)


def _ran(script: str, place: Path, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The script over a model folder, and over a cache that holds a model of the hub as a download left it."""
    folder = tiny_bert.make(place / "folder")
    repository = place / "cache" / "models--clinic--tiny"
    shutil.copytree(folder, repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    command = [sys.executable, "-c", script, str(folder), str(place / "cache")]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)


def test_no_socket_is_opened_for_a_model_on_this_disk(tmp_path: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}  # no HF_HUB_OFFLINE: it must hold by itself
    ran = _ran(SCRIPT, tmp_path, environment)
    assert ran.stdout.strip() == "sockets: []", ran.stdout + ran.stderr


def test_the_watch_sees_a_socket(tmp_path: Path) -> None:
    script = SCRIPT.replace(
        "from medembed.cli import app", "import socket; socket.socket().close()\nfrom medembed.cli import app"
    )
    ran = _ran(script, tmp_path)
    assert "socket.__new__" in ran.stdout

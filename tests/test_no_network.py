"""With a model on this disk, no socket is opened: not by this library, not by openvino's telemetry."""

import subprocess
import sys

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
from medembed.cli import app
import typer.testing
result = typer.testing.CliRunner().invoke(app, ["models"])
assert result.exit_code == 0, result.output
print("sockets:", opened)
"""


def test_no_socket_is_opened_for_a_local_model() -> None:
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}  # no HF_HUB_OFFLINE: it must hold by itself
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120, env=environment, check=False
    )
    assert ran.stdout.strip() == "sockets: []", ran.stdout + ran.stderr


def test_the_watch_sees_a_socket() -> None:
    script = SCRIPT.replace(
        "from medembed.cli import app", "import socket; socket.socket().close()\nfrom medembed.cli import app"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert "socket.__new__" in ran.stdout

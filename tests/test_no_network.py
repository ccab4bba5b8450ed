"""With a model on this disk nothing is sent and nothing is written unasked: not by us, not by what we depend on.

Every command runs as its user runs it: with a home that exists, its children included, in an empty network and under a
tracer. What a library does at its import or in a child process is seen like our own doing.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import tiny_bert, tracing

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MEDEMBED = (sys.executable, "-m", "medembed")

needs_tracer = pytest.mark.skipif(tracing.missing() is not None, reason=tracing.missing() or "")

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


def _model_arguments(place: Path) -> list[str]:
    """A model folder, and a cache that holds a model of the hub as a download left it."""
    folder = tiny_bert.make(place / "folder")
    repository = place / "cache" / "models--clinic--tiny"
    shutil.copytree(folder, repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return [str(folder), str(place / "cache")]


def _unasked(observed: tracing.Observed, place: Path) -> dict[str, list[str]]:
    """Sockets, and files outside the working directory; temporary files must be gone again."""
    return {
        "internet sockets": observed.internet,
        "sent": observed.sent,
        "written outside": observed.written_outside(place / "work", place / "tmp"),
        "left in the home": sorted(str(path) for path in (place / "home").rglob("*")),
        "left in the temporary folder": sorted(str(path) for path in (place / "tmp").rglob("*")),
    }


NOTHING: dict[str, list[str]] = {
    "internet sockets": [],
    "sent": [],
    "written outside": [],
    "left in the home": [],
    "left in the temporary folder": [],
}


@needs_tracer
@pytest.mark.parametrize("command", [("demo",), ("models",)], ids=" ".join)
def test_a_command_sends_nothing_and_writes_nothing_unasked(command: tuple[str, ...], tmp_path: Path) -> None:
    observed = tracing.observe([*MEDEMBED, *command], tmp_path)
    assert observed.returncode == 0, observed.output
    assert _unasked(observed, tmp_path) == NOTHING


class TestOpenVinosTelemetry:
    def run(self, script: str) -> None:
        subprocess.run([sys.executable, "-c", script], check=True, timeout=120)

    def test_it_is_not_imported_with_our_engine(self) -> None:
        self.run(
            "import sys; from medembed.runtime.engines import openvino_engine;"
            " assert 'openvino' in sys.modules and 'openvino_telemetry' not in sys.modules"
        )

    def test_one_that_the_user_imported_stays_theirs(self) -> None:
        self.run(
            "import sys, types; theirs = sys.modules['openvino_telemetry'] = types.ModuleType('openvino_telemetry')\n"
            "from medembed.runtime.engines import openvino_engine\n"
            "assert sys.modules['openvino_telemetry'] is theirs"
        )


def test_no_socket_is_opened_for_a_model_on_this_disk(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path / "home")}  # no HF_HUB_OFFLINE: it must hold by itself
    command = [sys.executable, "-c", SCRIPT, *_model_arguments(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)
    assert ran.stdout.strip() == "sockets: []", ran.stdout + ran.stderr
    assert list((tmp_path / "home").iterdir()) == []


@needs_tracer
class TestTheTracerSees:
    def observe(self, script: str, place: Path) -> tracing.Observed:
        return tracing.observe([sys.executable, "-c", script], place)

    @pytest.mark.parametrize(
        "script",
        [
            "import socket; socket.socket().connect_ex(('192.0.2.1', 80))",
            "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'', ('127.0.0.1', 9))",
            "import os, socket; os.fork() or socket.socket(socket.AF_INET6).connect_ex(('2001:db8::1', 80))",
        ],
        ids=["connect", "sendto", "a child"],
    )
    def test_what_is_sent(self, script: str, tmp_path: Path) -> None:
        observed = self.observe(script, tmp_path)
        assert len(observed.sent) == 1, observed
        assert len(observed.internet) == 1, observed

    @pytest.mark.parametrize(
        "script",
        [
            "import pathlib; pathlib.Path.home().joinpath('a').write_text('')",
            "import pathlib; pathlib.Path.home().joinpath('a').mkdir()",
            "import pathlib; pathlib.Path('../home/a').symlink_to('b')",
            "import os; os.rename('../home', '../a'); os.rename('../a', '../home')",
            "import os; f = os.open('..', os.O_RDONLY); os.mkdir('a', dir_fd=f); os.rmdir('a', dir_fd=f)",
        ],
        ids=["a file", "a folder", "a link", "a renamed folder", "below a descriptor"],
    )
    def test_what_is_written_elsewhere(self, script: str, tmp_path: Path) -> None:
        assert self.observe(script, tmp_path).written_outside(tmp_path / "work", tmp_path / "tmp") != []

    def test_that_reading_is_not_writing(self, tmp_path: Path) -> None:
        observed = self.observe("print(open('/etc/hostname').read(), file=open('here', 'w'))", tmp_path)
        assert observed.written_outside(tmp_path / "work") == []
        assert tmp_path / "work" / "here" in observed.written

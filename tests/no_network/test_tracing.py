"""The tracer sees what it is there to see."""

import sys
from pathlib import Path

import pytest

from tests.no_network import tracing

pytestmark = pytest.mark.skipif(tracing.missing() is not None, reason=tracing.missing() or "")


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
        script = (
            "import os; print(open('/etc/hostname').read(), file=open('here', 'w')); os.symlink('../elsewhere', 'link')"
        )
        observed = self.observe(script, tmp_path)
        assert observed.written_outside(tmp_path / "work") == []
        assert {tmp_path / "work" / "here", tmp_path / "work" / "link"} <= observed.written

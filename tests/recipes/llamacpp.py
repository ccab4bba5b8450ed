"""A server of llama.cpp on loopback, started and ended."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PYTHON = Path(__file__).parents[2] / ".venv-llamacpp" / "bin" / "python"
MODEL = "SmolLM2-135M-Instruct"


@contextmanager
def serving() -> Iterator[str]:
    """The address of a server that runs as long as the block."""
    command = [str(PYTHON), str(Path(__file__).with_name("llamacpp_server.py"))]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.stdin.close()

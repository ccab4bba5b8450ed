"""A command line run in this process, with a tiny model where one is needed."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from medembed.cli import app

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in an empty folder; ``encode``, ``index`` get the tiny model."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, stdin: str | bytes | None = None) -> Result:
        model = ["--model", str(tiny_folder)] if arguments[0] in ("encode", "index") else []
        return CliRunner().invoke(app, [*arguments, *model], input=stdin)

    return run

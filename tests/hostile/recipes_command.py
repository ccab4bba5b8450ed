"""`medembed recipes` in this process, its errors printed as the program prints them."""

import sys
from collections.abc import Sequence

from typer.testing import CliRunner

from medembed.cli import app
from medembed.errors import MedEmbedError


def run(words: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    ran = CliRunner().invoke(app, ["recipes", *words])
    print(ran.output)
    if isinstance(ran.exception, MedEmbedError):
        print(f"{type(ran.exception).__name__}: {ran.exception}", file=sys.stderr)
        return 1
    if ran.exception is not None and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    return ran.exit_code

"""The command line's reference, by typer's own writer of documentation."""

import html
import re
import subprocess
import sys

from docs.website.texts import ROOT

BOLD = re.compile(r'<span style="font-weight: bold">(.*?)</span>')
MORE = """
Exit codes: 0 done, 1 an error named in one line, 2 the command line itself was wrong, 3 rows were left out (`index`, `token-index`), 130 interrupted,
143 asked to end. `python -m medembed` is the same program; `medembed recipes COMMAND --help` tells the options of each of theirs.
"""


def page() -> str:
    """Every command with its arguments, options, defaults and help."""
    command = [
        sys.executable,
        "-m",
        "typer",
        "medembed.cli",
        "utils",
        "docs",
        "--name",
        "medembed",
        "--title",
        "Command line",
    ]
    written = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    # the examples in the help are bold on a terminal; on a page they are code
    written = BOLD.sub(lambda match: f"`{html.unescape(match[1])}`", written)
    return written.replace("# `Command line`", "# Command line").rstrip() + "\n" + MORE

"""The modules that a process loads before its first vector, and a command before it works."""

import json
import subprocess
import sys
from typing import Any

import pytest
import typer

from medembed.cli import app
from medembed.cli.commands import COMMANDS

# each takes 10 to 60 ms, and none has a part in one vector
IDLE = (
    "asyncio",
    "email",
    "importlib.metadata",
    "numpy.ma",
    "openvino.tools.ovc",
    "rich",
    "ssl",
    "tqdm",
    "torch",
    "transformers",
)

# what only work needs: no command loads these to tell what it is, whatever else it loads
WORK = (
    "bm25s",
    "datasets",
    "huggingface_hub",
    "matplotlib",
    "mcp",
    "mteb",
    "openvino",
    "pyarrow",
    "ray",
    "safetensors",
    "scipy",
    "sentence_transformers",
    "starlette",
    "tokenizers",
    "torch",
    "transformers",
    "uvicorn",
)
# words of a command, and what it does without beside that; the lighter ones first, since one process tries all in turn.
# typer brings pydantic where a group passes on to one of its commands
WITHOUT = (
    ("--version", ("asyncio", "numpy", "pydantic", "rich", "medembed.rows", "medembed.storage")),
    ("--help", ("asyncio", "numpy", "pydantic", "medembed.rows", "medembed.checkpoints", "medembed.cli.encode")),
    ("keys --help", ("asyncio", "numpy", "medembed.rows", "medembed.checkpoints")),
    ("recipes --help", ("asyncio", "numpy", "medembed.rows", "medembed.checkpoints")),
    ("models --help", ("asyncio", "numpy", "medembed.rows", "medembed.model")),
    ("serve --help", ("asyncio", "numpy", "medembed.rows", "medembed.model")),
    ("mcp --help", ("asyncio", "numpy", "medembed.rows", "medembed.model")),
    ("search --help", ("asyncio", "numpy", "medembed.rows", "medembed.colbert", "medembed.model")),
    ("demo --help", ("asyncio", "medembed.colbert", "medembed.corpus")),
    ("doctor --help", ("asyncio", "medembed.colbert", "medembed.corpus")),
    ("encode --help", ("asyncio", "medembed.colbert", "medembed.corpus")),
    ("compare --help", ("asyncio", "medembed.colbert", "medembed.corpus", "medembed.recipes.train_settings")),
    ("leaderboard --help", ("asyncio", "medembed.colbert", "medembed.corpus")),
    ("evaluate --help", ("asyncio", "medembed.colbert", "medembed.corpus")),
    ("assess --help", ()),
    ("index --help", ()),
    ("token-index --help", ()),
    ("corpus --help", ()),
)
TRIED = f"""
import contextlib, io, json, sys
from medembed.cli import app
loaded = {{}}
for words, without in {WITHOUT}:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        app(words.split(), prog_name="medembed")
    loaded[words] = [name for name in (*{WORK}, *without) if name in sys.modules]
print(json.dumps(loaded))
"""


def run(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=120)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def loaded() -> dict[str, list[str]]:
    """What each command loads of what it should do without."""
    return json.loads(run(TRIED))


@pytest.mark.parametrize("words", [words for words, _ in WITHOUT])
def test_a_command_loads_nothing_that_only_its_work_needs(loaded: dict[str, list[str]], words: str) -> None:
    assert loaded[words] == []


def test_every_command_has_a_row() -> None:
    assert set(COMMANDS) == {words.split()[0] for words, _ in WITHOUT} - {"--version", "--help"}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_each_says_itself(name: str) -> None:
    command: Any = typer.main.get_group(app).commands[name]
    assert command.name == name
    assert " ".join(command.help.split("\n\n")[0].split()) == COMMANDS[name].summary
    assert (command.hidden, command.deprecated, command.short_help) == (False, False, None)


def test_the_first_vector_loads_nothing_it_does_not_use() -> None:
    script = "import sys; from medembed import MedEmbed; MedEmbed(threads=1).encode('fever')\n"
    assert run(f"{script}print([name for name in {IDLE} if name in sys.modules])") == "[]"


def test_openvinos_converter_is_there_for_who_calls_it() -> None:
    script = "import sys; from medembed.runtime.engines import openvino_engine; import openvino\n"
    script += "assert 'openvino.tools.ovc' not in sys.modules\n"
    script += "try: openvino.convert_model(None)\n"
    script += "except Exception as error: print(type(error).__module__)\n"
    script += "assert 'openvino_telemetry' not in sys.modules\n"
    script += "from openvino.tools.ovc import convert_model; assert openvino.convert_model is convert_model"
    assert run(script) == "openvino.tools.ovc.error"

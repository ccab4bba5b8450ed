"""What an installer gets: what the wheel carries, what importing costs, what is public."""

import ast
import json
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any

import pytest

import medembed
from medembed.extras import EXTRAS

ROOT = Path(__file__).parents[1]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
HEAVY = ("torch", "openvino", "transformers", "sentence_transformers", "tokenizers", "huggingface_hub", "numpy", "rich")
MAX_WHEEL_BYTES = 40 * 2**20
MAX_LINES = 500  # one idea a file, usually below 400 lines; a longer one needs a split
LIGHT = {
    "numpy",
    "tokenizers",
    "safetensors",
    "huggingface-hub",
    "fsspec",
    "openvino",
    "typer",
    "rich",
    "tqdm",
    "pydantic",
}


def _in_fresh_process(code: str) -> Any:
    """What the code prints, as JSON."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return json.loads(done.stdout)


def test_importing_medembed_loads_no_heavy_module() -> None:
    loaded = _in_fresh_process("import sys, json, medembed; print(json.dumps(list(sys.modules)))")
    assert sorted(set(HEAVY) & set(loaded)) == []


def test_naming_the_class_loads_no_engine_library() -> None:
    loaded = _in_fresh_process("import sys, json; from medembed import MedEmbed; print(json.dumps(list(sys.modules)))")
    assert sorted({"torch", "openvino", "transformers", "sentence_transformers"} & set(loaded)) == []


def test_importing_medembed_leaves_the_environment_as_it_was() -> None:
    code = "import os, json; before = dict(os.environ); import medembed; print(json.dumps(before == dict(os.environ)))"
    assert _in_fresh_process(code) is True


def test_public_names_are_sorted_and_all_there() -> None:
    assert medembed.__all__ == sorted(medembed.__all__, key=lambda name: (not name.isupper(), name.islower(), name))
    assert [name for name in medembed.__all__ if not hasattr(medembed, name)] == []


def test_public_names_are_those_of_the_tour_and_the_reference() -> None:
    assert {"MedEmbed", "FakeEngine", "ModelSpec", "MODELS", "errors", "vectors", "__version__"} <= set(
        medembed.__all__
    )


def test_unknown_attribute_is_an_attribute_error_that_names_it() -> None:
    with pytest.raises(AttributeError, match="MedEmbd"):
        _ = medembed.MedEmbd


def test_version_is_said_once() -> None:
    assert version("medembed") == medembed.__version__


def test_changelog_has_a_section_for_the_coming_release_or_this_version() -> None:
    headings = [line for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if line.startswith("## [")]
    assert headings[0].startswith(("## [Unreleased]", f"## [{medembed.__version__}]"))


def test_command_is_installed() -> None:
    (command,) = entry_points(group="console_scripts", name="medembed")
    assert callable(command.load())


def test_plain_install_stays_light() -> None:
    names = {requirement.split(">")[0] for requirement in PYPROJECT["project"]["dependencies"]}
    assert names == LIGHT


def test_every_dependency_has_a_lower_bound() -> None:
    extras = PYPROJECT["project"]["optional-dependencies"]
    requirements = [*PYPROJECT["project"]["dependencies"], *(line for lines in extras.values() for line in lines)]
    assert [line for line in requirements if ">=" not in line and not line.startswith("medembed[")] == []


def test_everything_light_and_every_extra_is_pinned_for_development() -> None:
    pinned = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    extras = PYPROJECT["project"]["optional-dependencies"]
    wanted = {line.split(">")[0].split("[")[0] for name, lines in extras.items() if name != "vllm" for line in lines}
    assert sorted((LIGHT | wanted - {"medembed"}) - pinned) == []


def test_hashes_are_of_the_pinned_releases() -> None:
    """Run `make hashes` after a change of constraints.txt or of the extras that CI installs."""
    pinned = set((ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines())
    lines = (ROOT / "constraints-hashed.txt").read_text(encoding="utf-8").splitlines()
    hashed = {line.split(" ")[0] for line in lines if "==" in line}
    assert hashed <= pinned
    names = {line.split("==")[0] for line in hashed}
    groups = PYPROJECT["project"]["optional-dependencies"]
    wanted = {
        line.split(">")[0].split("[")[0] for extra in ("recipes", "evaluation", "corpus") for line in groups[extra]
    }
    assert sorted((LIGHT | wanted - {"medembed"}) - names) == []


@pytest.mark.parametrize(("module", "extra"), EXTRAS.items(), ids=EXTRAS)
def test_extra_named_in_an_error_installs_the_module(module: str, extra: str) -> None:
    extras: dict[str, list[str]] = PYPROJECT["project"]["optional-dependencies"]
    wanted, brought = [extra], set()
    while wanted:
        for line in extras[wanted.pop()]:
            name, _, rest = line.partition("[")
            if name == "medembed":
                wanted += rest.rstrip("]").split(",")
            brought.add(name.split(">")[0].replace("-", "_").removesuffix("_cpu"))
    # PyStemmer installs a module of another name
    assert {"Stemmer": "pystemmer"}.get(module, module) in brought


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(out)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (path,) = out.glob("*.whl")
    return path


@pytest.mark.parametrize(
    "path",
    [
        "medembed/py.typed",
        "medembed/weights/mini/config.json",
        "medembed/weights/mini/tokenizer.json",
        "medembed/weights/mini/README.md",
        "medembed/recipes/shipped/README.md",
        "medembed/demo/passages.jsonl",
        "medembed/demo/ATTRIBUTION.md",
    ],
)
def test_wheel_carries(wheel: Path, path: str) -> None:
    assert path in zipfile.ZipFile(wheel).namelist()


def test_wheel_carries_every_file_of_the_bundled_model(wheel: Path) -> None:
    weights = ROOT / "medembed" / "weights" / "mini"
    files = {path.relative_to(ROOT).as_posix() for path in weights.rglob("*") if path.is_file()}
    assert any(path.endswith(".safetensors") for path in files)
    assert files <= set(zipfile.ZipFile(wheel).namelist())


def test_wheel_carries_the_package_and_nothing_else(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert tops == {"medembed", f"medembed-{medembed.__version__}.dist-info"}


def test_wheel_carries_the_license(wheel: Path) -> None:
    assert any(name.endswith("licenses/LICENSE") for name in zipfile.ZipFile(wheel).namelist())


def test_wheel_is_small_enough_to_ship(wheel: Path) -> None:
    assert wheel.stat().st_size <= MAX_WHEEL_BYTES


def _tracked(*patterns: str) -> list[Path]:
    done = subprocess.run(["git", "ls-files", "--", *patterns], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / line for line in done.stdout.splitlines() if (ROOT / line).exists()]


def test_no_source_file_outgrows_a_screenful_of_scrolling() -> None:
    long = {
        str(path.relative_to(ROOT)): n
        for path in _tracked("*.py")
        if (n := len(path.read_text().splitlines())) > MAX_LINES
    }
    assert long == {}


def test_recipes_hold_data_and_no_python() -> None:
    assert _tracked("recipes/*.py") == []


def _readme_blocks() -> list[str]:
    text = (ROOT / "README.md").read_text()
    return [block.split("```")[0] for block in text.split("```python\n")[1:]]


def test_readme_tour_is_at_most_ten_lines() -> None:
    statements = [line for line in _readme_blocks()[0].splitlines() if line.strip() and not line.startswith("#")]
    assert 0 < len(statements) <= 10


def test_readme_tour_runs_and_prints_what_it_says(tmp_path: Path) -> None:
    tour = _readme_blocks()[0]
    ast.parse(tour)
    done = subprocess.run([sys.executable, "-c", tour], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    promised = [line.split("# → ")[1] for line in tour.splitlines() if "# → " in line]
    assert promised
    assert done.stdout.splitlines() == promised


@pytest.mark.parametrize(
    "attempt", ["socket.create_connection(('127.0.0.1', 9))", "socket.getaddrinfo('example.org', 80)"]
)
def test_network_guard_of_the_wheel_check_refuses(attempt: str) -> None:
    code = f"import socket; exec(open('.ci/no_network.py').read()); {attempt}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert "this run must not use a network" in done.stderr

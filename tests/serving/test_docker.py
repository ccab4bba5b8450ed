"""The image's steps, run outside Docker: its wheel in an environment of its own, started without a home, read-only, without a network."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from medembed.cli import app

pytest.importorskip("starlette", reason="the extra serve is not installed")

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "integrations" / "docker"
DOCKERFILE = (FOLDER / "Dockerfile").read_text(encoding="utf-8")


def instruction(name: str) -> str:
    """The last instruction of a name, its lines joined."""
    joined = re.sub(r"\\\n\s*", " ", DOCKERFILE)
    return re.findall(rf"^\s*{name} (.*)$", joined, re.MULTILINE)[-1]


def test_what_is_copied_is_there_and_is_all_that_the_wheel_is_made_of() -> None:
    copied = [word for line in re.findall(r"^COPY (?!--)(.*)$", DOCKERFILE, re.MULTILINE) for word in line.split()[:-1]]
    assert [name for name in copied if not (ROOT / name).exists()] == []
    assert {"pyproject.toml", "README.md", "LICENSE", "medembed", "recipes", "constraints.txt"} <= set(copied)


def test_the_last_stage_is_nobodys_in_particular() -> None:
    assert instruction("USER").startswith("10001")
    assert DOCKERFILE.count("\nFROM ") + DOCKERFILE.startswith("FROM ") == 2
    assert "HF_HUB_OFFLINE=1" in instruction("ENV")


def test_the_command_is_one_that_the_program_takes() -> None:
    words = [*json.loads(instruction("ENTRYPOINT")), *json.loads(instruction("CMD"))]
    assert words[0] == "medembed"
    told = CliRunner().invoke(app, [*words[1:], "--help"])
    assert told.exit_code == 0, told.output


def test_without_keys_the_image_ends_with_the_line_that_makes_them() -> None:
    words = [*json.loads(instruction("ENTRYPOINT")), "mini"]
    ran = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 1
    assert "medembed keys add" in ran.stderr


def test_compose_is_read_only_and_names_the_dockerfile() -> None:
    yaml = pytest.importorskip("yaml")
    service: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))["services"][
        "medembed"
    ]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert (FOLDER / service["build"]["context"] / service["build"]["dockerfile"]).resolve() == FOLDER / "Dockerfile"
    assert service["ports"] == ["127.0.0.1:8321:8321"]
    told = CliRunner().invoke(app, ["serve", *service["command"], "--help"])
    assert told.exit_code == 0, told.output


@pytest.mark.slow
def test_the_installed_wheel_serves_from_a_read_only_folder_without_a_home(tmp_path: Path) -> None:
    """The steps of the Dockerfile, with the packages that are installed here in place of downloaded ones."""
    made = tmp_path / "opt"
    subprocess.run([sys.executable, "-m", "venv", "--system-site-packages", made], check=True)
    python = made / "bin" / "python"
    # a link to what is installed here: the registry is not asked
    here = next(path for path in sys.path if path.endswith("site-packages"))
    (next(made.glob("lib/python*/site-packages")) / "here.pth").write_text(here + "\n")
    wheel = tmp_path / "dist"
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(wheel)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (path,) = wheel.glob("*.whl")
    command = [
        str(python),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--ignore-installed",
        str(path),
    ]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": ""})
    keys = tmp_path / "keys.json"
    CliRunner().invoke(app, ["keys", "add", str(keys), "test"])
    for folder, _, names in os.walk(made):
        for name in names:
            Path(folder, name).chmod(0o555, follow_symlinks=True) if not Path(folder, name).is_symlink() else None
        Path(folder).chmod(0o555)
    told = dict(pair.split("=", 1) for pair in shlex.split(instruction("ENV")))
    environment = {**told, "PATH": os.environ["PATH"], "TMPDIR": str(tmp_path)}
    words = [*json.loads(instruction("ENTRYPOINT"))[1:], *json.loads(instruction("CMD"))]
    words[words.index("--keys") + 1] = str(keys)
    offline = ["unshare", "--map-root-user", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    if shutil.which("ip") is None or subprocess.run([*offline, "true"], check=False, capture_output=True).returncode:
        offline = []
    port = "8377"
    check = json.loads(instruction("HEALTHCHECK").partition("CMD")[2])[2].replace("8321", port)
    inner = f"{python} -m medembed {shlex.join([*words, '--port', port])} & server=$!; "
    inner += f"for i in $(seq 600); do {python} -c {shlex.quote(check)} 2>/dev/null && break; sleep 0.1; done; "
    inner += f"{python} -c {shlex.quote(check)} && echo healthy; kill $server; wait $server"
    before = time.monotonic()
    ran = subprocess.run(
        [*offline, "sh", "-c", inner], capture_output=True, text=True, check=False, timeout=300, env=environment
    )
    assert "healthy" in ran.stdout, (ran.stdout, ran.stderr, time.monotonic() - before)

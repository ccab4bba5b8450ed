"""The command that brings an optional dependency, by how the package was installed."""

import importlib.metadata
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from medembed import extras
from medembed.errors import MissingExtraError

FROM: dict[str, tuple[object, str]] = {
    "a clone": ({"url": "file:///home/me/my%20code/medembed", "dir_info": {}}, "pip install '/home/me/my code/medembed[torch]'"),
    "an editable clone": (
        {"url": "file:///home/me/medembed", "dir_info": {"editable": True}},
        "pip install -e '/home/me/medembed[torch]'",
    ),
    "a wheel": (
        {"url": "file:///tmp/medembed-1.0-py3-none-any.whl", "archive_info": {}},
        "pip install '/tmp/medembed-1.0-py3-none-any.whl[torch]'",
    ),
    "a repository": (
        {"url": "https://example.org/medembed.git", "vcs_info": {"vcs": "git", "commit_id": "0" * 40}},
        "pip install 'medembed[torch] @ git+https://example.org/medembed.git'",
    ),
    "an address": (
        {"url": "https://example.org/medembed-1.0.whl", "archive_info": {}},
        "pip install 'medembed[torch] @ https://example.org/medembed-1.0.whl'",
    ),
    "nobody knows where": (None, "pip install '<the clone or wheel of medembed>[torch]'"),
    "a damaged record": ("not JSON", "pip install '<the clone or wheel of medembed>[torch]'"),
}  # fmt: skip


@pytest.mark.parametrize(("record", "command"), FROM.values(), ids=FROM.keys())
def test_the_command_names_where_the_package_came_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: object, command: str
) -> None:
    info = tmp_path / "medembed-1.0.dist-info"
    info.mkdir()
    if record is not None:
        (info / "direct_url.json").write_text(record if isinstance(record, str) else json.dumps(record))
    found = importlib.metadata.PathDistribution(info)
    monkeypatch.setattr(importlib.metadata, "distribution", lambda _: found)
    assert extras.install_command("torch") == command


def test_a_missing_module_is_answered_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError) as caught:
        extras.require("faiss")
    assert str(caught.value).endswith(extras.install_command("faiss"))


@pytest.mark.slow
def test_pip_takes_the_command(tmp_path: Path) -> None:
    """What is printed for this very installation, without the network and without changing anything."""
    command = shlex.split(extras.install_command("torch"))
    ran = subprocess.run(
        [sys.executable, "-m", *command, "--dry-run", "--no-deps", "--no-build-isolation", "--no-index"],
        capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr

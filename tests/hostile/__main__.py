"""Run all attacks, each under a tracer in an empty network; counts go to docs/measurements/attack.json.

    python -m tests.hostile [NAME ...]

An attack is a module of this folder with ``COUNT`` and ``run(count) -> dict``, or a table of tests that is named here. Named
attacks alone are run again; the others keep what the file says of them.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from tests.no_network import tracing
from tests.no_network.unasked import MATPLOTLIB, MTEB, TORCH, is_named

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "measurements" / "attack.json"
LONGEST_S = 3600.0
# how often good inputs are changed by modules that name no count of their own
CHANGED_BYTES = 700
# Tables that are tests; the slow ones of these files too.
TABLES: dict[str, tuple[str, ...]] = {
    "store_kills": ("tests/storage/test_kills.py", "-m", "slow"),
    "links_and_names": ("tests/hostile/test_paths.py", "tests/storage/test_stores.py", "-m", ""),
    "strangers_recipes": ("tests/hostile/test_recipes.py", "-m", ""),
    "endpoint_faults": ("tests/recipes/test_endpoint.py", "tests/recipes/test_endpoint_runs.py", "-m", ""),
    "models_of_folders": ("tests/hostile/test_model_folders.py", "-m", "not slow"),
}
# One test of the kills is 125 of them.
EACH = {"store_kills": 125}
BAD = ("raw", "wrong", "signals", "hangs", "failed")


def modules() -> dict[str, int]:
    """Every attack that is a module, with its count."""
    found: dict[str, int] = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if not path.stem.startswith(("_", "test_")):
            named = CHANGED_BYTES if path.stem.startswith("mutated_") else None
            count = getattr(importlib.import_module(f"tests.hostile.{path.stem}"), "COUNT", named)
            found |= {} if count is None else {path.stem: count}
    return found


def one(name: str, result: Path) -> None:
    """Run an attack in this process and write what it came to."""
    if name in TABLES:
        told = _tests(name, result.with_suffix(".xml"))
    else:
        module = importlib.import_module(f"tests.hostile.{name}")
        count = modules()[name]
        told = {"count": count, **module.run(count)}
    result.write_text(json.dumps(told))


def _tests(name: str, report: Path) -> dict[str, Any]:
    """Run a table of tests, and count what passed."""
    words = [str(ROOT / word) if word.startswith("tests/") else word for word in TABLES[name]]
    own = ["-q", "-p", "no:cacheprovider", "--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml")]
    subprocess.run([sys.executable, "-m", "pytest", *own, f"--junitxml={report}", *words], check=False)
    suite = next(ET.parse(report).iter("testsuite"))
    number = {what: int(suite.attrib[what]) for what in ("tests", "failures", "errors", "skipped")}
    bad = [
        case.attrib["name"]
        for case in suite.iter("testcase")
        if case.find("failure") is not None or case.find("error") is not None
    ]
    passed = number["tests"] - number["failures"] - number["errors"] - number["skipped"]
    return {
        "count": passed * EACH.get(name, 1),
        "failed": len(bad),
        "skipped": number["skipped"],
        "faults": dict.fromkeys(bad, "failed"),
    }


def traced(name: str) -> dict[str, Any]:
    """Run an attack in a process of its own, and add what the tracer saw."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="medembed-attack-") as folder:
        place = Path(folder)
        for part in ("home", "tmp", "work"):
            (place / part).mkdir()
        command = [sys.executable, "-m", "tests.hostile", "--one", name, str(place / "work" / "result.json")]
        environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        observed = tracing.observe(command, place, environment, timeout=LONGEST_S)
        if not (place / "work" / "result.json").is_file():
            raise SystemExit(f"{name} came to no end: {observed.output[-3000:]}")
        told = json.loads((place / "work" / "result.json").read_text())
        outside = [
            path
            for path in observed.written_outside(place / "work", place / "tmp")
            if not is_named(Path(path), place, (*MTEB, *TORCH, *MATPLOTLIB))
        ]
    if told["faults"]:
        print(observed.output[-3000:], file=sys.stderr)
    return {
        **told,
        "files outside": len(outside),
        "connections": len(observed.sent_beyond_this_machine()),
        "seconds": round(time.monotonic() - started),
        "faults": {
            **told["faults"],
            **dict.fromkeys([*outside[:20], *observed.sent_beyond_this_machine()[:20]], "outside"),
        },
    }


def totals(attacks: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Sums over all attacks, and the worst memory."""
    added = {
        what: sum(told.get(what, 0) for told in attacks.values()) for what in (*BAD, "files outside", "connections")
    }
    return {
        "attacks": sum(told["count"] for name, told in attacks.items() if name != "threads"),
        **added,
        "memory, times an honest input's": max(told.get("memory", 0.0) for told in attacks.values()),
    }


def main(names: list[str]) -> int:
    """Run attacks and write the file. Returns 1 where something was found."""
    if why := tracing.missing():
        raise SystemExit(f"the attacks are run under a tracer: {why}")
    known = [*modules(), *TABLES]
    if unknown := set(names) - set(known):
        raise SystemExit(f"no attack is named {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    earlier = json.loads(RESULTS.read_text())["attacks"] if names and RESULTS.is_file() else {}
    attacks: dict[str, dict[str, Any]] = {name: told for name, told in earlier.items() if name in known}
    for name in names or known:
        attacks[name] = traced(name)
        print(name, json.dumps(attacks[name], ensure_ascii=False), flush=True)
        ordered = {name: attacks[name] for name in known if name in attacks}
        told = {"command": "make attack", "totals": totals(ordered), "attacks": ordered}
        RESULTS.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    return 1 if any(told["faults"] or told.get("memory", 0) > 2 for told in attacks.values()) else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2], Path(sys.argv[3]))
    else:
        os.environ.pop("HF_HUB_OFFLINE", None)
        sys.exit(main(sys.argv[1:]))

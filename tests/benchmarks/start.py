"""How long until the first vector, and what `import medembed` costs: whole processes, timed from outside."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from statistics import median

from tests.benchmarks import models
from tests.benchmarks.engines import KERNELS, that_run_here
from tests.benchmarks.report import Claim, Result
from tests.benchmarks.runner import folder_of, python_of
from tests.benchmarks.sizes import Size

# Written as a user would, without the benchmark's own machinery. {folder} is the engine's form of MiniLM.
FIRST_VECTOR = {
    "st-fp32": """
from sentence_transformers import SentenceTransformer
SentenceTransformer({folder!r}, device="cpu").encode("chest pain on exertion")
""",
    "st-openvino": """
from sentence_transformers import SentenceTransformer
options = {{"file_name": "openvino/openvino_model.xml"}}
SentenceTransformer({folder!r}, device="cpu", backend="openvino", model_kwargs=options).encode("chest pain on exertion")
""",
    "medembed": """
from medembed import MedEmbed
MedEmbed().encode("chest pain on exertion")
""",
    "medembed-kernels": f"""
import sys
sys.path.insert(0, {str(KERNELS)!r})
from medembed import MedEmbed
model = MedEmbed()
model.encode("chest pain on exertion")
assert model.engine_name == "kernels"
""",
}
IMPORTS = {
    "medembed": "medembed",
    "medembed.MedEmbed": "medembed; medembed.MedEmbed",
    "sentence_transformers": "sentence_transformers",
}
HEAVY = ("torch", "openvino", "transformers", "numpy", "tokenizers", "huggingface_hub", "rich", "pydantic")
TIMED_IMPORT = """
import sys, time, json
started = time.perf_counter()
import {module}
taken = time.perf_counter() - started
print(json.dumps([taken, [name for name in {heavy} if name in sys.modules]]))
"""


def cold_start(size: Size, engines: Sequence[str] = ()) -> Result:
    """From starting Python to the first vector; files are in the system's cache for both sides."""
    names = tuple(engines or that_run_here(FIRST_VECTOR))
    scripts = {name: FIRST_VECTOR[name].format(folder=str(folder_of(name, "minilm"))) for name in names}
    taken: dict[str, list[float]] = {name: [] for name in names}
    for number in range(size.starts + 1):
        for name in names:
            started = time.perf_counter()
            _run(str(python_of(name)), scripts[name])
            if number > 0:  # the first one fills the caches
                taken[name].append(time.perf_counter() - started)
    rows = [
        {"engine": name, "seconds": median(taken[name]), "least": min(taken[name]), "most": max(taken[name])}
        for name in names
    ]
    claims = []
    if {"medembed", "st-fp32"} <= set(names):
        shares = [ours / theirs for ours, theirs in zip(taken["medembed"], taken["st-fp32"], strict=True)]
        claims = [
            Claim("process start to first vector, seconds", median(taken["medembed"]), at_most=1.0),
            Claim("the same as a share of sentence-transformers'", median(shares), at_most=0.2),
        ]
    if "medembed-kernels" in names:
        claims.append(Claim("the same with medembed-kernels, seconds", median(taken["medembed-kernels"]), at_most=0.4))
    settings = {"model": "minilm (medembed: bundled)", "starts": size.starts}
    return Result("cold-start", "process start to first vector", settings, rows, claims, raw={"seconds": taken})


def imports(size: Size, engines: Sequence[str] = ()) -> Result:
    """Time of the import statement in a fresh process, and which heavy modules it loaded."""
    names = tuple(engines or IMPORTS)
    taken: dict[str, list[float]] = {name: [] for name in names}
    loaded: dict[str, list[str]] = {}
    for number in range(size.imports + 1):
        for name in names:
            answer = _run(sys.executable, TIMED_IMPORT.format(module=IMPORTS[name], heavy=HEAVY))
            seconds, loaded[name] = json.loads(answer)
            if number > 0:
                taken[name].append(seconds)
    rows = [{"engine": name, "seconds": median(taken[name]), "loads": ", ".join(loaded[name]) or "–"} for name in names]
    claims = [Claim("import medembed, seconds", median(taken["medembed"]), at_most=0.15)] if "medembed" in names else []
    return Result("import", "the import statement", {"starts": size.imports}, rows, claims, raw={"seconds": taken})


def _run(python: str, script: str) -> str:
    done = subprocess.run([python, "-c", script], cwd=models.ROOT, capture_output=True, text=True, check=True)
    return done.stdout

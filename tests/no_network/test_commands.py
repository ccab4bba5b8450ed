"""With a model on this disk nothing is sent and nothing is written unasked: not by us, not by what we depend on.

Every command runs as its user runs it: with a home that exists, its children included, in an empty network and under a
tracer. What a library does at its import or in a child process is seen like our own doing.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

from medembed.extras import EXTRAS
from tests import tiny_bert
from tests.evaluation.conftest import DISEASES, write_folder
from tests.no_network import tracing
from tests.no_network.unasked import MATPLOTLIB, MTEB, RAY, RAY_ADDRESSES, TORCH, assert_nothing

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MEDEMBED = (sys.executable, "-m", "medembed")

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(tracing.missing() is not None, reason=tracing.missing() or ""),
]

# In this order: later ones read what earlier ones wrote.
PLAIN = (
    ("demo", "--threads", "2", "-q", "itchy skin from mites", "-k", "1"),
    ("encode", "notes.jsonl", "-o", "vectors.npy"),
    ("encode", "notes.jsonl", "-o", "vectors.parquet"),
    ("models",),
    ("models", "export", "mini", "exported"),
    ("index", "notes.jsonl", "-o", "corpus"),
    ("index", "notes.jsonl", "-o", "by-workers", "--workers", "2", "--threads", "2"),
    ("search", "corpus", "pain"),
    ("search", "corpus", "pain", "--hybrid"),
    ("search", "corpus", "pain", "--late-interaction", "mini"),
    ("corpus", "info", "corpus"),
    ("corpus", "verify", "corpus"),
    ("corpus", "export", "corpus", "-o", "exported.npy"),
    ("corpus", "delete", "corpus", "3"),
    ("corpus", "compact", "corpus"),
    ("token-index", "notes.jsonl", "-o", "tokens"),
    ("search", "tokens", "pain"),
    ("assess", "long.jsonl", "--models", "mini", "bm25", "hybrid", "--html", "assessed.html"),
    ("doctor", "--threads", "1"),
    ("recipes", "list"),
    ("recipes", "show", "tiny"),
    ("recipes", "copy", "tiny", "copied"),
    ("recipes", "status", "tiny"),
    ("recipes", "run", "tiny", "--dry-run"),
)
# What a command says that takes too long to be run twice.
SAYS = {
    "demo": ("600 passages", "Scabies"),
    "doctor": (
        "usable cores",
        "engine openvino",
        "no accelerator found",
        "faithful",
        "passages/s",
        "one query",
        "limit:",
    ),
}
MEASURED = (
    (("evaluate", "mini", "bm25", "st:./model", "-t", "./diseases", "-o", "results"), (*MTEB, *TORCH)),
    (("compare", "results", "-o", "report"), MATPLOTLIB),
    (("leaderboard", "build", "results", "-o", "board"), (*MTEB, *TORCH)),
)
SLOW = (
    (("evaluate", "--smoke"), (*MTEB, *TORCH)),
    (("recipes", "run", "tiny", "execution.work=built"), (*MTEB, *TORCH, *MATPLOTLIB)),
)

LONGER = "It came back after two weeks and went away by itself. " * 3
TORCH_ENGINE = """
from medembed.checkpoints import checkpoint
from medembed.runtime.engines.torch_engine import TorchEngine
from medembed import MedEmbed
MedEmbed(MODEL, engine=TorchEngine(checkpoint.fetch(MODEL), ["cpu"], "fp32", 1)).encode(["pain"])
"""
FAKE_ENGINE = """
from medembed import FakeEngine, MedEmbed
MedEmbed("mini", engine=FakeEngine()).encode(["pain"])
"""
HANDED_OVER = """
from qdrant_client import QdrantClient
from medembed import EmbeddedCorpus
corpus = EmbeddedCorpus.open("corpus")
corpus.to_faiss()
corpus.to_lancedb("lance")
corpus.to_qdrant(QdrantClient(path="qdrant"), "notes")
"""


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """Where the commands run, with notes, a BEIR folder and a model of a few thousand weights."""
    # pytest's own folders have long names, and below TMPDIR Ray makes sockets, whose names have 107 bytes at most
    with tempfile.TemporaryDirectory(prefix="medembed-traced-") as folder:
        yield _filled(Path(folder))


def _filled(made: Path) -> Path:
    (made / "work").mkdir()
    rows = [{"id": str(number), "text": f"{name} with pain"} for number, name in enumerate(DISEASES)]
    (made / "work" / "notes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    long = [{"id": row["id"], "text": f"Seen with {row['text']} since Monday. {LONGER}"} for row in rows]
    (made / "work" / "long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in long), encoding="utf-8")
    documents = {f"d{number}": f"A patient with {name} was treated." for number, name in enumerate(DISEASES)}
    queries = {f"q{number}": f"what treats {name}?" for number, name in enumerate(DISEASES)}
    pairs = [(f"q{number}", f"d{number}") for number in range(len(DISEASES))]
    write_folder(made / "work" / "diseases", documents, queries, pairs)
    tiny_bert.make(made / "work" / "model")
    return made


@pytest.fixture
def clean(place: Path) -> Path:
    """The same place with an empty home, so that a command answers for itself alone."""
    _empty(place)
    return place


def _empty(place: Path) -> None:
    shutil.rmtree(place / "home", ignore_errors=True)
    shutil.rmtree(place / "tmp", ignore_errors=True)


def _medembed(words: Sequence[str], place: Path) -> tracing.Observed:
    return tracing.observe([*MEDEMBED, *words], place, timeout=900)


def _python(script: str, place: Path) -> tracing.Observed:
    return tracing.observe([sys.executable, "-c", script], place)


@pytest.mark.parametrize("words", PLAIN, ids=" ".join)
def test_a_command_opens_no_socket_and_leaves_nothing(words: tuple[str, ...], clean: Path) -> None:
    observed = _medembed(words, clean)
    # doctor compares with sentence-transformers where it is installed, and that brings torch
    assert_nothing(observed, clean, named=TORCH if words[0] == "doctor" else ())
    assert [part for part in SAYS.get(words[0], ()) if part not in observed.output] == []
    assert "Traceback" not in observed.output


def test_measuring_sends_nothing_and_leaves_what_is_named(clean: Path) -> None:
    pytest.importorskip("mteb")
    for words, named in MEASURED:
        assert_nothing(_medembed(words, clean), clean, named=named, opens_sockets=True)
        _empty(clean)


@pytest.mark.slow
@pytest.mark.parametrize(("words", "named"), SLOW, ids=lambda value: value[0] if value[0].isalpha() else "")
def test_long_runs_send_nothing_and_leave_what_is_named(
    words: tuple[str, ...], named: tuple[str, ...], clean: Path
) -> None:
    pytest.importorskip("mteb")
    assert_nothing(_medembed(words, clean), clean, named=named, opens_sockets=True)


def test_the_torch_engine(clean: Path) -> None:
    pytest.importorskip("torch")
    script = TORCH_ENGINE.replace("MODEL", repr(str(clean / "work" / "model")))
    assert_nothing(_python(script, clean), clean, named=TORCH)


def test_the_fake_engine(clean: Path) -> None:
    assert_nothing(_python(FAKE_ENGINE, clean), clean)


def test_a_model_of_the_hub_that_was_downloaded(clean: Path) -> None:
    repository = clean / "work" / "cache" / "models--clinic--tiny"
    shutil.copytree(clean / "work" / "model", repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    script = (
        "from medembed import MedEmbed; model = MedEmbed('clinic/tiny', threads=1, cache_dir='cache'); model.encode('pain');"
        f" assert model.revision == '{COMMIT}'"
    )
    assert_nothing(_python(script, clean), clean)


def test_importing_what_the_extras_bring(clean: Path) -> None:
    """In one process, to save the seconds that torch takes each time; Ray and vLLM have tests of their own."""
    there = sorted(module for module in EXTRAS.keys() - {"ray", "vllm"} if find_spec(module) is not None)
    named = (*MTEB, *TORCH, *MATPLOTLIB)
    assert_nothing(_python(f"import {', '.join(there)}", clean), clean, named=named, opens_sockets=True)


def test_handing_a_corpus_over(clean: Path) -> None:
    for module in ("faiss", "lancedb", "qdrant_client"):
        pytest.importorskip(module)
    if not (clean / "work" / "corpus").exists():
        assert_nothing(_medembed(("index", "notes.jsonl", "-o", "corpus"), clean), clean)
    assert_nothing(_python(HANDED_OVER, clean), clean, opens_sockets=True)


def test_ray_talks_on_this_machine_only(clean: Path) -> None:
    pytest.importorskip("ray")
    words = ("index", "notes.jsonl", "-o", "by-ray", "--ray", "local")
    observed = _medembed(words, clean)
    assert_nothing(observed, clean, named=RAY, opens_sockets=True, loopback=True, addresses=RAY_ADDRESSES)


class TestOpenVinosTelemetry:
    def run(self, script: str) -> None:
        subprocess.run([sys.executable, "-c", script], check=True, timeout=120)

    def test_it_is_not_imported_with_our_engine(self) -> None:
        self.run(
            "import sys; from medembed.runtime.engines import openvino_engine;"
            " assert 'openvino' in sys.modules and 'openvino_telemetry' not in sys.modules"
        )

    def test_one_that_the_user_imported_stays_theirs(self) -> None:
        self.run(
            "import sys, types; theirs = sys.modules['openvino_telemetry'] = types.ModuleType('openvino_telemetry')\n"
            "from medembed.runtime.engines import openvino_engine\n"
            "assert sys.modules['openvino_telemetry'] is theirs"
        )

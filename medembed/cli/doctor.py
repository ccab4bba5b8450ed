"""`medembed doctor`: this machine, and the engine chosen for it.

It shows what the machine has, why that engine is chosen, whether it is faithful, and how fast it is.
"""

import importlib.metadata
import importlib.util
import json
import logging
import platform
import tempfile
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import typer
from rich.table import Table

from medembed import __version__, demo
from medembed.checkpoints import checkpoint
from medembed.checkpoints.registry import BUNDLED
from medembed.cli import options
from medembed.console import Terminal
from medembed.extras import require
from medembed.model import MedEmbed
from medembed.runtime import hardware
from medembed.runtime.engines import load_engine
from medembed.runtime.engines.bert_shape import BertShape
from medembed.runtime.engines.interface import Engine
from medembed.runtime.tokenizer import TruncationWarning
from medembed.terminal import say

# the fidelity that `precision="auto"` promises: mean cosine to the same weights in fp32
FAITHFUL = 0.9999
PACKAGES = (
    "openvino",
    "tokenizers",
    "numpy",
    "huggingface-hub",
    "torch",
    "transformers",
    "sentence-transformers",
    "mteb",
)
SPEED_TEXTS = 200
INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "i8mm", "bf16")


def doctor(
    model: options.Model = BUNDLED,
    precision: options.Precision = options.PrecisionName.auto,
    device: options.Device = "auto",
    threads: options.Threads = None,
    as_json: options.AsJson = False,
) -> None:
    """Show this machine, the engine chosen for it and why. Check the vectors, and measure a speed.

    The vectors are held against what sentence-transformers makes of the same folder, where it is installed.

    Exits with 1 when the engine is not faithful.

    Examples: [bold]medembed doctor[/bold] · [bold]medembed doctor --json[/bold]
    """
    console = Terminal(quiet=as_json)
    machine = _machine()
    console.print(_table(machine))
    why = _Reasons()
    with MedEmbed(model, precision=precision.value, device=device, threads=threads) as embedder:
        console.print(f"{embedder!r}\n{why.line}", highlight=False)
        cosines, reference = _cosines(embedder, model)
        faithful = bool(cosines.mean() >= FAITHFUL) or precision is options.PrecisionName.int8
        mark = "[green]faithful[/green]" if faithful else "[red]NOT faithful[/red]"
        console.print(
            f"parity with {reference}: mean cosine {cosines.mean():.6f}, lowest {cosines.min():.6f}: {mark}",
            highlight=False,
        )
        speed = _speed(embedder, model)
        console.print(_told(speed), highlight=False)
        if as_json:
            parity = {"reference": reference, "mean": float(cosines.mean()), "lowest": float(cosines.min())}
            facts = {
                "machine": machine,
                "engine": why.line,
                "faithful": faithful,
                "cosine": parity,
                "speed": asdict(speed),
            }
            say(json.dumps(facts))
    if not faithful:
        raise typer.Exit(1)


class _Reasons(logging.Handler):
    """A handler that keeps the log line naming the chosen engine. The line also says why it was chosen."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.line = "engine as passed in"
        log = logging.getLogger("medembed")
        log.addHandler(self)
        log.setLevel(logging.INFO)

    def emit(self, record: logging.LogRecord) -> None:
        self.line = record.getMessage()


def _machine() -> dict[str, str]:
    """Facts about this machine, in words."""
    flags = hardware.cpu_flags()
    quota = hardware.cgroup_cpu_quota()
    return {
        "medembed": f"{__version__} on Python {platform.python_version()}, {platform.system()} {platform.machine()}",
        "CPU": hardware.cpu_name(),
        "instructions": ", ".join(name for name in INSTRUCTIONS if name in flags) or "unknown",
        "usable cores": f"{hardware.usable_cores()}" + ("" if quota is None else f" (container limit {quota:g})"),
        "accelerator": hardware.accelerator() or "none",
        "installed": ", ".join(f"{name} {version}" for name in PACKAGES if (version := _version(name))),
    }


def _table(machine: dict[str, str]) -> Table:
    table = Table(show_header=False, title="this machine", title_justify="left")
    for what, value in machine.items():
        table.add_row(what, value)
    return table


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


Cosines = np.ndarray[tuple[int], np.dtype[np.float32]]


def _cosines(embedder: MedEmbed, model: str) -> tuple[Cosines, str]:
    """Cosines of demonstration passages to a reference, and the reference's name.

    The reference is what sentence-transformers makes of the same folder.

    Without sentence-transformers, and for the compact files that only medembed reads, it is our own engine in fp32.
    """
    texts = [passage.text for passage in demo.passages()[:: len(demo.passages()) // 40]]
    found = checkpoint.fetch(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)
        ours = embedder.encode_document(texts)
        if importlib.util.find_spec("sentence_transformers") is None:
            return _to_fp32(ours, texts, found, model), "fp32 (sentence-transformers is not installed)"
        return _to_sentence_transformers(
            ours, texts, embedder, found
        ), f"sentence-transformers {_version('sentence-transformers')} in fp32"


def _to_fp32(ours: Cosines, texts: list[str], found: checkpoint.Checkpoint, model: str) -> Cosines:
    reference: Engine = load_engine(found, device="cpu", precision="fp32", threads=1)
    with MedEmbed(model, engine=reference) as exact:
        return np.asarray((ours * exact.encode_document(texts)).sum(axis=1))


def _to_sentence_transformers(
    ours: Cosines, texts: list[str], embedder: MedEmbed, found: checkpoint.Checkpoint
) -> Cosines:
    """Load the folder as its users would elsewhere.

    Our own reading takes no part, except for an export of compact weights.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = found.folder
        if found.files.weights().compact:
            folder = Path(place) / "exported"
            checkpoint.export(found, folder)
        reference = require("sentence_transformers").SentenceTransformer(
            str(folder), device="cpu", local_files_only=True
        )
    # "passage" and "corpus" prompts are documents' to medembed; sentence-transformers 6 leaves them to its caller
    theirs = np.asarray(
        reference.encode(texts, prompt=embedder.spec.prompts["document"], batch_size=8), dtype=np.float32
    )
    lengths = np.linalg.norm(theirs, axis=1) * np.linalg.norm(ours, axis=1)
    return np.asarray((ours * theirs).sum(axis=1) / np.maximum(lengths, 1e-12))


@dataclass(frozen=True)
class Speed:
    """Speed of an engine on this machine.

    Attributes:
        passages: Demonstration passages a second, in one call.
        tokens: Their tokens a second.
        query_ms: Median milliseconds of one query.
        operations: Floating-point operations a second, those that the model cannot do without. None for other graphs than BERT's.
        limit: Those that plain matrix products of its shape and precision reach here.
    """

    passages: float
    tokens: float
    query_ms: float
    operations: float | None
    limit: float | None


def _speed(embedder: MedEmbed, model: str) -> Speed:
    texts = [passage.text for passage in demo.passages()[:SPEED_TEXTS]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)
        embedder.warm_up()
        started = time.perf_counter()
        embedder.encode_document(texts)
        seconds = time.perf_counter() - started
        took = [_once(embedder) for _ in range(20)]
    lengths = [min(count, embedder.max_seq_length) for count in embedder.count_tokens(texts)]
    per_second = len(texts) / seconds, sum(lengths) / seconds, float(np.median(took)) * 1000
    if embedder.engine_name != "openvino":
        return Speed(*per_second, None, None)
    from medembed.runtime.engines import matrix_rate

    shape = BertShape(checkpoint.fetch(model).config)
    operations = matrix_rate.forward_operations(shape.hidden, shape.layers, shape.inner, lengths)
    limit = matrix_rate.matrix_rate(shape, embedder.precision, embedder.concurrency)
    return Speed(*per_second, operations / seconds, limit)


def _told(speed: Speed) -> str:
    told = f"speed: {speed.passages:.0f} passages/s ({speed.tokens:,.0f} tokens/s); one query {speed.query_ms:.1f} ms"
    if speed.operations is None or speed.limit is None:
        return told
    if speed.operations > speed.limit:
        return f"{told}\nlimit: not to be measured while other processes take this machine"
    share = f"{speed.operations / speed.limit:.0%} of the {speed.limit / 1e9:,.0f} GFLOP/s"
    return f"{told}\nlimit: {share} that plain matrix products of this shape and precision reach here"


def _once(embedder: MedEmbed) -> float:
    started = time.perf_counter()
    embedder.encode_query("crushing chest pain radiating to the left arm")
    return time.perf_counter() - started

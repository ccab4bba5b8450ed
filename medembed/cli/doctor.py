"""`medembed doctor`: what this machine has, which engine is chosen and why, whether it is faithful, how fast it is."""

import importlib.metadata
import logging
import platform
import time
import warnings

import numpy as np
import typer
from rich.table import Table

from medembed import __version__, demo
from medembed.checkpoints import checkpoint
from medembed.checkpoints.registry import BUNDLED
from medembed.cli import options
from medembed.model import MedEmbed
from medembed.runtime import hardware
from medembed.runtime.engines import load_engine
from medembed.runtime.engines.interface import Engine
from medembed.runtime.tokenizer import TruncationWarning
from medembed.terminal import Terminal

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
) -> None:
    """Show this machine, the engine chosen for it and why; check the vectors against fp32; measure a speed.

    Exits with 1 when the engine is not faithful.

    Example: [bold]medembed doctor[/bold]
    """
    console = Terminal()
    console.print(_machine())
    why = _Reasons()
    with MedEmbed(model, precision=precision.value, device=device, threads=threads) as embedder:
        console.print(f"{embedder!r}\n{why.line}", highlight=False)
        cosines = _cosines_to_fp32(embedder, model)
        faithful = bool(cosines.mean() >= FAITHFUL) or precision is options.PrecisionName.int8
        mark = "[green]faithful[/green]" if faithful else "[red]NOT faithful[/red]"
        console.print(
            f"parity with fp32: mean cosine {cosines.mean():.6f}, lowest {cosines.min():.6f}: {mark}", highlight=False
        )
        console.print(_speed(embedder), highlight=False)
    if not faithful:
        raise typer.Exit(1)


class _Reasons(logging.Handler):
    """Keeps the log line that says which engine was chosen and why."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.line = "engine as passed in"
        log = logging.getLogger("medembed")
        log.addHandler(self)
        log.setLevel(logging.INFO)

    def emit(self, record: logging.LogRecord) -> None:
        self.line = record.getMessage()


def _machine() -> Table:
    table = Table(show_header=False, title="this machine", title_justify="left")
    flags = hardware.cpu_flags()
    table.add_row(
        "medembed", f"{__version__} on Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    )
    table.add_row("CPU", hardware.cpu_name())
    table.add_row("instructions", ", ".join(name for name in INSTRUCTIONS if name in flags) or "unknown")
    quota = hardware.cgroup_cpu_quota()
    table.add_row(
        "usable cores", f"{hardware.usable_cores()}" + ("" if quota is None else f" (container limit {quota:g})")
    )
    table.add_row("accelerator", hardware.accelerator() or "none")
    table.add_row("installed", ", ".join(f"{name} {version}" for name in PACKAGES if (version := _version(name))))
    return table


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cosines_to_fp32(embedder: MedEmbed, model: str) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Cosine of each demonstration passage to the same weights run in fp32 on the CPU."""
    texts = [passage.text for passage in demo.passages()[:: len(demo.passages()) // 40]]
    reference: Engine = load_engine(checkpoint.fetch(model), device="cpu", precision="fp32", threads=1)
    with warnings.catch_warnings(), MedEmbed(model, engine=reference) as exact:
        warnings.simplefilter("ignore", TruncationWarning)
        return np.asarray((embedder.encode(texts) * exact.encode(texts)).sum(axis=1))


def _speed(embedder: MedEmbed) -> str:
    texts = [passage.text for passage in demo.passages()[:SPEED_TEXTS]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)
        embedder.warm_up()
        started = time.perf_counter()
        embedder.encode_document(texts)
        seconds = time.perf_counter() - started
        took = [_once(embedder) for _ in range(20)]
    tokens = sum(embedder.count_tokens(texts))
    return f"speed: {len(texts) / seconds:.0f} passages/s ({tokens / seconds:,.0f} tokens/s); one query {np.median(took) * 1000:.1f} ms"


def _once(embedder: MedEmbed) -> float:
    started = time.perf_counter()
    embedder.encode_query("crushing chest pain radiating to the left arm")
    return time.perf_counter() - started

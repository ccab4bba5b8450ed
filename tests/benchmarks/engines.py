"""The table of what is measured: each row says which environment it runs in and how it is loaded.

Peers run at their default settings (batch size, precision), as their users get them; only the thread count and the
maximal length are the same for all. This module imports nothing heavy: each loader does, in the worker's process.
"""

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.texts import MAX_SEQ_LENGTH

Environment = Literal["own", "peers"]
# where `make test-kernels` builds the optional engine, outside of the environment that all else is measured in
KERNELS = Path(__file__).parents[2] / "build" / "kernels"


class Encode(Protocol):
    """Texts to vectors, at most ``MAX_SEQ_LENGTH`` tokens of each."""

    def __call__(self, texts: list[str], prompt: str = "") -> NDArray[np.float32]:
        """*Shape:* ``(len(texts), dimension)``."""


@dataclass(frozen=True)
class Place:
    """Where an engine finds its model and what it may use.

    Attributes:
        folder: A sentence-transformers folder, or the export for the engine's backend.
        threads: CPU threads to compute with.
        device: ``"cpu"`` or a torch device.
    """

    folder: Path
    threads: int
    device: str = "cpu"


@dataclass(frozen=True)
class EngineRow:
    """One thing to measure.

    Attributes:
        name: As in tables and on the command line.
        environment: ``"own"`` (the development environment) or ``"peers"``.
        load: Run once in the worker; what it returns is timed.
        export: The backend whose export it needs instead of the folder itself.
    """

    name: str
    environment: Environment
    load: Callable[[Place], Encode]
    export: Literal["onnx", "openvino"] | None = None


def _encode_of(model: Any) -> Encode:
    return lambda texts, prompt="": model.encode(texts, prompt=prompt, show_progress_bar=False)


def _medembed(precision: str) -> Callable[[Place], Encode]:
    def load(place: Place) -> Encode:
        from medembed import MedEmbed

        model = MedEmbed(
            place.folder,
            device=place.device,
            precision=precision,  # type: ignore[arg-type]  # a Literal there, a row of a table here
            threads=place.threads,
            max_seq_length=MAX_SEQ_LENGTH,
        )
        return _encode_of(model)

    return load


def kernels_run_here() -> bool:
    """Tell whether medembed-kernels is built here, and this CPU has what it needs."""
    from medembed.runtime.hardware import cpu_flags

    return (KERNELS / "medembed_kernels").is_dir() and "amx_bf16" in cpu_flags()


def that_run_here(names: Iterable[str]) -> tuple[str, ...]:
    """The engines without the kernels, where those do not run."""
    return tuple(name for name in names if name != "medembed-kernels" or kernels_run_here())


def _kernels(place: Place) -> Encode:
    from medembed import MedEmbed

    sys.path.insert(0, str(KERNELS))
    model = MedEmbed(place.folder, threads=place.threads, max_seq_length=MAX_SEQ_LENGTH)
    if model.engine_name != "kernels":
        raise SystemExit(
            "medembed-kernels does not run here: `make test-kernels` builds it, and says why it cannot be used"
        )
    return _encode_of(model)


def _bundled(place: Place) -> Encode:
    from medembed import MedEmbed

    model = MedEmbed(threads=place.threads, max_seq_length=MAX_SEQ_LENGTH)
    return _encode_of(model)


def _fake(_place: Place) -> Encode:
    from medembed import FakeEngine, MedEmbed

    model = MedEmbed(engine=FakeEngine(), max_seq_length=MAX_SEQ_LENGTH)
    return _encode_of(model)


def _sentence_transformers(
    *, dtype: str | None = None, backend: str = "torch", file: str | None = None, batch_size: int = 32
) -> Callable[[Place], Encode]:
    def load(place: Place) -> Encode:
        import torch
        from sentence_transformers import SentenceTransformer

        torch.set_num_threads(place.threads)
        options: dict[str, Any] = {}
        if file:
            options["file_name"] = file
        if backend == "onnx":
            options |= {"provider": "CPUExecutionProvider", "session_options": _onnx_session(place.threads)}
        if backend == "openvino":
            options["ov_config"] = {"INFERENCE_NUM_THREADS": place.threads}
        if dtype:
            options["dtype"] = getattr(torch, dtype)
        model = SentenceTransformer(str(place.folder), device=place.device, backend=backend, model_kwargs=options)
        model.max_seq_length = MAX_SEQ_LENGTH
        return lambda texts, prompt="": model.encode(
            texts, prompt=prompt or None, batch_size=batch_size, show_progress_bar=False
        )

    return load


def _onnx_session(threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return options


def _fastembed(place: Place) -> Encode:
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    name = f"benchmark/{place.folder.name}"
    cls = "bge" in place.folder.name
    TextEmbedding.add_custom_model(
        model=name,
        pooling=PoolingType.CLS if cls else PoolingType.MEAN,
        normalization=True,
        sources=ModelSource(hf=name),
        dim=768 if "base" in place.folder.name else 384,
        model_file="onnx/model.onnx",
    )
    model = TextEmbedding(name, specific_model_path=str(place.folder), threads=place.threads)
    return lambda texts, prompt="": np.stack(list(model.embed([prompt + text for text in texts])))


_ROWS = (
    EngineRow("st-fp32", "own", _sentence_transformers()),
    EngineRow("st-bf16", "own", _sentence_transformers(dtype="bfloat16")),
    EngineRow("st-fp16", "own", _sentence_transformers(dtype="float16")),
    EngineRow("st-bf16-batch128", "own", _sentence_transformers(dtype="bfloat16", batch_size=128)),
    EngineRow("st-fp16-batch128", "own", _sentence_transformers(dtype="float16", batch_size=128)),
    EngineRow(
        "st-openvino",
        "peers",
        _sentence_transformers(backend="openvino", file="openvino/openvino_model.xml"),
        "openvino",
    ),
    EngineRow("st-onnx", "peers", _sentence_transformers(backend="onnx", file="onnx/model.onnx"), "onnx"),
    EngineRow("fastembed", "peers", _fastembed, "onnx"),
    EngineRow("medembed", "own", _medembed("auto")),
    EngineRow("medembed-fp32", "own", _medembed("fp32")),
    EngineRow("medembed-bf16", "own", _medembed("bf16")),
    EngineRow("medembed-int8", "own", _medembed("int8")),
    EngineRow("medembed-bundled", "own", _bundled),
    EngineRow("medembed-kernels", "own", _kernels),
    EngineRow("fake", "own", _fake),
)
ENGINES = {row.name: row for row in _ROWS}

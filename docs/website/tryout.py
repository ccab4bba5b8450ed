"""The assets of the try-out page: encoder, passages, their vectors and the ONNX runtime, small enough to load.

The model runs in the reader's browser, so nothing that is typed is sent anywhere. Weights become int8, and whatever is
large is gzipped here and unpacked there: not every web server compresses WebAssembly. See decision 0050.
"""

import base64
import gzip
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from docs.website.npm import MODULES
from medembed import demo
from medembed.checkpoints import checkpoint
from medembed.checkpoints.registry import BUNDLED
from medembed.recipes import onnx_export

RUNTIME = MODULES / "onnxruntime-web"
# below this, int8 saves nothing worth a node
SMALLEST_MATRIX = 10_000


def build(target: Path, vectors: NDArray[np.float32], passages: Sequence[demo.Passage]) -> None:
    """Write everything the try-out loads.

    Args:
        target: Folder to write into.
        vectors: Of the passages, of unit length. *Shape:* ``(n, dimension)``.
        passages: The demonstration corpus.
    """
    found = checkpoint.fetch(BUNDLED)
    tokenizer = json.loads((found.folder / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = sorted(tokenizer["model"]["vocab"].items(), key=lambda item: int(item[1]))
    (target / "vocabulary.txt").write_text("\n".join(token for token, _ in vocabulary), encoding="utf-8")
    _write_json(target / "passages.json", _passages(passages, vectors))
    shutil.copyfile(RUNTIME / "dist" / "ort.wasm.bundle.min.mjs", target / "ort.mjs")
    pack(RUNTIME / "dist" / "ort-wasm-simd-threaded.wasm", target / "ort.wasm.gzip")
    _pack_encoder(found, target / "encoder.onnx.gzip")
    _write_notices(target / "NOTICES.txt")
    about = {"max_tokens": found.spec.max_seq_length, "dimension": found.spec.dimension, "revision": found.revision}
    sizes = {path.name: path.stat().st_size for path in sorted(target.iterdir())}
    _write_json(target / "tryout.json", about | {"bytes": sizes})


def _pack_encoder(found: checkpoint.Checkpoint, target: Path) -> None:
    """The bundled model as ONNX with int8 weights, gzipped."""
    import onnx

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        checkpoint.export(found, folder)
        model = onnx.load(onnx_export.export(folder))
        store_as_int8(model)
        small = Path(scratch) / "small.onnx"
        onnx.save(model, small)
        pack(small, target)


def store_as_int8(model: Any) -> None:
    """Keep each matrix as int8 with a scale for every token or output; the computation stays float32.

    Quantizing activations too, as onnxruntime's dynamic quantization does, is no smaller and loses more: decision 0050.

    Args:
        model: The ONNX model, changed in place.
    """
    from onnx import helper, numpy_helper

    graph, nodes = model.graph, []
    for weight in list(graph.initializer):
        values = numpy_helper.to_array(weight)
        if values.ndim != 2 or values.size < SMALLEST_MATRIX:
            continue
        axis = 0 if "embeddings" in weight.name else 1
        scales = (np.abs(values).max(axis=1 - axis) / 127).astype(np.float32)
        stored = np.rint(values / np.expand_dims(scales, 1 - axis)).astype(np.int8)
        names = [f"{weight.name}.int8", f"{weight.name}.scales"]
        for name, array in zip(names, (stored, scales), strict=True):
            graph.initializer.append(numpy_helper.from_array(array, name))
        nodes.append(helper.make_node("DequantizeLinear", names, [weight.name], axis=axis))
        graph.initializer.remove(weight)
    for node in reversed(nodes):
        graph.node.insert(0, node)


def pack(source: Path, target: Path) -> None:
    """Gzip, the same bytes for the same content. The ending is no ``.gz``, or some servers would unpack it unasked."""
    target.write_bytes(gzip.compress(source.read_bytes(), compresslevel=9, mtime=0))


def _passages(passages: Sequence[demo.Passage], vectors: NDArray[np.float32]) -> dict[str, Any]:
    """Texts, and vectors as int8 with one scale a row, which costs a cosine of 0.9999."""
    scales = np.abs(vectors).max(axis=1, keepdims=True) / 127
    stored = np.rint(vectors / scales).astype(np.int8)
    return {
        "passages": [{"title": p.title, "text": p.text, "source": p.source} for p in passages],
        "scales": [round(float(scale), 7) for scale in scales[:, 0]],
        "vectors": base64.b64encode(stored.tobytes()).decode("ascii"),
    }


def _write_notices(target: Path) -> None:
    """Whose work is served with the site, under which license."""
    package = json.loads((RUNTIME / "package.json").read_text(encoding="utf-8"))
    target.write_text(
        f"{package['name']} {package['version']}: {package['license']}, Copyright Microsoft Corporation, github.com/microsoft/onnxruntime\n"
        "Passages: see medembed/demo/ATTRIBUTION.md. Model: Apache-2.0.\n",
        encoding="utf-8",
    )


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")

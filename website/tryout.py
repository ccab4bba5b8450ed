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

from medembed import checkpoint, demo
from medembed.recipes import onnx_export
from medembed.registry import BUNDLED
from website.npm import MODULES

RUNTIME = MODULES / "onnxruntime-web"
# what the page may weigh: a minute on a poor line
MAX_BYTES = 35 * 2**20


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
    _pack(RUNTIME / "dist" / "ort-wasm-simd-threaded.wasm", target / "ort.wasm.gzip")
    _pack_encoder(found, target / "encoder.onnx.gzip")
    _write_notices(target / "NOTICES.txt")
    about = {"max_tokens": found.spec.max_seq_length, "dimension": found.spec.dimension, "revision": found.revision}
    sizes = {path.name: path.stat().st_size for path in sorted(target.iterdir())}
    _write_json(target / "tryout.json", about | {"bytes": sizes})


def _pack_encoder(found: checkpoint.Checkpoint, target: Path) -> None:
    """The bundled model as int8 ONNX, gzipped."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        checkpoint.export(found, folder)
        exported = onnx_export.export(folder)
        small = Path(scratch) / "small.onnx"
        quantize_dynamic(
            exported, small, per_channel=True, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul", "Gather"]
        )
        _pack(small, target)


def _pack(source: Path, target: Path) -> None:
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
    """Whose work is served with the site, under which licence."""
    package = json.loads((RUNTIME / "package.json").read_text(encoding="utf-8"))
    target.write_text(
        f"{package['name']} {package['version']}: {package['license']}, Copyright Microsoft Corporation, github.com/microsoft/onnxruntime\n"
        "Passages: see medembed/demo/ATTRIBUTION.md. Model: Apache-2.0.\n",
        encoding="utf-8",
    )


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")

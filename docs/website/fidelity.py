"""What the try-out's int8 weights cost: its size on disk, and cosines to the model in fp32.

    python -m docs.website.fidelity

Looks at what `make docs` has built. The encoder is run by OpenVINO, which reads the same ONNX file as the browser's runtime.
"""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medembed import MedEmbed, demo, vectors
from medembed.checkpoints.checkpoint import fetch
from medembed.checkpoints.registry import BUNDLED
from medembed.runtime.tokenizer import Tokenizer

BUILT = Path(__file__).parents[1] / "assets" / "built"
# every fourth title, and the questions of the demonstration: short texts, as people type them
TITLES_STEP = 4


def texts() -> list[str]:
    """What is compared."""
    return [*(passage.title for passage in demo.passages()[::TITLES_STEP]), *demo.QUESTIONS]


def encode(packed: Path, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    """Vectors of the try-out's encoder, as its JavaScript makes them: mean of the tokens' states, unit length.

    Args:
        packed: The gzipped ONNX file.
        ids: Token ids of each text.

    Returns:
        *Shape:* ``(len(ids), dimension)``.
    """
    from medembed.runtime.engines.silent_openvino import ov

    core = ov.Core()
    # OpenVINO would compute in bf16 where the CPU can; the browser computes in fp32
    compiled = core.compile_model(
        core.read_model(gzip.decompress(packed.read_bytes())), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    rows = []
    for row in ids:
        tokens = np.asarray([row], dtype=np.int64)
        states = compiled([tokens, np.ones_like(tokens), np.zeros_like(tokens)])[0]
        rows.append(states[0].mean(axis=0))
    return vectors.normalize(np.stack(rows))


def main(built: Path = BUILT) -> None:
    """Print revision, sizes, and mean and lowest cosine."""
    about = json.loads((built / "tryout.json").read_text(encoding="utf-8"))
    compared = texts()
    with MedEmbed(precision="fp32") as model:
        if model.revision != about["revision"]:
            raise SystemExit(f"built for {about['revision']}, and mini is {model.revision}: run make docs")
        exact = model.encode(compared)
    ids = Tokenizer(fetch(BUNDLED).files, about["max_tokens"])(compared).ids
    cosines = (encode(built / "encoder.onnx.gzip", ids) * exact).sum(axis=1)
    for name, size in about["bytes"].items():
        print(f"{name:20} {size / 1e6:5.1f} MB")
    print(f"{'all':20} {sum(about['bytes'].values()) / 1e6:5.1f} MB")
    print(
        f"{about['revision']}: cosine to fp32 on {len(compared)} texts: mean {cosines.mean():.5f}, lowest {cosines.min():.5f}"
    )


if __name__ == "__main__":
    main()

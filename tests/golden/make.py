"""Golden vectors of the bundled model: made by sentence-transformers from full-precision weights, never by the code under test.

    make golden FOLDER=the folder that the recipe published

Writes ``tests/golden/mini.npz``; ``tests/test_parity.py`` compares the bundled, compact weights with it.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from medembed import demo
from medembed.checkpoints import checkpoint

FILE = Path(__file__).with_name("mini.npz")
TEXTS = [*(passage.text for passage in demo.passages()[::30]), *demo.QUESTIONS, "", "a", "x" * 300]
MAX_SEQ_LENGTH = 384


def main(folder: Path) -> None:
    """Encode the texts with sentence-transformers in fp32 and store vectors, the reference's version and the weights' hash."""
    import sentence_transformers

    model = sentence_transformers.SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    model.max_seq_length = MAX_SEQ_LENGTH
    rows = model.encode(TEXTS, normalize_embeddings=True, show_progress_bar=False)
    revision = checkpoint.fetch(str(folder)).revision
    np.savez_compressed(
        FILE,
        vectors=np.asarray(rows, dtype=np.float32),
        reference=f"sentence-transformers {sentence_transformers.__version__}",
        revision=revision,
    )
    sys.stdout.write(f"{FILE}: {len(rows)} vectors of {revision}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="full-precision model, as sentence-transformers loads it")
    main(parser.parse_args().folder)

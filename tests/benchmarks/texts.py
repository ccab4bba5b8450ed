"""The committed benchmark texts. Standard library only: workers in any environment read them."""

import gzip
import json
from itertools import islice
from pathlib import Path
from typing import Literal

MAX_SEQ_LENGTH = 512
DATA = Path(__file__).parent / "data"
Kind = Literal["passages", "queries"]


def load(kind: Kind, n: int | None = None) -> list[str]:
    """The first ``n`` texts of a kind, or all; the files are in hash order, so any beginning is a fair sample.

    Raises:
        ValueError: Fewer than ``n`` are there; repeating texts would flatter engines that cache.
    """
    with gzip.open(DATA / f"{kind}.jsonl.gz", "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in islice(lines, n)]
    if n is not None and len(texts) < n:
        raise ValueError(f"{n} {kind} were asked for, {len(texts)} are committed")
    return texts


def token_counts(folder: Path, kind: Kind, n: int) -> list[int]:
    """What a model sees of each text: special tokens included, nothing above the 512th, no padding."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_SEQ_LENGTH)
    return [len(encoding.ids) for encoding in tokenizer.encode_batch(load(kind, n))]

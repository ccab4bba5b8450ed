"""What compressed token vectors and chosen candidates cost: `python -m tests.benchmarks.token_vectors FOLDER ...`, on BEIR folders.

Each text is encoded once by the bundled late interaction; the same vectors are scored exactly as they are, and from token indexes.
"""

import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from medembed import Cut, MedColBERT, TruncationWarning
from medembed.colbert.index.build import TokenSettings
from medembed.colbert.index.store import TokenIndex
from medembed.colbert.maxsim import maxsim
from medembed.colbert.model import EncodedTokens
from medembed.colbert.residual import Bits
from medembed.recipes import retrieval
from medembed.rows import beir
from medembed.search.ranking import ndcg
from medembed.vectors import Floats
from tests.benchmarks import report
from tests.benchmarks.report import Claim, Result

BITS: tuple[Bits, ...] = (2, 4)
MOST_LOST = 0.005
QUERIES_A_BLOCK = 64
WHOLE = "float32, all documents"


class Encoded:
    """Stands for a model whose vectors are there already: a text is the number of its document."""

    def __init__(self, model: MedColBERT, documents: list[Floats]) -> None:
        self.name, self.revision, self.dimension = model.name, model.revision, model.dimension
        self.document_length, self.overlong = model.document_length, model.overlong
        self.precision, self.device = model.precision, model.device
        self._documents = documents

    def encode_document(self, numbers: Sequence[str], **_: Any) -> list[Floats]:
        return [self.one(int(number)) for number in numbers]

    def encode_counted(self, numbers: Sequence[str], **_: Any) -> EncodedTokens:
        found = self.encode_document(numbers)
        return EncodedTokens(found, Cut(0, 0), np.array([len(one) for one in found], dtype=np.int64))

    def one(self, number: int) -> Floats:
        return self._documents[number]


def measure(folder: Path, model: MedColBERT) -> dict[str, Any]:
    """nDCG@10 on one set: exact, and from an index at each number of bits."""
    found = retrieval.read_set(folder.name, beir.open_folder(folder))
    ids, judged = list(found.documents), list(found.queries)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)  # as the evaluation reads them
        documents = model.encode_document(list(found.documents.values()))
        queries = model.encode_query(list(found.queries.values()))

    def score(ranked: list[list[str]]) -> float:
        return mean(ndcg(top, found.qrels[key]) for key, top in zip(judged, ranked, strict=True))

    exact: list[list[str]] = []
    for start in range(0, len(queries), QUERIES_A_BLOCK):
        scores = maxsim(queries[start : start + QUERIES_A_BLOCK], documents)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :10]
        exact += [[ids[row] for row in top] for top in best]
    row: dict[str, Any] = {
        "engine": folder.name,
        "queries": len(judged),
        "tokens": sum(map(len, documents)),
        WHOLE: score(exact),
    }
    stand_in: Any = Encoded(model, documents)
    for bits in BITS:
        with tempfile.TemporaryDirectory() as place:
            rows = ({"id": key, "text": str(number)} for number, key in enumerate(ids))
            with TokenIndex.build(Path(place) / "tokens", rows, stand_in, settings=TokenSettings(bits=bits)) as index:
                hits = index.search_vectors(queries, 10)
                row[f"index, {bits} bits"] = score([[hit.id for hit in some] for some in hits])
                row[f"bytes a token, {bits} bits"] = index.bytes_a_token
    return row


def main(folders: list[Path]) -> None:
    """Measure, print, write."""
    with MedColBERT() as model:
        rows = [measure(folder, model) for folder in folders]
        settings = {"model": model.name, "revision": model.revision, "reads": model.document_length}
    claims = [
        Claim(f"{row['engine']}, index of 2 bits: nDCG@10 lost", row[WHOLE] - row["index, 2 bits"], at_most=MOST_LOST)
        for row in rows
    ]
    result = Result("token-vectors", "nDCG@10 of late interaction", settings, rows, claims)
    report.conclude(result, "token_vectors", folders)


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])

"""Small real things to measure: a BEIR folder, and a results folder as mteb writes it."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

DISEASES = (
    "anaemia",
    "asthma",
    "diabetes",
    "sepsis",
    "stroke",
    "migraine",
    "gout",
    "hepatitis",
    "pneumonia",
    "psoriasis",
)


def write_folder(
    path: Path, documents: Mapping[str, str], queries: Mapping[str, str], pairs: Sequence[tuple[str, str]]
) -> Path:
    (path / "qrels").mkdir(parents=True)
    corpus = [json.dumps({"_id": i, "title": "", "text": text}) for i, text in documents.items()]
    asked = [json.dumps({"_id": i, "text": text}) for i, text in queries.items()]
    judged = ["query-id\tcorpus-id\tscore", *(f"{query}\t{document}\t1" for query, document in pairs)]
    (path / "corpus.jsonl").write_text("\n".join(corpus) + "\n", encoding="utf-8")
    (path / "queries.jsonl").write_text("\n".join(asked) + "\n", encoding="utf-8")
    (path / "qrels" / "test.tsv").write_text("\n".join(judged) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def beir_folder(tmp_path: Path) -> Path:
    """Ten documents, ten queries, one relevant document each."""
    documents = {f"d{i}": f"A patient with {name} was treated on the ward." for i, name in enumerate(DISEASES)}
    queries = {f"q{i}": f"what treats {name}?" for i, name in enumerate(DISEASES)}
    return write_folder(tmp_path / "diseases", documents, queries, [(f"q{i}", f"d{i}") for i in range(len(DISEASES))])


WriteResult = Callable[..., Path]


@pytest.fixture
def write_result(tmp_path: Path) -> WriteResult:
    """Write a result with its details as `medembed evaluate` lays them out; returns the output folder."""

    def write(
        model: str,
        task: str,
        per_query: Mapping[str, Sequence[float]] | Sequence[float],
        *,
        meta: Mapping[str, Any] | None = None,
        folder: str = "out",
        data: str = "sha256-1",
        details: bool = True,
    ) -> Path:
        """``per_query``: values of one part, or sub-set → values."""
        output = tmp_path / folder
        parts = dict(per_query) if isinstance(per_query, Mapping) else {"default": per_query}
        where = Path(model.replace("/", "__"), "rev1")
        (output / "results" / where).mkdir(parents=True, exist_ok=True)
        (output / "details" / where).mkdir(parents=True, exist_ok=True)
        scores = [
            {
                "hf_subset": name,
                "languages": ["eng-Latn"],
                "main_score": mean,
                "ndcg_at_10": mean,
                "recall_at_10": mean / 2,
            }
            for name, values in parts.items()
            for mean in [sum(values) / len(values)]
        ]
        result = {"task_name": task, "dataset_revision": data, "mteb_version": "2.26.24", "scores": {"test": scores}}
        (output / "results" / where / f"{task}.json").write_text(json.dumps(result))
        described = {"name": model, "revision": "rev1", **(meta or {})}
        (output / "results" / where / "model_meta.json").write_text(json.dumps(described))
        if details:
            columns = {
                name: {"query_ids": [f"q{i}" for i in range(len(values))], "ndcg_at_10": list(values)}
                for name, values in parts.items()
            }
            kept = {
                "dataset_revision": data,
                "encoding": {"seconds": 2.0, "texts": 100},
                "per_query": {"test": columns},
            }
            (output / "details" / where / f"{task}.json").write_text(json.dumps(kept))
        return output

    return write

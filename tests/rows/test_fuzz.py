"""Files with changed bytes are read, rejected row by row, or refused: never lost, never a traceback, never told."""

from pathlib import Path

import pytest

from tests.rows import fuzz


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_good_files_are_read_whole(kind: str, tmp_path: Path) -> None:
    assert fuzz.one(fuzz.good(kind), kind, tmp_path) == "read"
    path = tmp_path / f"t.{fuzz.ENDINGS.get(kind, kind)}"
    path.write_bytes(fuzz.good(kind))
    assert fuzz.read(path, kind) == (1 if kind in {*fuzz.DOCUMENTS, "cda"} else fuzz.N_ROWS, 0, [])


@pytest.mark.parametrize(
    ("seed", "count"),
    [(7, 600), pytest.param(1, 10_000, marks=pytest.mark.slow)],
    ids=["quick", "slow"],
)
def test_changed_bytes_lose_no_row_and_tell_nothing(seed: int, count: int) -> None:
    broken: list[str] = []
    counts = fuzz.run(count, seed, lambda kind, _, error: broken.append(f"{kind}: {type(error).__name__}: {error}"))
    assert broken == []
    assert all(counts[kind]["some rejected"] for kind in ("jsonl", "csv", "txt"))
    assert counts["parquet"]["refused"]

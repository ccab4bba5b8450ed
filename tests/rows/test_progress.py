"""Progress in rows: shown from the first rows on, with a total."""

import sys
from pathlib import Path
from typing import Any

import pytest

from medembed import FakeEngine, MedEmbed, progress
from medembed.cli.encode import AHEAD_ROWS, _groups
from medembed.corpus import embed
from medembed.progress import RowBar
from medembed.rows import read, sources
from medembed.rows.read import Columns


class Drawn:
    """A bar that keeps what it was told."""

    def __init__(self) -> None:
        self.total, self.n = 0, 0
        self.seen: list[tuple[int, int]] = []

    def update(self, count: int) -> None:
        self.n += count
        self.seen.append((self.n, self.total))


def rows_file(path: Path, count: int) -> Path:
    path.write_text("".join(f'{{"id": "{number}", "text": "fever {number % 100:>100}"}}\n' for number in range(count)))
    return path


@pytest.mark.parametrize("count", [500, 20_000])
def test_encode_shows_a_total_with_its_first_rows(tmp_path: Path, count: int) -> None:
    found = sources.find([str(rows_file(tmp_path / "t.jsonl", count))])
    drawn = Drawn()
    bar = RowBar(drawn, found.size())
    rows = read.all_rows(found, Columns(), bar.read)
    sizes = []
    for group in _groups(rows, bar):
        sizes.append(len(group))
        bar.advance(len(group))
    assert sizes[0] == 64
    assert max(sizes) == 1024 or count == 500
    assert drawn.n == sum(sizes) == count
    first_total = drawn.seen[0][1]
    assert first_total == count if count < AHEAD_ROWS else abs(first_total - count) < 0.2 * count
    assert drawn.seen[-1] == (count, count)


def test_index_shows_progress_within_its_first_shard(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = rows_file(tmp_path / "t.jsonl", 3000)
    drawn = Drawn()
    with MedEmbed(engine=FakeEngine(dimension=16)) as model:
        embed.index([str(path)], tmp_path / "corpus", model, progress=RowBar(drawn, path.stat().st_size))
    done = [n for n, _ in drawn.seen]
    assert {total for _, total in drawn.seen} == {3000}
    assert done == sorted(done)
    assert (done[0] < 1000, done[-1]) == (True, 3000)


def test_a_log_gets_a_line_every_ten_seconds(capsys: pytest.CaptureFixture[Any]) -> None:
    seconds = iter([0.0, 4.0, 11.0, 15.0, 25.0])
    lines = progress.Lines(lambda: next(seconds))
    bar = RowBar(lines, 1000)
    for n_rows in (100, 120, 20, 10):
        bar.read(n_rows * 2)
        bar.add(n_rows)
        bar.advance(n_rows)
    assert capsys.readouterr().err.splitlines() == [
        "220 rows done of about 500, 14 s left, 20 rows/s",
        "250 rows done of about 500, 25 s left, 10 rows/s",
    ]


def test_a_notebook_gets_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[Any]) -> None:
    monkeypatch.setattr(progress, "DELAY_S", 0.0)
    with progress.row_bar(None) as bar:
        bar.advance(3)
    assert capsys.readouterr().err == ""
    monkeypatch.setitem(sys.modules, "ipykernel", progress)
    with progress.row_bar(None) as bar:
        bar.advance(3)
    assert "3row" in capsys.readouterr().err.replace(" ", "")


def test_nothing_is_drawn_without_a_terminal(capsys: pytest.CaptureFixture[Any]) -> None:
    with progress.row_bar(1000) as bar:
        bar.read(10)
        bar.add(1)
        bar.advance(1)
    with progress.row_bar(None, show=True) as bar:
        bar.advance(3)
    assert "3row" in capsys.readouterr().err.replace(" ", "")

"""A late-interaction model of a few thousand weights, running."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from medembed import MedColBERT
from tests.colbert import folders


@pytest.fixture(scope="session")
def colbert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stanford's layout; read-only by agreement."""
    return folders.stanford(tmp_path_factory.mktemp("colbert") / "model")


@pytest.fixture(scope="session")
def colbert(colbert_folder: Path) -> Iterator[MedColBERT]:
    with MedColBERT(colbert_folder, precision="fp32", threads=2) as model:
        yield model

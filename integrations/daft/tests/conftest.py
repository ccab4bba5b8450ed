"""What holds for every test: no network, no telemetry, one thread, the bundled model's real weights."""

import os

# Before anything imports huggingface_hub, tokenizers or Daft, which read these at import.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["DO_NOT_TRACK"] = "true"

import json
import shutil
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import daft
import pytest

from daft_medembed import MedEmbedProvider

PROMPTS = {"query": "query: ", "document": "passage: "}


@pytest.fixture(autouse=True)
def session() -> Iterator[daft.Session]:
    """A session with the provider, as users have it, on one thread."""
    with daft.Session() as session:
        session.attach_provider(MedEmbedProvider(threads=1))
        yield session


@pytest.fixture
def prompted(tmp_path: Path) -> Path:
    """The bundled model with prompts for queries and passages, as most retrieval models have them."""
    folder = tmp_path / "prompted"
    dense = shutil.ignore_patterns("late_interaction")
    shutil.copytree(str(files("medembed") / "weights" / "mini"), folder, ignore=dense)
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": PROMPTS}))
    return folder

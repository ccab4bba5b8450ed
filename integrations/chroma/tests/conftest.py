"""What holds for every test: no network, no telemetry, one thread, the bundled model's real weights."""

import os

# Before anything imports huggingface_hub, tokenizers or Chroma, which read these at import.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["ANONYMIZED_TELEMETRY"] = "false"

import json
import shutil
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import chromadb
import pytest
from chromadb.api import ClientAPI

from chroma_medembed import MedEmbedEmbeddingFunction

PROMPTS = {"query": "query: ", "document": "passage: "}


@pytest.fixture(scope="session")
def function() -> Iterator[MedEmbedEmbeddingFunction]:
    """The bundled model, as users get it, on one thread."""
    made = MedEmbedEmbeddingFunction(threads=1, overlong="chunk")
    yield made
    made.client.close()


@pytest.fixture
def prompted(tmp_path: Path) -> Path:
    """The bundled model with prompts for queries and passages, as most retrieval models have them."""
    folder = tmp_path / "prompted"
    dense = shutil.ignore_patterns("late_interaction")
    shutil.copytree(str(files("medembed") / "weights" / "mini"), folder, ignore=dense)
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": PROMPTS}))
    return folder


@pytest.fixture
def client(tmp_path: Path) -> ClientAPI:
    """A database of its own, in files."""
    return chromadb.PersistentClient(str(tmp_path / "chroma"))

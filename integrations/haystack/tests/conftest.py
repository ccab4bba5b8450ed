"""What holds for every test: no network, no telemetry, one thread, the bundled model's real weights."""

import os

# Before anything imports huggingface_hub, tokenizers or Haystack, which read these at import.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"

import json
import shutil
from importlib.resources import files
from pathlib import Path

import pytest
from haystack import Document

from medembed import demo

PROMPTS = {"query": "query: ", "document": "passage: "}


@pytest.fixture(scope="session")
def prompted(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The bundled model with prompts for queries and passages, as most retrieval models have them."""
    folder = tmp_path_factory.mktemp("model") / "prompted"
    dense = shutil.ignore_patterns("late_interaction")
    shutil.copytree(str(files("medembed") / "weights" / "mini"), folder, ignore=dense)
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": PROMPTS}))
    return str(folder)


@pytest.fixture(scope="session")
def documents() -> list[Document]:
    """The forty shortest of the bundled medical passages, and all on kidneys."""
    passages = sorted(demo.passages(), key=lambda passage: len(passage.text))
    chosen = [*passages[:40], *(passage for passage in passages[40:] if "kidney" in passage.title.lower())]
    return [
        Document(id=passage.id, content=passage.text, meta={"source": passage.source, "title": passage.title})
        for passage in chosen
    ]


@pytest.fixture
def readme() -> str:
    """The package's README."""
    return (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")

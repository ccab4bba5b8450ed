"""What holds for every test: no network, one thread, one real model."""

import os

# Before anything imports huggingface_hub, tokenizers or LangChain, which read these at import.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["LANGSMITH_TRACING"] = "false"
os.environ["ANONYMIZED_TELEMETRY"] = "false"

import json
import shutil
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from langchain_core.documents import Document

from langchain_medembed import MedEmbedEmbeddings
from medembed import demo

PROMPTS = {"query": "query: ", "document": "passage: "}


@pytest.fixture(scope="session")
def embeddings() -> Iterator[MedEmbedEmbeddings]:
    """The bundled model, as users get it, on one thread."""
    made = MedEmbedEmbeddings(threads=1, overlong="chunk")
    yield made
    made.client.close()


@pytest.fixture(scope="session")
def prompted_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled model with prompts for queries and passages, as most retrieval models have them, and without late interaction."""
    folder = tmp_path_factory.mktemp("model") / "prompted"
    dense = shutil.ignore_patterns("late_interaction")
    shutil.copytree(str(files("medembed") / "weights" / "mini"), folder, ignore=dense)
    settings = folder / "config_sentence_transformers.json"
    settings.write_text(json.dumps({"prompts": PROMPTS}))
    return folder


@pytest.fixture(scope="session")
def documents() -> list[Document]:
    """The forty shortest of the bundled medical passages, and all on kidneys."""
    passages = sorted(demo.passages(), key=lambda passage: len(passage.text))
    chosen = [*passages[:40], *(passage for passage in passages[40:] if "kidney" in passage.title.lower())]
    return [
        Document(id=passage.id, page_content=passage.text, metadata={"source": passage.source, "title": passage.title})
        for passage in chosen
    ]

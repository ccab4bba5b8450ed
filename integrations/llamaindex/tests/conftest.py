"""What holds for every test: no network, one thread, one real model."""

import os

# Before anything imports huggingface_hub, tokenizers or LlamaIndex, which read these at import.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["ANONYMIZED_TELEMETRY"] = "false"

# LlamaIndex's splitter counts tokens with a file that its wheel brings along. Its own process finds the file, but the
# workers of a pipeline would fetch it from the network, and wait forever where there is none.
from importlib.util import find_spec
from pathlib import Path

SPEC = find_spec("llama_index.core")
assert SPEC is not None
assert SPEC.origin is not None
CORE = Path(SPEC.origin).parent
os.environ["TIKTOKEN_CACHE_DIR"] = str(CORE / "_static" / "tiktoken_cache")

import json
import shutil
from collections.abc import Iterator
from importlib.resources import files
from uuid import NAMESPACE_URL, uuid5

import pytest
from llama_index.core.schema import TextNode

from llama_index.embeddings.medembed import MedEmbedEmbedding
from medembed import demo

PROMPTS = {"query": "query: ", "document": "passage: "}


@pytest.fixture(scope="session")
def embed_model() -> Iterator[MedEmbedEmbedding]:
    """The bundled model, as users get it, on one thread."""
    made = MedEmbedEmbedding(threads=1, overlong="chunk")
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


@pytest.fixture
def nodes() -> list[TextNode]:
    """The forty shortest of the bundled medical passages, and all on kidneys; new ones for each test."""
    passages = sorted(demo.passages(), key=lambda passage: len(passage.text))
    chosen = [*passages[:40], *(passage for passage in passages[40:] if "kidney" in passage.title.lower())]
    return [
        TextNode(
            id_=str(uuid5(NAMESPACE_URL, passage.id)),  # Qdrant takes UUIDs only
            text=passage.text,
            metadata={"source": passage.source, "title": passage.title},
            excluded_embed_metadata_keys=["source", "title"],
        )
        for passage in chosen
    ]

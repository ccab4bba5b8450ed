"""What holds for every test: no network, one thread, no waiting for a hub."""

import importlib.util
import os

# Before any test module imports torch, tokenizers or huggingface_hub, which read these at import.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from collections.abc import Iterator
from pathlib import Path

import pytest

from medembed import MedEmbed
from tests import tiny_bert

# CI installs environments beside the tests: a slow example there is no fault of the code. The adapters' environment
# and vLLM's have no Hypothesis.
if importlib.util.find_spec("hypothesis"):
    import hypothesis

    hypothesis.settings.register_profile("medembed", deadline=None)
    hypothesis.settings.load_profile("medembed")


@pytest.fixture(scope="session")
def mini() -> Iterator[MedEmbed]:
    """The bundled model, as users get it, on one thread."""
    with MedEmbed(threads=1) as model:
        yield model


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of a few thousand weights; read-only by agreement."""
    return tiny_bert.make(
        tmp_path_factory.mktemp("tiny") / "model", prompts={"query": "query: ", "document": "passage: "}
    )


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> Iterator[MedEmbed]:
    """The tiny model, running."""
    with MedEmbed(tiny_folder, threads=2) as model:
        yield model

"""LangChain's own unit tests for embeddings, none overridden."""

from typing import Any

from langchain_tests.unit_tests import EmbeddingsUnitTests

from langchain_medembed import MedEmbedEmbeddings


class TestMedEmbedStandard(EmbeddingsUnitTests):
    @property
    def embeddings_class(self) -> type[MedEmbedEmbeddings]:
        return MedEmbedEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": "mini", "threads": 1}

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        return {"MEDEMBED_MODEL": "mini", "MEDEMBED_DEVICE": "cpu"}, {"threads": 1}, {"model": "mini", "device": "cpu"}

"""LangChain's own integration tests for embeddings, none overridden, with the bundled model's real weights."""

from typing import Any

from langchain_tests.integration_tests import EmbeddingsIntegrationTests

from langchain_medembed import MedEmbedEmbeddings


class TestMedEmbedStandard(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self) -> type[MedEmbedEmbeddings]:
        return MedEmbedEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": "mini", "threads": 1}

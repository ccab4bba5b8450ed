"""BERTopic, KeyBERT and txtai with a MedEmbed: run with `make test-dropin`."""

from typing import Any

import numpy as np
import pytest

from medembed import MedEmbed, demo
from medembed.sentence_transformer import as_sentence_transformer

WHERE = "BERTopic, KeyBERT and txtai have an environment of their own: make test-dropin"


@pytest.fixture(scope="module")
def passages() -> list[str]:
    """Sixty on kidneys and their neighbors."""
    return [passage.text for passage in demo.passages()[140:200]]


@pytest.fixture(scope="module")
def model() -> Any:
    with MedEmbed(threads=1, overlong="chunk") as made:
        yield made


def test_bertopic_finds_topics_in_the_models_vectors(model: MedEmbed, passages: list[str]) -> None:
    bertopic = pytest.importorskip("bertopic", reason=WHERE)
    from bertopic.representation import KeyBERTInspired
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA

    def topics(vectors: Any, **options: Any) -> tuple[Any, list[int]]:
        found = bertopic.BERTopic(
            embedding_model=as_sentence_transformer(model),
            umap_model=PCA(5, random_state=0),  # light and repeatable, in place of UMAP and HDBSCAN
            hdbscan_model=KMeans(4, n_init=3, random_state=0),
            **options,
        )
        return found, list(found.fit_transform(passages, vectors)[0])

    found, of_passages = topics(None, representation_model=KeyBERTInspired())
    assert of_passages == topics(model.encode(passages))[1]
    (best,), _ = found.find_topics("stones in the kidney", top_n=1)
    nearest = int(model.similarity(model.encode("stones in the kidney"), model.encode(passages)).argmax())
    assert of_passages[nearest] == best
    assert {"kidney", "renal"} & {word for word, _ in found.get_topic(best)}


def test_keybert_ranks_words_as_the_models_similarity_does(model: MedEmbed, passages: list[str]) -> None:
    keybert = pytest.importorskip("keybert", reason=WHERE)
    found = keybert.KeyBERT(model=as_sentence_transformer(model)).extract_keywords(passages[0], top_n=5)
    words = [word for word, _ in found]
    scores = model.similarity(model.encode(passages[0]), model.encode(words))[0]
    np.testing.assert_allclose([score for _, score in found], scores, atol=2e-3)
    assert words[int(scores.argmax())] == words[0]


@pytest.mark.parametrize("package", ["bertopic", "keybert"])
def test_given_a_medembed_itself_they_take_another_model_from_the_hub(package: str, model: MedEmbed) -> None:
    """They look at the name of the class. The guide warns of it; should they learn, this says so."""
    library = pytest.importorskip(f"{package}.backend._utils", reason=WHERE)
    with pytest.raises(OSError, match="huggingface"):
        library.select_backend(model)


def test_txtai_searches_with_the_models_vectors(model: MedEmbed, passages: list[str]) -> None:
    txtai = pytest.importorskip("txtai", reason=WHERE)
    # a function, for txtai calls what is none, such as a bound method, to get one
    transform = lambda texts: model.encode(texts)  # noqa: E731, PLW0108
    embeddings = txtai.Embeddings(method="external", transform=transform)
    embeddings.index(passages)
    scores = model.similarity(model.encode("stones in the kidney"), model.encode(passages))[0]
    best = np.argsort(-scores, kind="stable")[:5]
    found = embeddings.search("stones in the kidney", 5)
    assert [place for place, _ in found] == best.tolist()
    np.testing.assert_allclose([score for _, score in found], scores[best], atol=1e-3)
    embeddings.close()

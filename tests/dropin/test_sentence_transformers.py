"""Utilities of sentence-transformers over vectors of a MedEmbed: they find what the model's own similarity finds."""

import numpy as np
import pytest

from medembed import MedEmbed

util = pytest.importorskip("sentence_transformers.util")
TEXTS = ["myocardial infarction", "fracture of the tibia", "itchy skin", "heart attack", "broken leg"]


def test_semantic_search_ranks_as_the_models_similarity(mini: MedEmbed) -> None:
    query, texts = mini.encode_query(["heart attack"]), mini.encode_document(TEXTS)
    hits = util.semantic_search(query, texts, top_k=len(TEXTS))[0]
    scores = mini.similarity(query, texts)[0]
    assert [hit["corpus_id"] for hit in hits] == np.argsort(-scores, kind="stable").tolist()
    np.testing.assert_allclose([hit["score"] for hit in hits], np.sort(scores)[::-1], atol=1e-5)


def test_community_detection_finds_the_same_things_in_other_words(mini: MedEmbed) -> None:
    found = util.community_detection(mini.encode(TEXTS), threshold=0.4, min_community_size=2)
    assert sorted(sorted(group) for group in found) == [[0, 3], [1, 4]]

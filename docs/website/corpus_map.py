"""A flat picture of the demonstration corpus: where each passage lies, and which topic it belongs to."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medembed import demo

N_TOPICS = 10
SEED = 13
# words of MedQuAD's question forms, which say nothing about the topic
FORMS = """
affect affects association available causes cause changes clinical complications different diagnose diagnosis
done genes genetic happen hope information inherited introduction kind kinds know long look managed management
new number outcome outlook people prevent problems prognosis related research risk seen stages symptoms
syndrome tests think treatment treatments trials type types used using disease disorder disorders
"""


def build(target: Path, vectors: NDArray[np.float32], passages: Sequence[demo.Passage]) -> None:
    """Write ``[{title, source, topic, x, y}, …]`` and the topics' names.

    Places are a t-SNE of the vectors (van der Maaten and Hinton, 2008), topics a k-means of them, and a topic is called
    by the words that its titles have and the others' have not. Distances on the map mean little; neighbors do.

    Args:
        target: JSON file to write.
        vectors: Of unit length. *Shape:* ``(n, dimension)``.
        passages: As many.
    """
    from sklearn.cluster import KMeans
    from sklearn.manifold import TSNE

    places = TSNE(perplexity=25, init="pca", metric="cosine", random_state=SEED).fit_transform(vectors)
    places = (places - places.min(axis=0)) / np.ptp(places, axis=0)
    topics = KMeans(N_TOPICS, n_init=10, random_state=SEED).fit_predict(vectors)
    points = [
        {"title": p.title, "source": p.source, "topic": int(topic), "x": round(float(x), 4), "y": round(float(y), 4)}
        for p, topic, (x, y) in zip(passages, topics, places, strict=True)
    ]
    content = {"topics": _names([p.title for p in passages], topics), "points": points}
    target.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")


def _names(titles: Sequence[str], topics: NDArray[np.int32]) -> list[str]:
    """Three telling words a topic: the most frequent in its titles, weighed down by how many topics use them."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, TfidfVectorizer

    joined = [" ".join(t for t, of in zip(titles, topics, strict=True) if of == topic) for topic in range(N_TOPICS)]
    words = TfidfVectorizer(
        stop_words=sorted({*ENGLISH_STOP_WORDS, *FORMS.split()}), token_pattern=r"[A-Za-z]{4,}", sublinear_tf=True
    )
    weights = words.fit_transform(joined).toarray()
    names = words.get_feature_names_out()
    return [", ".join(names[best] for best in row.argsort()[::-1][:3]) for row in weights]

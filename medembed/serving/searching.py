"""`/v1/search`: rows of a corpus, with all that `medembed search` tells of them."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np

from medembed.clinical.asked import asked as wishes_of
from medembed.colbert.carried import Carried
from medembed.colbert.model import MedColBERT
from medembed.colbert.reranking import ranked
from medembed.corpus.hybrid import Hybrid
from medembed.corpus.store import EmbeddedCorpus
from medembed.errors import RefusedError
from medembed.runtime.encoding import Cut, cut_of
from medembed.search.shares import FIRST_SHARE
from medembed.serving.answering import Answer, Asked
from medembed.serving.corpora import Either, Query, Searched
from medembed.serving.handlers import as_json, maxsim, ranker_of, texts_of, usage_of
from medembed.serving.keys import Scope
from medembed.serving.schemas import HybridBody, RerankSettings, SearchBody
from medembed.serving.settings import Limits
from medembed.storage.around import Around
from medembed.storage.grouped import by_column
from medembed.storage.tables import Hit

# rows of a request whose words are explained: each is encoded once more, which takes about 10 ms
EXPLAINED = 100


async def search(asked: Asked) -> Answer:
    """`/v1/search`: rows of a corpus."""
    body: SearchBody = asked.body
    served = asked.served
    texts = texts_of(body.query, asked)
    check_rows(body, len(texts), served.serving.limits)
    if body.rerank:
        ranker_of(asked)
    with served.tracing.part("search") as span:
        found = await served.in_thread(partial(served.corpora.search, _query(body, texts, asked), asked.key))
        span.tell(
            {"medembed.corpus": found.name, "medembed.texts": len(texts), "medembed.rows": sum(map(len, found.hits))}
        )
    explainer = _explainer(found.corpus, asked) if body.explain else None
    tokens, cut = await served.in_thread(partial(_query_tokens, found.corpus, texts))
    hits = await _new_order(asked, texts, found) if body.rerank else found.hits
    told = await served.in_thread(partial(_told, body, texts, hits, found, explainer))
    asked.took("/v1/search", len(texts), tokens, cut)
    asked.told.update(corpus=found.name, k=body.k, scope=found.scope or {}, hits=_ids(hits))
    if body.context:
        asked.told["context"] = _context_ids(told)
    results = [
        {"hits": of_query if body.return_text else [_without_text(hit) for hit in of_query]} for of_query in told
    ]
    return as_json({"corpus": found.name, "results": results, "usage": usage_of(tokens, cut)}, cut)


def check_rows(body: SearchBody, n_queries: int, limits: Limits) -> None:
    """Refuse a search that looks at more rows than a request may.

    Raises:
        RefusedError: It does.
    """
    shown = body.k * (1 + 2 * (body.context or 0))
    looked_at = max(shown, _depth(body), limits.hits if body.group_by is not None else 0)
    if body.k > limits.hits or looked_at * n_queries > limits.hits * 10:
        raise RefusedError(
            413, f"too many rows in one request; at most {limits.hits:,} a query were expected: ask for fewer"
        )
    if body.explain and body.k * n_queries > EXPLAINED:
        raise RefusedError(
            413, f'too many rows to explain; at most {EXPLAINED} in one request were expected: ask for a smaller "k"'
        )


def scope_of(named: Any) -> Scope:
    """A scope as it is named in a request, each column with a list of values."""
    if named == "all":
        return "all"
    return {column: [value] if isinstance(value, str) else value for column, value in (named or {}).items()}


def _query(body: SearchBody, texts: list[str], asked: Asked) -> Query:
    return Query(
        body.corpus,
        texts,
        max(body.k, _depth(body)),
        body.where,
        body.filter,
        scope_of(body.scope),
        body.scan,
        _hybrid(body.hybrid),
        body.assertion,
        None if body.rerank else body.group_by,  # grouped in the new order
        asked.served.serving.limits.hits,
    )


def _hybrid(asked_for: bool | HybridBody | None) -> Any:
    if isinstance(asked_for, HybridBody):
        return Hybrid(asked_for.weight, asked_for.depth)
    return {None: "usual", True: Hybrid(), False: None}[asked_for]


def _depth(body: SearchBody) -> int:
    """Rows that late interaction puts in a new order. None where it is not asked for."""
    if isinstance(body.rerank, RerankSettings):
        return body.rerank.depth
    return RerankSettings().depth if body.rerank else 0


def _explainer(corpus: Either, asked: Asked) -> MedColBERT:
    """The model that tells which words carried a score: a token index's own, or the one that ranks."""
    if not isinstance(corpus, EmbeddedCorpus):
        return corpus.model
    if asked.served.ranker is None:
        raise RefusedError(501, "this server explains nothing: start it with --late-interaction mini")
    return asked.served.ranker.model


def _query_tokens(corpus: Either, texts: Sequence[str]) -> tuple[int, Cut]:
    """Tokens read of the queries, and what the model left out of them."""
    if isinstance(corpus, EmbeddedCorpus):
        model = corpus.model
        counts, limit = model.count_tokens(texts, prompt=model.spec.prompts.get("query", "")), model.max_seq_length
    else:
        counts, limit = corpus.model.count_tokens(texts, role="query"), corpus.model.query_length
    tokens = np.array(counts, dtype=np.int64)
    return int(np.minimum(tokens, limit).sum()), cut_of(tokens, limit)


async def _new_order(asked: Asked, texts: Sequence[str], found: Searched) -> list[list[Hit]]:
    """The best hits of each query by late interaction, as `medembed search` has them."""
    return [await _reranked(asked, text, hits, found.how) for text, hits in zip(texts, found.hits, strict=True)]


async def _reranked(asked: Asked, text: str, hits: list[Hit], how: Hybrid | None) -> list[Hit]:
    body: SearchBody = asked.body
    documents = _texts(hits, "ranking")
    if not documents:
        return []
    own, _, _ = await maxsim(asked, "/v1/search", text, documents, "truncate")
    told = body.rerank.first_share if isinstance(body.rerank, RerankSettings) else None
    share = told if told is not None else FIRST_SHARE if how is not None else 0.0
    first = np.array([hit.score for hit in hits], dtype=np.float32) if share else None
    order = ranked(own, documents, None, first, share, wishes_of(text, body.assertion))
    again = [replace(hits[one.index], score=one.score) for one in order]
    return (again if body.group_by is None else by_column(again, body.group_by))[: body.k]


def _texts(hits: Sequence[Hit], what: str) -> list[str]:
    texts = [hit.text for hit in hits if hit.text is not None]
    if len(texts) < len(hits):
        raise RefusedError(422, f"{what} reads the texts, and this corpus does not store them: leave it out")
    return texts


def _told(
    body: SearchBody,
    texts: Sequence[str],
    answers: Sequence[Sequence[Hit]],
    found: Searched,
    explainer: MedColBERT | None,
) -> list[list[dict[str, Any]]]:
    """What is told of the hits of each query."""
    made = []
    for text, hits in zip(texts, answers, strict=True):
        around: Sequence[Around | None] = found.around(hits, body.context) if body.context else [None] * len(hits)
        carried: Sequence[list[Carried] | None] = [None] * len(hits)
        if explainer is not None:
            carried = [explainer.explain(text, document) for document in _texts(hits, "explaining")]
        made.append([told_of(hit, beside, words) for hit, beside, words in zip(hits, around, carried, strict=True)])
    return made


def told_of(hit: Hit, beside: Around | None = None, words: Sequence[Carried] | None = None) -> dict[str, Any]:
    """A hit, with what stands around it and the words that carried its score where these were asked for."""
    told = asdict(hit)
    if beside is not None:
        told["around"] = asdict(beside)
    if words is not None:
        told["carried"] = [asdict(word) for word in words]
    return told


def _without_text(told: dict[str, Any]) -> dict[str, Any]:
    """The same without anything that is quoted of texts. Places stay."""
    bare = {**told, "text": None, "asserts": [{**part, "text": None} for part in told["asserts"]]}
    if "around" in told:
        bare["around"] = {
            side: [{**one, "text": None} for one in neighbors] for side, neighbors in told["around"].items()
        }
    if "carried" in told:
        bare["carried"] = [{**word, "text": None} for word in told["carried"]]
    return bare


def _ids(answers: Sequence[Sequence[Hit]]) -> list[list[str]]:
    return [[hit.id for hit in hits] for hits in answers]


def _context_ids(told: Sequence[Sequence[dict[str, Any]]]) -> list[list[str]]:
    return [[one["id"] for hit in hits for side in ("before", "after") for one in hit["around"][side]] for hits in told]

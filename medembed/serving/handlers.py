"""The answers: embeddings, rankings, search, and what the server tells of itself."""

import asyncio
import base64
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np
import orjson

from medembed import __version__
from medembed.corpus.hybrid import Hybrid
from medembed.corpus.store import EmbeddedCorpus
from medembed.errors import RefusedError
from medembed.runtime.encoding import Cut, cut_of
from medembed.runtime.tokenizer import Overlong
from medembed.serving.answering import Answer, Asked
from medembed.serving.corpora import Query
from medembed.serving.lanes import Counted, Floats, How
from medembed.serving.schemas import (
    Document,
    EmbeddingsBody,
    HybridBody,
    RerankBody,
    RerankSettings,
    SearchBody,
    TeiEmbedBody,
    TeiRerankBody,
)
from medembed.storage.tables import Hit

# rows that are written as JSON before other requests get their turn: 64 of 384 numbers take about 1 ms
ROWS_A_TURN = 64
STARTED = int(time.time())


def _json(content: Any, cut: Cut | None = None) -> Answer:
    headers = {} if cut is None else _cut_headers(cut)
    return Answer(orjson.dumps(content, default=str), headers=headers)


def _cut_headers(cut: Cut) -> dict[str, str]:
    return {"X-Truncated-Texts": str(cut.texts), "X-Truncated-Tokens": str(cut.tokens)}


def _usage(tokens: int, cut: Cut) -> dict[str, int]:
    return {
        "prompt_tokens": tokens,
        "total_tokens": tokens,
        "truncated_texts": cut.texts,
        "truncated_tokens": cut.tokens,
    }


def _texts(given: str | Sequence[str], asked: Asked) -> list[str]:
    """The texts of a request.

    Raises:
        RefusedError: None, or more than a request may have.
    """
    texts = [given] if isinstance(given, str) else list(given)
    most = asked.served.serving.limits.texts
    if not texts:
        raise RefusedError(422, "there is no text in this request")
    if len(texts) > most:
        raise RefusedError(
            413, f"{len(texts):,} texts in one request; at most {most:,} were expected: send fewer at a time"
        )
    return texts


def _checked_model(name: str | None, known: str) -> None:
    """Refuse a model that is not served. A server has one model, and a client may leave its name out.

    Raises:
        RefusedError: Another is asked for.
    """
    if name not in (None, "", known, known.rsplit("/", 1)[-1]):
        raise RefusedError(404, f"this server has the model {known!r}; /v1/models lists it")


async def _vectors(asked: Asked, route: str, texts: list[str], how: How) -> Counted[Floats]:
    encoded = await asked.served.dense(texts, how)
    asked.took(route, len(texts), encoded.tokens, encoded.cut)
    return encoded


async def _rendered(rows: Sequence[Floats], encoding_format: str) -> list[bytes]:
    """Each vector as JSON. Other requests get their turn in between."""
    made = []
    for start in range(0, len(rows), ROWS_A_TURN):
        if start:
            await asyncio.sleep(0)
        for row in rows[start : start + ROWS_A_TURN]:
            if encoding_format == "base64":
                made.append(b'"' + base64.b64encode(np.asarray(row, dtype="<f4").tobytes()) + b'"')
            else:
                made.append(orjson.dumps(np.ascontiguousarray(row), option=orjson.OPT_SERIALIZE_NUMPY))
    return made


async def embeddings(asked: Asked) -> Answer:
    """OpenAI's `/v1/embeddings`."""
    body: EmbeddingsBody = asked.body
    name = asked.served.model.name
    _checked_model(body.model, name)
    how = How(body.input_type, body.overlong or asked.served.serving.overlong, body.dimensions)
    encoded = await _vectors(asked, "/v1/embeddings", _texts(body.input, asked), how)
    rows = await _rendered(encoded.found, body.encoding_format)
    data = b",".join(b'{"object":"embedding","index":%d,"embedding":%b}' % (i, row) for i, row in enumerate(rows))
    usage = orjson.dumps(_usage(encoded.tokens, encoded.cut))
    content = b'{"object":"list","data":[%b],"model":%b,"usage":%b}' % (data, orjson.dumps(name), usage)
    return Answer(content, headers=_cut_headers(encoded.cut))


async def tei_embed(asked: Asked) -> Answer:
    """`/embed` as text-embeddings-inference has it."""
    body: TeiEmbedBody = asked.body
    prompts = asked.served.model.spec.prompts
    if body.prompt_name is not None and body.prompt_name not in prompts:
        raise RefusedError(422, f"prompt_name: this model has {', '.join(prompts)}")
    how = How(body.prompt_name, _tei_overlong(body.truncate, asked), body.dimensions)
    encoded = await _vectors(asked, "/embed", _texts(body.inputs, asked), how)
    rows = await _rendered(encoded.found, "float")
    return Answer(b"[" + b",".join(rows) + b"]", headers=_cut_headers(encoded.cut))


def _tei_overlong(truncate: bool | None, asked: Asked) -> Overlong:
    if truncate is None:
        return asked.served.serving.overlong
    return "truncate" if truncate else "error"


async def _ranked(
    asked: Asked, route: str, query: str, documents: list[str], overlong: Overlong
) -> tuple[list[tuple[int, float]], int, Cut]:
    """Places and scores of documents, best first; tokens read, and what was cut."""
    ranker = asked.served.ranker
    if ranker is None:
        raise RefusedError(501, "this server ranks nothing: start it with --late-interaction mini")
    places = {text: place for place, text in enumerate(dict.fromkeys(documents))}
    asking, found = await asyncio.gather(
        ranker.queries([query], How(None, overlong)), ranker.documents(list(places), How(None, overlong))
    )
    scores = await asked.served.in_thread(partial(ranker.model.similarity, asking.found, found.found))
    of_each = scores[0][[places[text] for text in documents]]
    order = np.argsort(-of_each, kind="stable")
    tokens, cut = asking.tokens + found.tokens, asking.cut + found.cut
    asked.took(route, 1 + len(documents), tokens, cut)
    return [(int(i), float(of_each[i])) for i in order], tokens, cut


async def rerank(asked: Asked) -> Answer:
    """`/v1/rerank` as Cohere and Jina have it."""
    body: RerankBody = asked.body
    ranker = asked.served.ranker
    if ranker is not None:
        _checked_model(body.model, ranker.model.name)
    documents = _texts([one.text if isinstance(one, Document) else one for one in body.documents], asked)
    overlong = body.overlong or asked.served.serving.overlong
    ranked, tokens, cut = await _ranked(asked, "/v1/rerank", body.query, documents, overlong)
    results = [
        {
            "index": index,
            "relevance_score": score,
            **({"document": {"text": documents[index]}} if body.return_documents else {}),
        }
        for index, score in ranked[: body.top_n]
    ]
    told = {
        "id": str(uuid.uuid4()),
        "model": ranker.model.name if ranker else "",
        "results": results,
        "usage": _usage(tokens, cut),
        "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
    }
    return _json(told, cut)


async def tei_rerank(asked: Asked) -> Answer:
    """`/rerank` as text-embeddings-inference has it."""
    body: TeiRerankBody = asked.body
    texts = _texts(body.texts, asked)
    ranked, _, cut = await _ranked(asked, "/rerank", body.query, texts, _tei_overlong(body.truncate, asked))
    told = [
        {"index": index, "score": score, **({"text": texts[index]} if body.return_text else {})}
        for index, score in ranked
    ]
    return _json(told, cut)


async def search(asked: Asked) -> Answer:
    """`/v1/search`: rows of a corpus."""
    body: SearchBody = asked.body
    limits, depth = asked.served.serving.limits, _depth(body)
    if (
        max(body.k, depth) * len([body.query] if isinstance(body.query, str) else body.query) > limits.hits * 10
        or body.k > limits.hits
    ):
        raise RefusedError(
            413, f"too many rows in one request; at most {limits.hits:,} a query were expected: ask for fewer"
        )
    query = _query(body, max(body.k, depth), asked)
    name, found = await asked.served.in_thread(partial(asked.served.corpora.search, query, asked.key))
    tokens, cut = await asked.served.in_thread(partial(_query_tokens, asked, name, query.texts))
    if depth:
        found = await _new_order(asked, query.texts, found, body.k)
    asked.took("/v1/search", len(query.texts), tokens, cut)
    asked.told.update(corpus=name, k=body.k, scope=query.scope or {}, hits=[[hit.id for hit in hits] for hits in found])
    results = [{"hits": [_told(hit, with_text=body.return_text) for hit in hits]} for hits in found]
    return _json({"corpus": name, "results": results, "usage": _usage(tokens, cut)}, cut)


def _query(body: SearchBody, k: int, asked: Asked) -> Query:
    scope = {column: [value] if isinstance(value, str) else value for column, value in (body.scope or {}).items()}
    return Query(
        body.corpus, _texts(body.query, asked), k, body.where, body.filter, scope, body.scan, _hybrid(body.hybrid)
    )


def _hybrid(asked: bool | HybridBody) -> Hybrid | None:
    if isinstance(asked, HybridBody):
        return Hybrid(asked.weight, asked.depth)
    return Hybrid() if asked else None


def _depth(body: SearchBody) -> int:
    """Rows that late interaction puts in a new order. None where it is not asked for."""
    if isinstance(body.rerank, RerankSettings):
        return body.rerank.depth
    return RerankSettings().depth if body.rerank else 0


def _query_tokens(asked: Asked, name: str, texts: Sequence[str]) -> tuple[int, Cut]:
    """Tokens read of the queries, and what the model left out of them."""
    _, corpus = asked.served.corpora.get(name, asked.key)
    if isinstance(corpus, EmbeddedCorpus):
        model = corpus.model
        counts, limit = model.count_tokens(texts, prompt=model.spec.prompts.get("query", "")), model.max_seq_length
    else:
        counts, limit = corpus.model.count_tokens(texts, role="query"), corpus.model.query_length
    tokens = np.array(counts, dtype=np.int64)
    return int(np.minimum(tokens, limit).sum()), cut_of(tokens, limit)


async def _new_order(asked: Asked, texts: Sequence[str], found: list[list[Hit]], k: int) -> list[list[Hit]]:
    made = []
    for text, hits in zip(texts, found, strict=True):
        documents = [hit.text for hit in hits if hit.text is not None]
        if len(documents) < len(hits):
            raise RefusedError(422, "ranking reads the texts, and this corpus does not store them: leave rerank out")
        ranked = (await _ranked(asked, "/v1/search", text, documents, "truncate"))[0] if hits else []
        made.append([replace(hits[index], score=score) for index, score in ranked[:k]])
    return made


def _told(hit: Hit, *, with_text: bool) -> dict[str, Any]:
    told = asdict(hit)
    return told if with_text else {**told, "text": None}


async def models(asked: Asked) -> Answer:
    """`/v1/models`: what is served."""
    served = asked.served
    names = [served.model.name, *([served.ranker.model.name] if served.ranker else [])]
    data = [
        {"id": name, "object": "model", "created": STARTED, "owned_by": "medembed"} for name in dict.fromkeys(names)
    ]
    return _json({"object": "list", "data": data, "corpora": served.corpora.names(asked.key)})


async def tei_info(asked: Asked) -> Answer:
    """`/info` as text-embeddings-inference has it."""
    served, limits = asked.served, asked.served.serving.limits
    model = served.model
    return _json(
        {
            "model_id": model.name,
            "model_sha": model.revision,
            "model_dtype": model.precision,
            "model_type": {"embedding": {"pooling": model.spec.pooling}},
            "max_concurrent_requests": limits.requests,
            "max_input_length": model.max_seq_length,
            "max_batch_tokens": limits.tokens,
            "max_client_batch_size": limits.texts,
            "tokenization_workers": model.concurrency,
            "version": __version__,
        }
    )


async def health(asked: Asked) -> Answer:
    """`/health`: 200 while requests are taken."""
    asked.served.check_running()
    return _json({"status": "ok"})


async def metrics(asked: Asked) -> Answer:
    """`/metrics`: numbers for Prometheus."""
    asked.served.dense.report()
    if asked.served.ranker is not None:
        asked.served.ranker.queries.report()
        asked.served.ranker.documents.report()
    content, media = asked.served.metrics.text()
    return Answer(content, media)

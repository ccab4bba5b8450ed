"""The answers: embeddings, rankings, and what the server tells of itself."""

import asyncio
import base64
import time
import uuid
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import orjson

from medembed import __version__
from medembed.errors import RefusedError
from medembed.runtime.encoding import Cut
from medembed.runtime.tokenizer import Overlong
from medembed.serving.answering import Answer, Asked
from medembed.serving.lanes import Counted, Floats, How
from medembed.serving.schemas import (
    Document,
    EmbeddingsBody,
    RerankBody,
    TeiEmbedBody,
    TeiRerankBody,
)
from medembed.serving.served import Ranker

# rows that are written as JSON before other requests get their turn: 64 of 384 numbers take about 1 ms
ROWS_A_TURN = 64
STARTED = int(time.time())


def as_json(content: Any, cut: Cut | None = None) -> Answer:
    """An answer of JSON, with headers that tell of what was cut."""
    headers = {} if cut is None else _cut_headers(cut)
    return Answer(orjson.dumps(content, default=str), headers=headers)


def _cut_headers(cut: Cut) -> dict[str, str]:
    return {"X-Truncated-Texts": str(cut.texts), "X-Truncated-Tokens": str(cut.tokens)}


def usage_of(tokens: int, cut: Cut) -> dict[str, int]:
    """What a request took, and what was cut."""
    return {
        "prompt_tokens": tokens,
        "total_tokens": tokens,
        "truncated_texts": cut.texts,
        "truncated_tokens": cut.tokens,
    }


def texts_of(given: str | Sequence[str], asked: Asked) -> list[str]:
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
    with asked.served.tracing.part("encode") as span:
        encoded = await asked.served.dense(texts, how)
        span.tell({"medembed.texts": len(texts), "medembed.tokens": encoded.tokens})
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
    encoded = await _vectors(asked, "/v1/embeddings", texts_of(body.input, asked), how)
    rows = await _rendered(encoded.found, body.encoding_format)
    data = b",".join(b'{"object":"embedding","index":%d,"embedding":%b}' % (i, row) for i, row in enumerate(rows))
    usage = orjson.dumps(usage_of(encoded.tokens, encoded.cut))
    content = b'{"object":"list","data":[%b],"model":%b,"usage":%b}' % (data, orjson.dumps(name), usage)
    return Answer(content, headers=_cut_headers(encoded.cut))


async def tei_embed(asked: Asked) -> Answer:
    """`/embed` as text-embeddings-inference has it."""
    body: TeiEmbedBody = asked.body
    prompts = asked.served.model.spec.prompts
    if body.prompt_name is not None and body.prompt_name not in prompts:
        raise RefusedError(422, f"prompt_name: this model has {', '.join(prompts)}")
    how = How(body.prompt_name, _tei_overlong(body.truncate, asked), body.dimensions)
    encoded = await _vectors(asked, "/embed", texts_of(body.inputs, asked), how)
    rows = await _rendered(encoded.found, "float")
    return Answer(b"[" + b",".join(rows) + b"]", headers=_cut_headers(encoded.cut))


def _tei_overlong(truncate: bool | None, asked: Asked) -> Overlong:
    if truncate is None:
        return asked.served.serving.overlong
    return "truncate" if truncate else "error"


def ranker_of(asked: Asked) -> Ranker:
    """The model that ranks.

    Raises:
        RefusedError: The server has none.
    """
    if asked.served.ranker is None:
        raise RefusedError(501, "this server ranks nothing: start it with --late-interaction mini")
    return asked.served.ranker


async def maxsim(
    asked: Asked, route: str, query: str, documents: Sequence[str], overlong: Overlong
) -> tuple[Floats, int, Cut]:
    """Scores of documents, tokens read, and what was cut. Equal documents are encoded once.

    Raises:
        RefusedError: The server ranks nothing, or too much waits.
    """
    ranker = ranker_of(asked)
    places = {text: place for place, text in enumerate(dict.fromkeys(documents))}
    with asked.served.tracing.part("rank") as span:
        asking, found = await asyncio.gather(
            ranker.queries([query], How(None, overlong)), ranker.documents(list(places), How(None, overlong))
        )
        scores = await asked.served.in_thread(partial(ranker.model.similarity, asking.found, found.found))
        span.tell({"medembed.texts": 1 + len(documents), "medembed.tokens": asking.tokens + found.tokens})
    of_each = scores[0][[places[text] for text in documents]]
    tokens, cut = asking.tokens + found.tokens, asking.cut + found.cut
    asked.took(route, 1 + len(documents), tokens, cut)
    return of_each, tokens, cut


def _best_first(scores: Floats) -> list[tuple[int, float]]:
    """Places and scores, equal ones in the order given."""
    return [(int(i), float(scores[i])) for i in np.argsort(-scores, kind="stable")]


async def rerank(asked: Asked) -> Answer:
    """`/v1/rerank` as Cohere and Jina have it."""
    body: RerankBody = asked.body
    ranker = asked.served.ranker
    if ranker is not None:
        _checked_model(body.model, ranker.model.name)
    documents = texts_of([one.text if isinstance(one, Document) else one for one in body.documents], asked)
    overlong = body.overlong or asked.served.serving.overlong
    scores, tokens, cut = await maxsim(asked, "/v1/rerank", body.query, documents, overlong)
    results = [
        {
            "index": index,
            "relevance_score": score,
            **({"document": {"text": documents[index]}} if body.return_documents else {}),
        }
        for index, score in _best_first(scores)[: body.top_n]
    ]
    told = {
        "id": str(uuid.uuid4()),
        "model": ranker.model.name if ranker else "",
        "results": results,
        "usage": usage_of(tokens, cut),
        "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
    }
    return as_json(told, cut)


async def tei_rerank(asked: Asked) -> Answer:
    """`/rerank` as text-embeddings-inference has it."""
    body: TeiRerankBody = asked.body
    texts = texts_of(body.texts, asked)
    scores, _, cut = await maxsim(asked, "/rerank", body.query, texts, _tei_overlong(body.truncate, asked))
    told = [
        {"index": index, "score": score, **({"text": texts[index]} if body.return_text else {})}
        for index, score in _best_first(scores)
    ]
    return as_json(told, cut)


async def models(asked: Asked) -> Answer:
    """`/v1/models`: what is served."""
    served = asked.served
    names = [served.model.name, *([served.ranker.model.name] if served.ranker else [])]
    data = [
        {"id": name, "object": "model", "created": STARTED, "owned_by": "medembed"} for name in dict.fromkeys(names)
    ]
    return as_json({"object": "list", "data": data, "corpora": served.corpora.names(asked.key)})


async def tei_info(asked: Asked) -> Answer:
    """`/info` as text-embeddings-inference has it."""
    served, limits = asked.served, asked.served.serving.limits
    model = served.model
    return as_json(
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
    return as_json({"status": "ok"})


async def metrics(asked: Asked) -> Answer:
    """`/metrics`: numbers for Prometheus."""
    asked.served.dense.report()
    if asked.served.ranker is not None:
        asked.served.ranker.queries.report()
        asked.served.ranker.documents.report()
    content, media = asked.served.metrics.text()
    return Answer(content, media)

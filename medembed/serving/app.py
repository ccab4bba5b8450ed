"""The application: routes on Starlette."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from importlib.resources import files

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute

from medembed.errors import RefusedError
from medembed.serving import handlers, openapi, schemas, searching
from medembed.serving.answering import Answer, Asked, Endpoint, Route, failure
from medembed.serving.served import Served

# the page is one file: nothing is fetched from elsewhere, and nothing but this server is asked
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

RERANK = "Documents in the order of their MaxSim with a query, as Cohere and Jina have it."

ROUTES: tuple[Route, ...] = (
    Route(
        "POST", "/v1/embeddings", handlers.embeddings, "Embeddings, as OpenAI has it.",
        schemas.EmbeddingsBody, schemas.Embeddings, "embed",
    ),
    Route("POST", "/v1/rerank", handlers.rerank, RERANK, schemas.RerankBody, schemas.Ranking, "rerank"),
    Route("POST", "/v2/rerank", handlers.rerank, RERANK, schemas.RerankBody, schemas.Ranking, "rerank"),
    Route("POST", "/v1/search", searching.search, "Rows of a corpus.", schemas.SearchBody, schemas.SearchAnswer, "search"),
    Route("GET", "/v1/models", handlers.models, "The models and corpora.", None, schemas.Models),
    Route("POST", "/embed", handlers.tei_embed, "Embeddings, as text-embeddings-inference has it.", schemas.TeiEmbedBody, None, "embed"),
    Route(
        "POST", "/rerank", handlers.tei_rerank, "A ranking, as text-embeddings-inference has it.",
        schemas.TeiRerankBody, schemas.TeiRank, "rerank", many=True,
    ),
    Route("GET", "/info", handlers.tei_info, "Model and limits, as text-embeddings-inference has it.", None, schemas.TeiInfo),
    Route("GET", "/health", handlers.health, "200 while requests are taken.", use=None),
    Route("GET", "/metrics", handlers.metrics, "Numbers for Prometheus."),
)  # fmt: skip
# Not in the document, where the path is the page's: `/embed` at the address itself, which the hub's client calls.
BARE = Route("POST", "/", handlers.tei_embed, "As /embed.", schemas.TeiEmbedBody, None, "embed")


def application(
    make: Callable[[], Served],
    started: Callable[[Served], object] | None = None,
    *,
    origins: Sequence[str] = (),
) -> Starlette:
    """The ASGI application.

    Args:
        make: Opens what is served; called when the server starts.
        started: Called when it has.
        origins: Sites whose pages may ask from a browser.
    """
    endpoints = [
        StarletteRoute(route.path, partial(_answer, route), methods=[route.method]) for route in (*ROUTES, BARE)
    ]
    pages = [StarletteRoute(path, partial(_answer, route)) for path, route in _PAGES.items()]

    @asynccontextmanager
    async def living(app: Starlette) -> AsyncIterator[None]:
        served = make()
        app.state.served = served
        if started is not None:
            started(served)
        try:
            yield
        finally:
            served.close()

    return Starlette(
        routes=[*endpoints, *pages],
        lifespan=living,
        middleware=[_cross_origin(origins)] if origins else [],
        exception_handlers={HTTPException: _unknown},
    )


def _cross_origin(origins: Sequence[str]) -> Middleware:
    """What tells browsers that pages of some sites may ask. A page of another site gets no answer that it can read."""
    return Middleware(
        CORSMiddleware,
        allow_origins=list(origins),
        allow_methods=["GET", "POST"],
        allow_headers=["Authorization", "Content-Type"],
        expose_headers=["Retry-After", "X-Truncated-Texts", "X-Truncated-Tokens"],
    )


async def _answer(route: Route, request: Request) -> Response:
    return await Endpoint(request.app.state.served, route)(request)


async def _unknown(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    told = (
        "this path takes another method"
        if status == 405
        else "there is nothing at this path; /openapi.json lists what there is"
    )
    response = failure(RefusedError(status, told))
    if isinstance(error, HTTPException) and error.headers:
        response.headers.update(error.headers)
    return response


async def _document(asked: Asked) -> Answer:
    return Answer(orjson.dumps(openapi.document(ROUTES, keys=asked.served.keyring.needed)))


async def _page(_asked: Asked) -> Answer:
    content = (files("medembed.serving") / "page.html").read_bytes()
    return Answer(content, "text/html; charset=utf-8", PAGE_HEADERS)


_PAGES = {
    "/openapi.json": Route("GET", "/openapi.json", _document, "This document.", use=None),
    "/": Route("GET", "/", _page, "A page to try the server with.", use=None),
}

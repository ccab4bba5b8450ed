"""Search for assistants: the tools `search`, `get_note` and `list_filters` over the Model Context Protocol."""

import asyncio
import contextvars
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Connection

from medembed import __version__
from medembed.clinical.asked import Assertion
from medembed.corpus.hybrid import Hybrid
from medembed.errors import MedEmbedError, RefusedError
from medembed.serving.answering import failure
from medembed.serving.corpora import Query
from medembed.serving.keys import Key, Scope
from medembed.serving.searching import told_of
from medembed.serving.served import Served

# rows of a search and passages around each: an assistant reads them all, and a note may be long
MOST_HITS = 50
MOST_CONTEXT = 10
INSTRUCTIONS = (
    "Search medical notes by meaning. list_filters names corpora's columns; search finds rows; get_note reads one row whole. "
    "Where list_filters names a scope, each call has to give it."
)

_asking: contextvars.ContextVar[Key] = contextvars.ContextVar("asking")


class Tools:
    """What assistants can call.

    Args:
        served: What the server has.
        key: Who asks where no request says it, as over standard input.
        scope: Scope of each call that names none.
    """

    def __init__(self, served: Served, key: Key, scope: Mapping[str, Sequence[str]]) -> None:
        """Hold what is given."""
        self._served, self._key, self._scope = served, key, scope

    async def search(  # noqa: PLR0913 - the fields that an assistant sees, all keyword-only
        self,
        query: str,
        *,
        corpus: str | None = None,
        k: int = 10,
        where: list[str] | None = None,
        scope: dict[str, str] | Literal["all"] | None = None,
        hybrid: bool | None = None,
        assertion: Assertion | None = None,
        group_by: str | None = None,
        context: int | None = None,
    ) -> dict[str, Any]:
        """Find the rows of a corpus that are nearest to a question in meaning.

        Args:
            query: The question, in plain words.
            corpus: Name of the corpus; may be left out where there is one.
            k: Rows to find, at most 50.
            where: Conditions on columns, for instance ward=icu or year>=2024; all must hold.
            scope: Columns and values that every row found has, for instance {"patient": "17"}; "all" for all rows where that is allowed.
            hybrid: Count equal words too, as names and codes need; true where texts are stored, false compares meanings alone.
            assertion: What rows have to say of the question's words: affirmed, negated, or any. Left out, it is read from the question.
            group_by: Column of whose values only the best row each is given, for instance patient.
            context: Passages of the note to give before and after each one found, at most 10.
        """
        if not query.strip():
            raise ToolError("the query is blank: give a question")
        asked = Query(
            corpus,
            [query],
            max(1, min(k, MOST_HITS)),
            where or [],
            None,
            self._bound(scope),
            "auto",
            "usual" if hybrid is None else Hybrid() if hybrid else None,
            assertion,
            group_by,
            self._served.serving.limits.hits,
        )
        told: dict[str, Any] = await self._run(
            "search", asked.scope, partial(self._found, asked, context, self._who()), _ids
        )
        return told

    def _found(self, asked: Query, context: int | None, key: Key) -> dict[str, Any]:
        """What a search gives. It runs in a thread, which knows nothing of the request that asks."""
        found = self._served.corpora.search(asked, key)
        (hits,) = found.hits
        around = found.around(hits, min(context, MOST_CONTEXT)) if context else [None] * len(hits)
        return {"corpus": found.name, "hits": [told_of(hit, beside) for hit, beside in zip(hits, around, strict=True)]}

    async def get_note(
        self,
        id: str,  # noqa: A002
        corpus: str | None = None,
        scope: dict[str, str] | Literal["all"] | None = None,
    ) -> dict[str, Any]:
        """Read one row whole.

        Args:
            id: Its id, as search gives it.
            corpus: Name of the corpus; may be left out where there is one.
            scope: Columns and values that the row has.
        """
        bound = self._bound(scope)
        row: dict[str, Any] = await self._run(
            "get_note", bound, partial(self._served.corpora.row, corpus, id, bound, self._who()), lambda _: [[id]]
        )
        return row

    async def list_filters(self, corpus: str | None = None) -> dict[str, Any]:
        """Tell which columns a search may filter by, with their types, and which of them the scope has to name.

        Args:
            corpus: Name of the corpus; may be left out where there is one.
        """
        told: dict[str, Any] = await self._run(
            "list_filters", {}, partial(self._served.corpora.filters, corpus, self._who()), lambda _: []
        )
        return told

    def _who(self) -> Key:
        return _asking.get(self._key)

    def _bound(self, scope: Mapping[str, str] | Literal["all"] | None) -> Scope:
        """The scope of a call. What the server was started with cannot be widened."""
        if scope == "all":
            if self._scope:
                raise ToolError(f"this server does not reach all rows: it is bound to {', '.join(self._scope)}")
            return "all"
        asked = {column: [value] for column, value in (scope or {}).items()}
        for column, values in self._scope.items():
            if not set(asked.get(column, values)) <= set(values):
                raise ToolError(f"this server does not reach what the scope names in {column!r}")
        return {**{column: list(values) for column, values in self._scope.items()}, **asked}

    async def _run(self, tool: str, scope: Any, work: Any, ids: Any) -> Any:
        """Run a call and write its line in the audit log before anything is given out."""
        audit = self._served.audit
        told = {"key": self._who().name, "route": f"mcp:{tool}", "scope": scope or {}}
        try:
            audit.check()
            found = await self._served.in_thread(work)
            audit.write({**told, "status": 200, "hits": ids(found)})
        except MedEmbedError as error:
            if not isinstance(error, RefusedError) or error.status != 503:
                audit.write({**told, "status": 422, "error": type(error).__name__})
            raise ToolError(str(error)) from None
        return found


def _ids(found: Any) -> list[list[str]]:
    """Ids of all rows that are given out, those around hits among them."""
    beside = [one["id"] for hit in found["hits"] for some in hit.get("around", {}).values() for one in some]
    return [[hit["id"] for hit in found["hits"]] + beside]


def server(served: Served, key: Key, scope: Mapping[str, Sequence[str]]) -> MCPServer:
    """The MCP server.

    Args:
        served: What the server has.
        key: Who asks where no request says it.
        scope: Scope of each call that names none, which calls may narrow and never widen.
    """
    made = MCPServer("medembed", version=__version__, instructions=INSTRUCTIONS, log_level="WARNING")
    tools = Tools(served, key, scope)
    for tool in (tools.search, tools.get_note, tools.list_filters):
        made.tool()(tool)
    return made


class Guard:
    """What stands before the MCP application over HTTP: the key of each request.

    Args:
        app: The application.
        served: Whose keys these are.
    """

    def __init__(self, app: ASGIApp, served: Served) -> None:
        """Hold what is given."""
        self._app, self._served = app, served

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Pass a request on with its key known, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        try:
            self._served.check_host(request.headers.get("host", ""))
            _asking.set(self._served.keyring.find(request.headers.get("authorization")))
        except RefusedError as error:
            await failure(error)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def run_stdio(served: Served, scope: Mapping[str, Sequence[str]]) -> None:
    """Serve one assistant over standard input and output."""
    asyncio.run(server(served, Key("stdio"), scope).run_stdio_async())


def http_application(served: Served, scope: Mapping[str, Sequence[str]]) -> ASGIApp:
    """The ASGI application of streamable HTTP, at ``/mcp``. Each request stands alone, so a key counts for its own request."""
    # the guard names a key for each request; where none were named, nothing would be reached
    made = server(served, Key("http", may=frozenset()), scope)
    return Guard(made.streamable_http_app(stateless_http=True, json_response=True, host=served.serving.host), served)

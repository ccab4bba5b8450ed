"""Spans for OpenTelemetry, in a process that has it set up. They have routes, counts and times, and never a text."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

NAME = "medembed.serving"


class Tracing:
    """Spans of a server.

    The API is taken where something has imported it already, as ``opentelemetry-instrument`` does before a program
    starts. It is imported from nowhere else, so a server that nobody traces pays a test of None for each span.
    """

    def __init__(self) -> None:
        """Look for the API."""
        self._api: Any = sys.modules.get("opentelemetry.trace")
        self._tracer: Any = None if self._api is None else self._api.get_tracer(NAME)

    @contextmanager
    def request(self, method: str, route: str, headers: Mapping[str, str]) -> Iterator["Span"]:
        """The span of a request. It continues the trace that the headers name, where nothing else has begun one here."""
        if self._tracer is None:
            yield OFF
            return
        from opentelemetry import propagate  # part of the API, which is there

        inside = self._api.get_current_span().get_span_context().is_valid
        context = None if inside else propagate.extract(headers)
        kind = self._api.SpanKind.INTERNAL if inside else self._api.SpanKind.SERVER
        with self._begun(f"{method} {route}", context, kind) as span:
            span.tell({"http.request.method": method, "http.route": route})
            yield span

    @contextmanager
    def part(self, name: str) -> Iterator["Span"]:
        """The span of a part of a request, such as ``encode``."""
        if self._tracer is None:
            yield OFF
            return
        with self._begun(name, None, self._api.SpanKind.INTERNAL) as span:
            yield span

    @contextmanager
    def _begun(self, name: str, context: Any, kind: Any) -> Iterator["Span"]:
        # an error's words may quote what was sent, so errors are told by the status alone
        quiet = {"record_exception": False, "set_status_on_exception": False}
        with self._tracer.start_as_current_span(name, context=context, kind=kind, **quiet) as span:
            yield Span(span)


class Span:
    """A span that is told numbers and names of ours.

    Args:
        span: The API's span; None where there is none.
    """

    def __init__(self, span: Any) -> None:
        """Hold it."""
        self._span = span

    def tell(self, attributes: Mapping[str, int | str]) -> None:
        """Add attributes."""
        if self._span is not None:
            self._span.set_attributes(attributes)


OFF = Span(None)

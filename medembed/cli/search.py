"""`medembed search`: the best rows of an embedded corpus, or of a token index, for a question."""

import json
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from medembed.cli import options
from medembed.colbert.index.layout import is_index
from medembed.colbert.index.store import Hit as TokenHit
from medembed.colbert.index.store import TokenIndex
from medembed.colbert.model import FIRST_SHARE, MedColBERT
from medembed.corpus.hybrid import Hybrid
from medembed.corpus.search import Hit
from medembed.corpus.store import EmbeddedCorpus
from medembed.errors import SettingError
from medembed.model import MedEmbed
from medembed.runtime.tokenizer import TruncationWarning
from medembed.terminal import Terminal, say
from medembed.typed import typed

SHOWN = 300
# what papers on late interaction put in a new order
DEPTH = 100


class ScanName(StrEnum):
    """What the first pass runs over."""

    auto = "auto"
    exact = "exact"
    int8 = "int8"
    binary = "binary"


class FusionName(StrEnum):
    """How dense and lexical scores are fused."""

    weighted = "weighted"
    rrf = "rrf"


def search(
    corpus: Annotated[Path, typer.Argument(help="Folder that `medembed index` or `medembed token-index` made.")],
    queries: Annotated[
        list[str], typer.Argument(help="One query or several; - reads them from standard input, one a line.")
    ],
    k: Annotated[int, typer.Option("-k", min=1, help="Rows a query.")] = 10,
    where: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE: only rows whose kept column has this value; repeat.")
    ] = None,
    scan: Annotated[
        ScanName,
        typer.Option(help="int8 and binary choose candidates over smaller vectors: faster on large corpora."),
    ] = ScanName.auto,
    late_interaction: Annotated[
        str | None,
        typer.Option(
            "--late-interaction",
            help="Late-interaction model that puts the best --depth rows in a new order.",
        ),
    ] = None,
    depth: Annotated[int, typer.Option(min=1, help="Rows that late interaction puts in a new order.")] = DEPTH,
    first_share: Annotated[
        float | None,
        typer.Option(
            "--first-share",
            min=0,
            max=1,
            help=f"With --late-interaction: what the first order's score counts in the new one. {FIRST_SHARE} with --hybrid, otherwise 0.",
        ),
    ] = None,
    hybrid: Annotated[bool, typer.Option("--hybrid", help="Fuse with BM25 over the same texts.")] = False,
    fusion: Annotated[
        FusionName, typer.Option(help="How --hybrid fuses: by weighted scores, or by reciprocal ranks.")
    ] = FusionName.weighted,
    weight: Annotated[
        float, typer.Option(min=0, max=1, help="With --hybrid: share of the dense score; 0 is BM25 alone.")
    ] = Hybrid.weight,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a query, with all hits.")] = False,
    device: options.Device = "auto",
    threads: options.Threads = None,
) -> None:
    """Search an embedded corpus exactly, or a token index by late interaction.

    Examples: [bold]medembed search corpus/ "painful swollen calf" -k 5[/bold] · [bold]medembed search corpus/ "HLA-B27" --hybrid[/bold] ·
    [bold]medembed search corpus/ "swollen calf" --late-interaction mini[/bold]
    """
    asked = [line.strip() for line in sys.stdin if line.strip()] if queries == ["-"] else queries
    if not all(query.strip() for query in asked):
        raise SettingError("a query is blank, and something would be found for it all the same: give a question")
    if is_index(corpus):
        _refuse_dense_options(
            {"where": where, "scan": scan != ScanName.auto, "hybrid": hybrid, "late-interaction": late_interaction,
             "first-share": first_share is not None}
        )  # fmt: skip
        with _opened_index(corpus, device, threads) as index:
            answers: Sequence[Sequence[Hit | TokenHit]] = index.search(asked, k)
    else:
        if first_share is not None and late_interaction is None:
            raise SettingError("--first-share: there is no second order without --late-interaction; give that too")
        with _opened_corpus(corpus, device, threads) as found:
            chosen = _chosen(where or [], found.manifest.kept) if where else None
            deep = k if late_interaction is None else max(k, depth)
            how = Hybrid(fusion.value, weight) if hybrid else None
            hits = found.search(asked, deep, filter=chosen, scan=scan.value, hybrid=how)
        answers = hits
        if late_interaction is not None:
            share = first_share if first_share is not None else FIRST_SHARE if hybrid else 0.0
            with MedColBERT(late_interaction, device=device, threads=threads) as reranker:
                answers = [_reranked(reranker, query, some, k, share) for query, some in zip(asked, hits, strict=True)]
    for query, found_hits in zip(asked, answers, strict=True):
        if as_json:
            say(json.dumps({"query": query, "hits": [asdict(hit) for hit in found_hits]}, ensure_ascii=False))
        else:
            _print(query, found_hits)


@contextmanager
def _opened_index(path: Path, device: str, threads: int | None) -> Iterator[TokenIndex]:
    with TokenIndex.open(path) as opened:
        settings = opened.model_settings
    with MedColBERT(**settings, device=device, threads=threads) as model, TokenIndex.open(path, model) as index:
        yield index


@contextmanager
def _opened_corpus(path: Path, device: str, threads: int | None) -> Iterator[EmbeddedCorpus]:
    settings = EmbeddedCorpus.open(path).model_settings
    with (
        MedEmbed(**settings, device=device, threads=threads) as model,
        EmbeddedCorpus.open(path, model) as corpus,
    ):
        yield corpus


def _refuse_dense_options(given: Mapping[str, object]) -> None:
    """A token index has no columns to filter by, no second scan, and is searched by late interaction anyway."""
    if names := [f"--{name}" for name, value in given.items() if value]:
        raise SettingError(f"{', '.join(names)}: for embedded corpora only, and this is a token index; leave it out")


def _reranked(reranker: MedColBERT, query: str, hits: list[Hit], k: int, share: float) -> list[Hit]:
    """The best of them by MaxSim, or by that and what they were found by, with that as their score."""
    texts = [hit.text for hit in hits if hit.text is not None]
    if len(texts) < len(hits):
        raise SettingError(
            "--late-interaction reads the texts, and this corpus does not store them: index it again without --no-store-text"
        )
    first = [hit.score for hit in hits] if share else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)  # as `medembed index` reads them; it has said how many
        ranked = reranker.rerank(query, texts, k, first_scores=first, share=share or None)
    return [replace(hits[item.index], score=item.score) for item in ranked]


def _chosen(given: list[str], kept: dict[str, str]) -> dict[str, object]:
    chosen: dict[str, object] = {}
    types = {"id": "string", "source": "string", "line": "int", **kept}
    for item in given:
        name, equals, value = item.partition("=")
        if not equals or name not in types:
            raise SettingError(f"--where {item}: expected NAME=VALUE with a name of {', '.join(types)}")
        try:
            chosen[name] = typed(value, types[name])
        except ValueError as error:
            raise SettingError(f"--where {item}: {name} is of type {types[name]}") from error
    return chosen


def _print(query: str, hits: Sequence[Hit | TokenHit]) -> None:
    table = Table("", "score", "id", "text", title=escape(query), title_justify="left")
    for place, hit in enumerate(hits, 1):
        text = hit.text if hit.text is not None else _reference(hit)
        short = text if len(text) <= SHOWN else text[:SHOWN] + " …"
        table.add_row(str(place), f"{hit.score:.3f}", escape(hit.id), escape(" ".join(short.split())))
    Terminal().print(table)


def _reference(hit: Hit | TokenHit) -> str:
    """Where a text is that is not stored; a token index knows no more than its id."""
    return f"{hit.source}, line {hit.line}" if isinstance(hit, Hit) else ""

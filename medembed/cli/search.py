"""`medembed search`: the best rows for a question. They come from an embedded corpus or a token index."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from medembed import border
from medembed.checkpoints.registry import BUNDLED
from medembed.cli import options
from medembed.errors import SettingError
from medembed.search.shares import FIRST_SHARE, HYBRID_WEIGHT
from medembed.terminal import say

if TYPE_CHECKING:  # help opens no store
    from medembed.cli import hits
    from medembed.clinical.asked import Assertion
    from medembed.colbert.model import MedColBERT
    from medembed.corpus.hybrid import Hybrid
    from medembed.storage.tables import Hit

Form = Literal["table", "json", "html"]
# what papers on late interaction put in a new order
DEPTH = 100


class ScanName(StrEnum):
    """Choices of what the first pass runs over."""

    auto = "auto"
    exact = "exact"
    int8 = "int8"
    binary = "binary"


class AssertionName(StrEnum):
    """Choices of what a passage has to assert of the query's words."""

    affirmed = "affirmed"
    negated = "negated"
    any = "any"


def search(
    corpus: Annotated[Path, typer.Argument(help="Folder that `medembed index` or `medembed token-index` made.")],
    queries: Annotated[
        list[str], typer.Argument(help="One query or several; - reads them from standard input, one a line.")
    ],
    k: Annotated[int, typer.Option("-k", min=1, help="Rows a query.")] = 10,
    where: Annotated[
        list[str] | None,
        typer.Option(
            help="Only rows whose column fits: NAME=VALUE, or != < <= > >=; NAME= for no value. Repeat: all must hold, and one of "
            "several values of the same column."
        ),
    ] = None,
    scope: options.Scope = None,
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
            help=f"With --late-interaction: what the first order's score counts in the new one. {FIRST_SHARE}, with --dense 0.",
        ),
    ] = None,
    hybrid: Annotated[
        bool | None,
        typer.Option(
            "--hybrid/--dense",
            help="Add a little of BM25 over the same texts, or take vectors alone. [default: hybrid where the corpus stores texts]",
        ),
    ] = None,
    weight: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="What a point of BM25 counts at most, in standard deviations of the query's dense scores. "
            f"[default: {HYBRID_WEIGHT}]",
        ),
    ] = None,
    assertion: Annotated[
        AssertionName | None,
        typer.Option(
            help="What rows have to assert of the query's words; others fall back among the best 100. "
            "[default: read from the query: without, no, mother with, history of]"
        ),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Show the words that carried the score, found by --late-interaction, the token index's model, or mini.",
        ),
    ] = False,
    as_html: Annotated[bool, typer.Option("--html", help="With --explain: a page of HTML.")] = False,
    group_by: Annotated[
        str | None,
        typer.Option(
            help="Show the best row of each value of a kept column alone, and count the others: note for passages, or one of --keep."
        ),
    ] = None,
    context: Annotated[
        int | None,
        typer.Option(min=1, help="Show so many passages of the note before and after each one that is found."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a query, with all hits.")] = False,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="Where the model of the corpus is now, if not where it was: a folder or a hub id."
        ),
    ] = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
) -> None:
    """Search an embedded corpus exactly, or a token index by late interaction.

    Examples: [bold]medembed search corpus/ "painful swollen calf" -k 5[/bold] · [bold]medembed search corpus/ "HLA-B27" --dense[/bold] ·
    [bold]medembed search corpus/ "swollen calf" --late-interaction mini[/bold]
    """
    from medembed.cli import hits
    from medembed.cli.stores import open_store
    from medembed.colbert.index.store import TokenIndex
    from medembed.corpus.hybrid import usual
    from medembed.storage import filters, grouped, scopes

    asked = _asked(queries)
    form = _form(as_html=as_html, as_json=as_json, explain=explain, context=context)
    wanted: Assertion | None = None if assertion is None else assertion.value
    late = {"late-interaction": late_interaction, "first-share": first_share}
    _check_first_share(first_share, late_interaction, corpus)
    with open_store(corpus, model, device=device, threads=threads) as opened:
        explainer = opened.model_settings if isinstance(opened, TokenIndex) else {"model": late_interaction or BUNDLED}
        chosen = filters.parse(where, opened.manifest.kept) if where else None
        within = None if scope is None else scopes.parse(scope)
        empty = opened.count(within) == 0
        if isinstance(opened, TokenIndex):
            dense = {"scan": scan != ScanName.auto, "hybrid": hybrid, "weight": weight, **late}
            options.refuse(dense, "for embedded corpora only, and this is a token index")
            answers = opened.search(asked, k, filter=chosen, group_by=group_by, assertion=wanted, scope=within)
        else:
            grouped.check_column(opened.manifest, group_by)
            deep = k if late_interaction is None else max(k, depth)
            how = None if hybrid is False else usual(text_stored=hybrid or opened.manifest.text_stored)
            if weight is not None:
                how = _weighted(how, weight)
            at_once = group_by if late_interaction is None else None
            answers = opened.search(
                asked,
                deep,
                filter=chosen,
                group_by=at_once,
                scan=scan.value,
                hybrid=how,
                assertion=wanted,
                scope=within,
            )
        if late_interaction is not None:
            share = first_share if first_share is not None else FIRST_SHARE if how is not None else 0.0
            reranker: dict[str, Any] = {"model": late_interaction, "device": device, "threads": threads}
            answers = _all_reranked(reranker, asked, answers, k, share, wanted, group_by)
        found = [
            hits.Answer(query, some, opened.around(some, context, scope=within) if context else [])
            for query, some in zip(asked, answers, strict=True)
        ]
        kept = opened.manifest.kept
    if not any(answers):
        _tell_none(scope_is_empty=within is not None and empty, filtered=chosen is not None)
    if explain:
        found = _explained({**explainer, "device": device, "threads": threads}, found)
    _print(found, form, kept, grouped=group_by is not None)


def _weighted(how: "Hybrid | None", weight: float) -> "Hybrid":
    """Hybrid search with a weight of BM25.

    Raises:
        SettingError: The search takes vectors alone.
    """
    if how is None:
        raise SettingError(
            "--weight is of BM25, and this search takes vectors alone: leave --weight out, or --dense; a corpus without texts needs "
            "`medembed index --store-text`"
        )
    return replace(how, weight=weight)


def _form(*, as_html: bool, as_json: bool, explain: bool, context: int | None) -> Form:
    """The form of the answers.

    Raises:
        SettingError: Options that do not go together.
    """
    if as_html and (as_json or not explain):
        raise SettingError("--html is the form of --explain for a browser: give --explain too, and no --json")
    if explain and context is not None and not as_json:
        raise SettingError("--context: --explain shows the passage alone; give --json too, or leave one out")
    return "html" if as_html else "json" if as_json else "table"


def _check_first_share(first_share: float | None, late_interaction: str | None, corpus: Path) -> None:
    """Refuse a share of the first order where there is no second one.

    Raises:
        SettingError: ``--first-share`` for an embedded corpus, without ``--late-interaction``.
    """
    if first_share is None or late_interaction is not None:
        return
    from medembed.corpus.layout import CORPUS
    from medembed.storage.manifest import kind_of

    if kind_of(corpus) == CORPUS.name:
        raise SettingError("--first-share: there is no second order without --late-interaction; give that too")


def _explained(explainer: Mapping[str, Any], found: "list[hits.Answer]") -> "list[hits.Answer]":
    """The answers, with the words that carried each hit's score."""
    from medembed.cli import explaining
    from medembed.colbert.model import MedColBERT

    with MedColBERT(**explainer) as by:
        return [replace(each, carried=explaining.words_of(by, each.query, each.hits)) for each in found]


def _print(answers: "Sequence[hits.Answer]", form: Form, kept: Mapping[str, str], *, grouped: bool) -> None:
    """Print what was found, with the words that carried it where those are given."""
    from medembed.cli import explaining, hits

    if form == "html":
        say(explaining.page([(each.query, each.hits, each.carried or []) for each in answers]))
        return
    for each in answers:
        if form == "json":
            say(hits.as_json(each))
        elif each.carried is None:
            hits.show(each, kept, grouped=grouped)
        else:
            explaining.show(each.query, each.hits, each.carried)


def _asked(queries: Sequence[str]) -> list[str]:
    """The questions, those of standard input in the place of the hyphen.

    Raises:
        InputFileError: A line of standard input that is not text in UTF-8.
        SettingError: A question is blank, is not text, or there is none.
    """
    from medembed.rows.read import lines_of
    from medembed.rows.sources import STDIN

    if list(queries).count(STDIN) > 1:
        raise SettingError(f"{STDIN} is given twice, and standard input can be read once: leave one out")
    asked = [
        item
        for query in queries
        for item in ([line.strip() for line in lines_of(STDIN)] if query == STDIN else [query])
    ]
    if not asked:
        raise SettingError("standard input holds no question: give one a line")
    for place, query in enumerate(asked, 1):
        if not query.strip():
            raise SettingError("a query is blank, and something would be found for it all the same: give a question")
        if not border.is_text(query):
            raise SettingError(f"query {place} is not UTF-8: type it anew, or give it through standard input")
    return asked


def _tell_none(*, scope_is_empty: bool, filtered: bool) -> None:
    """Say why there is no hit at all."""
    if scope_is_empty:
        say("no rows in this scope", error=True)
    elif filtered:
        say("no rows match --where", error=True)


def _all_reranked(
    reranker: Mapping[str, Any],
    asked: Sequence[str],
    answers: "Sequence[list[Hit]]",
    k: int,
    share: float,
    assertion: "Assertion | None",
    group_by: str | None,
) -> "list[list[Hit]]":
    """The best hits of each query, ordered anew."""
    from medembed.colbert.model import MedColBERT

    with MedColBERT(**reranker) as by:
        return [
            _reranked(by, query, some, k, share, assertion, group_by)
            for query, some in zip(asked, answers, strict=True)
        ]


def _reranked(
    reranker: "MedColBERT",
    query: str,
    first: "list[Hit]",
    k: int,
    share: float,
    assertion: "Assertion | None",
    group_by: str | None,
) -> "list[Hit]":
    """The best hits, ordered anew with MaxSim. With ``group_by`` they are the best of each group.

    Their score is MaxSim alone, or MaxSim together with the score they were found by.
    """
    from medembed.runtime.tokenizer import TruncationWarning
    from medembed.storage import grouped

    texts = [hit.text for hit in first if hit.text is not None]
    if len(texts) < len(first):
        raise SettingError(
            "--late-interaction reads the texts, and this corpus does not store them: index it again without --no-store-text"
        )
    scores = [hit.score for hit in first] if share else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)  # as `medembed index` reads them; it has said how many
        most = k if group_by is None else max(1, len(texts))
        ranked = reranker.rerank(query, texts, most, first_scores=scores, share=share or None, assertion=assertion)
    found = [replace(first[item.index], score=item.score) for item in ranked]
    return found if group_by is None else grouped.by_column(found, group_by)[:k]

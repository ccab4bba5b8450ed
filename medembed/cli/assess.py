"""`medembed assess`: the model that finds one's own notes best, without labels."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from typer.core import TyperCommand

from medembed.checkpoints.registry import BUNDLED
from medembed.cli import options
from medembed.clinical.passages import passage_rows
from medembed.clinical.split import Splitting
from medembed.console import Terminal
from medembed.errors import SettingError
from medembed.evaluation import own_page
from medembed.evaluation.models import Setup
from medembed.evaluation.own_notes import NOTES, QUESTIONS, Assessment, QuestionWriter
from medembed.evaluation.own_notes import assess as assess_notes
from medembed.evaluation.own_questions import OwnNote
from medembed.model import MedEmbed
from medembed.rows import read, sources
from medembed.rows.outputs import check_outputs
from medembed.rows.read import Columns, Row
from medembed.rows.seen import SeenIds
from medembed.rows.source import Reject
from medembed.storage.durable import write_text_whole
from medembed.terminal import say

DEFAULT = (BUNDLED, "bm25", "hybrid")


class ManyModels(TyperCommand):
    """A command whose ``--models`` takes every word up to the next option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat the option before each of its words, as it is read."""
        spelt: list[str] = []
        inside = False
        for word in args:
            if word.startswith("-") and word != "-":
                inside = word in ("--models", "-m")
                spelt += [] if inside else [word]
            else:
                spelt += ["--models", word] if inside else [word]
        return super().parse_args(ctx, spelt)


def assess(
    inputs: options.Inputs,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--models",
            "-m",
            help="Two or more: names, hub ids or folders; bm25; hybrid for each of them together with BM25; hybrid:NAME; colbert:NAME; "
            "LABEL=FOLDER. [default: mini bm25 hybrid]",
        ),
    ] = None,
    text_column: options.TextColumn = None,
    id_column: options.IdColumn = "id",
    number_rows: options.NumberRows = False,
    title_column: Annotated[
        str | None, typer.Option(help="Column or field of a title, which is asked for too.")
    ] = None,
    split: options.Split = False,
    questions: Annotated[int, typer.Option(min=10, help="Questions at most.")] = QUESTIONS,
    notes: Annotated[int, typer.Option(min=20, help="Notes to search at most; of more, these are drawn.")] = NOTES,
    endpoint: Annotated[
        str | None,
        typer.Option(
            help="Have a language model write the questions: an OpenAI-compatible address. Notes are sent there."
        ),
    ] = None,
    llm: Annotated[str | None, typer.Option(help="With --endpoint: the model's name there.")] = None,
    api_key_env: Annotated[str | None, typer.Option(help="With --endpoint: the variable that holds its key.")] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write a report with the worst questions. It holds texts of the notes.")
    ] = None,
    as_json: options.AsJson = False,
    seed: Annotated[int, typer.Option(help="Of all that is drawn.")] = 0,
    overwrite: options.Overwrite = False,
    device: options.Device = "auto",
    threads: options.Threads = None,
) -> None:
    """Tell which model finds your own notes best, without labels, by questions made of the notes. With local models nothing leaves the machine.

    Examples: [bold]medembed assess notes.jsonl --models mini small bm25 hybrid[/bold] · [bold]medembed assess notes/ --split --html it.html[/bold]
    """
    if html is not None:
        check_outputs([html], inputs, overwrite=overwrite)
    writer = _writer(endpoint, llm, api_key_env, seed)
    found = sources.find(inputs, outputs=[] if html is None else [html])
    kept = {} if title_column is None else {title_column: "string"}
    columns = Columns(tuple(text_column or ["text"]), None if number_rows else id_column, kept)
    rejected: Counter[str] = Counter()
    with ExitStack() as stack:
        rows = _usable(read.read(found, columns, lambda _: None), rejected)
        if split:
            options.refuse({"title-column": title_column}, "not with --split")
            rows = passage_rows(rows, stack.enter_context(MedEmbed(threads=1)), Splitting())
        assessed = assess_notes(
            (OwnNote(row.id, row.text, (row.kept[0] or "") if kept else "") for row in rows),
            models or DEFAULT,
            most_questions=questions,
            most_notes=notes,
            seed=seed,
            setup=Setup(device=device, threads=threads),
            writer=writer,
            told=lambda what: say(f"{what} …", error=True),
        )
    if html is not None:
        write_text_whole(html, own_page.to_html(assessed))
    if as_json:
        say(own_page.to_json(assessed).rstrip())
    else:
        _show(assessed)
    if html is not None:
        say(f"wrote {html}", error=True)
    if rejected:
        say("left out: " + ", ".join(f"{count} × {reason}" for reason, count in rejected.items()), error=True)
    options.tell_left_out(found)
    if rejected:
        raise typer.Exit(options.SOME_REJECTED)


def _usable(items: Iterable[Row | Reject], rejected: Counter[str]) -> Iterator[Row]:
    """Rows whose ids are new. What else there is, is counted by its reason."""
    seen = SeenIds()
    for item in items:
        if isinstance(item, Reject):
            rejected[item.reason] += 1
        elif seen.add(item.id):
            yield item
        else:
            rejected["duplicate id"] += 1


def _writer(endpoint: str | None, llm: str | None, api_key_env: str | None, seed: int) -> QuestionWriter | None:
    if endpoint is None:
        options.refuse({"llm": llm, "api-key-env": api_key_env}, "only with --endpoint")
        return None
    if llm is None:
        raise SettingError("--endpoint needs the name of a model there: --llm NAME")
    from medembed.recipes.asking import endpoint_questions

    return endpoint_questions(endpoint, llm, api_key_env=api_key_env, seed=seed)


def _show(assessed: Assessment) -> None:
    console = Terminal()
    for title, (header, rows) in (
        ("nDCG@10 x 100", own_page.score_rows(assessed)),
        ("Paired tests", own_page.pair_rows(assessed.pairs)),
    ):
        table = Table(title=title)
        for place, name in enumerate(header):
            table.add_column(name, justify="right" if place else "left")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    say(own_page.made_of(assessed))
    for line in own_page.cut_notes(assessed):
        say(line)
    say(assessed.verdict)

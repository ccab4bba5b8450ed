"""`medembed compare`: the better model, where that is more than chance."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from medembed.cli import options
from medembed.evaluation import plots, report
from medembed.evaluation.comparison import Comparison, Question
from medembed.evaluation.comparison import compare as compare_models
from medembed.evaluation.results import load_results
from medembed.rows.outputs import all_or_none, check_outputs
from medembed.storage.durable import write_text_whole
from medembed.terminal import say

REPORTS = ("report.md", "report.json", "report.html")


class Format(StrEnum):
    """Formats of the report."""

    markdown = "markdown"
    json = "json"
    html = "html"


def compare(
    results: Annotated[list[Path], typer.Argument(help="Output folders of `medembed evaluate`.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for report.md, .json, .html and the plots.")
    ] = None,
    form: Annotated[Format | None, typer.Option("--format", "-f", help="What is printed. [default: markdown]")] = None,
    measure: Annotated[
        str, typer.Option(help="ndcg_at_10, ndcg_at_1, map_at_100, precision_at_10, recall_at_10 or recall_at_100.")
    ] = "ndcg_at_10",
    against: Annotated[str | None, typer.Option(help="Compare every model with this one only.")] = None,
    tuned: Annotated[list[str] | None, typer.Option(help="A tuned model; may be repeated.")] = None,
    base: Annotated[list[str] | None, typer.Option(help="A base model to hold it against; may be repeated.")] = None,
    seed: Annotated[int, typer.Option(help="Of the random draws.")] = 0,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """Compare models query by query, with paired tests. Say 'better' only where it holds.

    Examples: [bold]medembed compare results -o report[/bold] · [bold]medembed compare ours theirs --against bm25[/bold] ·
    [bold]medembed compare results --json[/bold]
    """
    if as_json:
        options.refuse({"format": form}, "--json says the form")
        form = Format.json
    question = Question(measure=measure, against=against, tuned=tuned or (), base=base or (), seed=seed)
    measured = load_results(results)
    outputs = [] if output is None else [*(output / name for name in REPORTS), *plots.paths(output)]
    check_outputs(outputs, [item.path for item in measured], overwrite=overwrite)
    comparison = compare_models(measured, question)
    writers = {
        Format.markdown: report.to_markdown,
        Format.json: report.to_json,
        Format.html: report.to_html,
    }
    say(writers[form or Format.markdown](comparison))
    if output is not None:
        with all_or_none(outputs):
            n_plots = _write(comparison, output)
        say(f"{', '.join(REPORTS)} and {n_plots} plots (PNG, SVG) are in {output}", error=True)


def _write(comparison: Comparison, output: Path) -> int:
    """Write the reports and the plots. The result is how many plots there are."""
    drawn = plots.draw(comparison, output)
    linked = {plots.TITLES[name]: path.name for name, path in drawn.items()}
    inline = {plots.TITLES[name]: path.read_text(encoding="utf-8") for name, path in drawn.items()}
    texts = (
        report.to_markdown(comparison, linked),
        report.to_json(comparison),
        report.to_html(comparison, inline),
    )
    for name, text in zip(REPORTS, texts, strict=True):
        write_text_whole(output / name, text)
    return len(drawn)

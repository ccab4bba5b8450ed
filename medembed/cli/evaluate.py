"""`medembed evaluate`: measure models on retrieval tasks, through mteb."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from medembed.checkpoints.registry import BUNDLED
from medembed.cli import options
from medembed.console import Terminal
from medembed.errors import SettingError
from medembed.evaluation import contrasts
from medembed.evaluation.models import DEPTH, Prompts, Setup
from medembed.evaluation.results import measurements_of
from medembed.evaluation.run import Outcome
from medembed.evaluation.run import evaluate as measure
from medembed.evaluation.slices import SmokeResult
from medembed.evaluation.slices import smoke as measure_smoke
from medembed.terminal import say

PROMPTS: dict[str, tuple[Prompts, ...]] = {"model": ("model",), "none": ("none",), "both": ("model", "none")}


def evaluate(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            help="Names, hub ids or folders; bm25; colbert:NAME; st:FOLDER; mteb:NAME; LABEL=FOLDER names a folder."
        ),
    ] = None,
    tasks: Annotated[
        list[str] | None,
        typer.Option(
            "--tasks",
            "-t",
            help="clinical-contrasts, medembed-five, medical-en, decontaminated, a benchmark, tasks of mteb or BEIR folders; repeat, or "
            "separate by commas.",
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of results; reused when run again.")] = Path(
        "results"
    ),
    save_rankings: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the rankings, as TREC run files. A task whose ranking is not there is measured again."
        ),
    ] = None,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Measure on the bundled slices: offline, two minutes.")
    ] = False,
    prompts: Annotated[
        str, typer.Option(help="model: its own query and document prompts; none: without; both: two results.")
    ] = "model",
    split: Annotated[str | None, typer.Option(help="Split of the folders' judgements; test when left out.")] = None,
    precision: options.Precision = options.PrecisionName.auto,
    device: options.Device = "auto",
    threads: options.Threads = None,
    truncate_dim: Annotated[int | None, typer.Option(min=1, help="Keep this many dimensions.")] = None,
    max_seq_length: Annotated[int | None, typer.Option(min=3, help="Tokens to read of each text.")] = None,
    first_stage: Annotated[
        str | None,
        typer.Option(
            help="Late-interaction models put the best documents of this model, or of bm25, in a new order; "
            "without, they search the whole corpus."
        ),
    ] = None,
    depth: Annotated[int, typer.Option(min=1, help="Documents of the first stage to put in a new order.")] = DEPTH,
    as_json: options.AsJson = False,
) -> None:
    """Measure retrieval quality, task by task. What is measured already is not measured again.

    Examples: [bold]medembed evaluate mini bm25 -t ./my-beir-folder[/bold] · [bold]medembed evaluate small base -t medical-en[/bold] ·
    [bold]medembed evaluate mini bm25 -t ./my-beir-folder --json[/bold]
    """
    if prompts not in PROMPTS:
        raise SettingError(f"--prompts {prompts}: choose one of {', '.join(PROMPTS)}")
    setups = [
        Setup(
            device=device,
            precision=precision.value,
            threads=threads,
            prompts=choice,
            truncate_dim=truncate_dim,
            max_seq_length=max_seq_length,
            first_stage=first_stage,
            depth=depth,
        )
        for choice in PROMPTS[prompts]
    ]
    console = Terminal(quiet=as_json)
    if smoke:
        _smoke(console, models or [BUNDLED], setups, as_json=as_json)
        return
    if not models or not tasks:
        raise SettingError("give at least one model and one of --tasks (or --smoke); see `medembed evaluate --help`")
    measured: list[Outcome] = []
    for setup in setups:
        outcomes = measure(
            models,
            split_names(tasks),
            output,
            setup=setup,
            split=split,
            rankings=save_rankings,
            on_outcome=lambda o: _print(console, o),
        )
        measured += outcomes
        _print_contrasts(console, outcomes)
    console.print(f"results in {output}; compare them with: medembed compare {output}", highlight=False, soft_wrap=True)
    if as_json:
        say(json.dumps([_told(outcome) for outcome in measured]))
    if any(outcome.error for outcome in measured):
        raise typer.Exit(1)


def split_names(given: list[str]) -> list[str]:
    """Names separated by commas. A comma inside brackets belongs to the name: ``MTEB(Medical, v1)``."""
    names = [name.strip() for text in given for name in re.split(r",(?![^(]*\))", text)]
    return [name for name in names if name]


def _told(outcome: Outcome) -> dict[str, object]:
    """An outcome, as values for programs."""
    return {
        name: str(value) if isinstance(value, (Path, Exception)) else value for name, value in vars(outcome).items()
    }


def _print(console: Terminal, outcome: Outcome) -> None:
    told = f"{outcome.model} on {outcome.task}:"
    if outcome.error is not None:
        console.print(f"{told} failed. {outcome.error}", style="red", highlight=False, markup=False, soft_wrap=True)
        return
    how = "measured before" if outcome.reused else "measured now"
    score = "" if outcome.score is None else f"{outcome.score * 100:.2f}"
    console.print(f"{told} {score} ({how})", highlight=False, markup=False, soft_wrap=True)


def _print_contrasts(console: Terminal, outcomes: list[Outcome]) -> None:
    """Show the kinds of contrasts. Each has the share that is right, its interval, and the mean margin."""
    for outcome in outcomes:
        if outcome.task != contrasts.TASK or outcome.path is None:
            continue
        table = Table(title=f"{outcome.model}: contrasts that are right")
        for column in ("kind", "pairs", "right", "95% interval", "margin"):
            table.add_column(column, justify="left" if column == "kind" else "right")
        for part in measurements_of(outcome.path):
            asked, share = len(contrasts.read()[part.part[1]].queries), part.scores["right"]
            low, high = contrasts.interval(round(share * asked), asked)
            cells = (str(asked), f"{share:.3f}", f"{low:.3f} to {high:.3f}", f"{part.scores['margin']:+.3f}")
            table.add_row(part.part[1], *cells)
        console.print(table)


def _smoke(console: Terminal, models: Sequence[str], setups: Sequence[Setup], *, as_json: bool) -> None:
    results = [result for setup in setups for result in measure_smoke(models, setup=setup)]
    _print_smoke(console, results)
    if as_json:
        say(json.dumps([{**asdict(result), "as_expected": result.as_expected} for result in results]))
    if any(result.as_expected is False for result in results):
        raise typer.Exit(1)


def _print_smoke(console: Terminal, results: list[SmokeResult]) -> None:
    table = Table(title="nDCG@10 x 100 on the bundled slices")
    for column in ("model", "slice", "nDCG@10", "expected", "texts/s", "seconds"):
        table.add_column(column, justify="left" if column in ("model", "slice") else "right")
    for result in results:
        for name, score in result.ndcg_at_10.items():
            expected = result.expected.get(name)
            speed = result.texts_per_second
            table.add_row(
                result.model,
                name,
                f"{score * 100:.2f}",
                "–" if expected is None else f"{expected * 100:.2f}",
                "–" if speed is None else f"{speed:.1f}",
                f"{result.seconds:.0f}",
            )
    console.print(table)
    wrong = [result.model for result in results if result.as_expected is False]
    if wrong:
        console.print(f"{', '.join(wrong)}: not within 1 point of the reference; run `medembed doctor`", style="red")

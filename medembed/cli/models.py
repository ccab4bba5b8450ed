"""`medembed models`: the known models. The commands list, download and export them."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from medembed.checkpoints.registry import MODELS, ModelSpec
from medembed.cli import options
from medembed.console import Terminal
from medembed.terminal import say

models_app = typer.Typer(invoke_without_command=True)


@models_app.callback()
def models(context: typer.Context, as_json: options.AsJson = False) -> None:
    """List the known models and whether they are on this disk. Download or export one.

    Examples: [bold]medembed models[/bold] · [bold]medembed models --json[/bold]
    """
    if context.invoked_subcommand is not None:
        return
    if as_json:
        say(json.dumps([_facts(spec) for spec in MODELS.values()]))
        return
    table = Table("name", "dim", "tokens", "size", "on disk", "from", title_justify="left")
    for spec in MODELS.values():
        where = (
            f"{spec.repo}\n@ {spec.revision or 'commit resolved and recorded on first download'}"
            if spec.repo
            else "this package"
        )
        table.add_row(
            spec.name, str(spec.dimension), str(spec.max_seq_length), f"{spec.parameters / 1e6:.0f} M", _where(spec),
            f"{where}\n{spec.note}; {spec.license}",
        )  # fmt: skip
    Terminal().print(table)


def _facts(spec: ModelSpec) -> dict[str, object]:
    """Facts about a model, as values for programs."""
    told = {field.name: getattr(spec, field.name) for field in fields(spec)}
    return {**told, "prompts": dict(spec.prompts), "on_disk": _where(spec) == "yes"}


def _where(spec: ModelSpec) -> str:
    if spec.repo is None:
        return "yes"
    from medembed.checkpoints import hub

    return "yes" if hub.is_cached(spec.repo, spec.revision) else "no"


@models_app.command()
def download(
    model: Annotated[str, typer.Argument(help="A name or a hub id.")],
    revision: Annotated[
        str | None, typer.Option(help="Commit, tag or branch; the pinned commit when left out.")
    ] = None,
    cache_dir: Annotated[
        str | None, typer.Option(help="Where to keep it; the Hugging Face cache when left out.")
    ] = None,
) -> None:
    """Bring a model to this disk, so that it works offline afterwards.

    Example: [bold]medembed models download small[/bold]
    """
    from medembed.checkpoints import checkpoint

    found = checkpoint.fetch(model, revision=revision, cache_dir=cache_dir)
    say(f"{found.spec.name} at {found.revision}: {found.folder}")


@models_app.command()
def export(
    model: Annotated[str, typer.Argument(help="A name, a hub id or a folder.")],
    target: Annotated[Path, typer.Argument(help="Folder to write; must not exist yet.")],
    late_interaction: Annotated[
        bool, typer.Option("--late-interaction", help="As a model of a vector a token, for MultiVectorEncoder.")
    ] = False,
) -> None:
    """Write a model as plain float32 safetensors, for sentence-transformers or for training.

    Example: [bold]medembed models export mini ./mini[/bold]
    """
    from medembed.checkpoints import checkpoint
    from medembed.rows.outputs import check_apart

    found = checkpoint.fetch(model, late_interaction=late_interaction or None)
    check_apart(target, found.folder)
    checkpoint.export(found, target)
    say(f"written: {target}")

"""`medembed corpus`: commands for an embedded corpus or a token index.

They show it, check it, take rows out and hand it over.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from medembed.cli import options
from medembed.cli.stores import open_store, take_over
from medembed.colbert.index.store import TokenIndex
from medembed.errors import SettingError
from medembed.rows import files
from medembed.rows.outputs import check_apart, check_outputs
from medembed.rows.read import lines_of
from medembed.storage import scopes
from medembed.storage.manifest import Encoding, Manifest
from medembed.terminal import say

corpus_app = typer.Typer(
    no_args_is_help=True,
    help="Look at an embedded corpus or a token index, check it, take rows out, write it as arrays.",
)
Folder = Annotated[Path, typer.Argument(help="Folder that `medembed index` made.")]


@corpus_app.command()
def info(folder: Folder, as_json: options.AsJson = False) -> None:
    """Show kind, rows, model and what is stored.

    Examples: [bold]medembed corpus info corpus/[/bold] · [bold]medembed corpus info corpus/ --json[/bold]
    """
    with open_store(folder) as opened:
        if as_json:
            say(json.dumps(_facts(opened.manifest, len(opened))))
            return
        manifest, told = opened.manifest, opened.manifest.encoding
        if isinstance(opened, TokenIndex):
            vectors = (
                f"{manifest.n_vectors} of tokens, {told.dimension} dimensions in {opened.manifest.encoding.bits} bits"
            )
        else:
            vectors = f"{opened.manifest.encoding.vectors}, {told.dimension} dimensions"
        for what, value in {
            "kind": manifest.kind,
            "rows": f"{len(opened)} in {len(manifest.shards)} shards, {manifest.n_deleted} deleted",
            "model": f"{Encoding.__str__(told)}, {told.max_seq_length} tokens, overlong {told.overlong}",
            "vectors": vectors,
            "texts": "stored" if manifest.text_stored else "file and line only",
            "scope": manifest.scope or "none",
            "kept columns": ", ".join(f"{name}:{kind}" for name, kind in manifest.kept.items()) or "none",
            "rows are": "as they were read"
            if manifest.splitting is None
            else f"passages of notes, {_told(manifest.splitting)}",
            "made of": ", ".join(manifest.inputs),
            "written by": f"medembed {manifest.medembed}, {manifest.engine}",
        }.items():
            say(f"{what + ':':14}{value}")


def _facts(manifest: Manifest[Any], n_rows: int) -> dict[str, object]:
    """Facts of a store, as values for programs."""
    return {
        "kind": manifest.kind,
        "rows": n_rows,
        "shards": len(manifest.shards),
        "deleted": manifest.n_deleted,
        "encoding": manifest.encoding.model_dump(mode="json"),
        "text_stored": manifest.text_stored,
        "kept": dict(manifest.kept),
        "inputs": list(manifest.inputs),
        "medembed": manifest.medembed,
        "engine": manifest.engine,
    }


@corpus_app.command()
def verify(folder: Folder) -> None:
    """Hash every file. Exit code 1 says that one is missing, changed, or belongs to no row.

    Example: [bold]medembed corpus verify corpus/[/bold]
    """
    with open_store(folder) as opened:
        broken, deleted = opened.verify(), opened.manifest.n_deleted
        again = opened.KIND.again
    for name in broken:
        say(name)
    if deleted:
        say(
            f"the bytes of {deleted} deleted rows are still there: `medembed corpus compact {folder}` removes them",
            error=True,
        )
    if broken:
        say(
            f"medembed: {again}. Broken shards are made anew and nothing else; what belongs to no row goes with the next change",
            error=True,
        )
        raise typer.Exit(1)


@corpus_app.command()
def delete(
    folder: Folder,
    ids: Annotated[list[str] | None, typer.Argument(help="Ids to leave out from now on.")] = None,
    ids_from: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="A file of ids, one a line.")
    ] = None,
    scope: Annotated[
        str | None, typer.Option(help="All rows of one scope, for instance patient=17.", show_default=False)
    ] = None,
) -> None:
    """Leave rows out from now on. Their bytes go with compact.

    Examples: [bold]medembed corpus delete corpus/ note-17 note-18[/bold] ·
    [bold]medembed corpus delete corpus/ --scope patient=17[/bold]
    """
    by_id = bool(ids) or ids_from is not None
    if by_id == (scope is not None):
        raise SettingError(
            "which rows? Give ids, or a file of them with --ids-from, or a scope with --scope NAME=VALUE"
        )
    listed = [] if ids_from is None else lines_of(str(ids_from))
    with open_store(folder) as opened:
        count = opened.delete([*(ids or []), *listed]) if scope is None else opened.delete_scope(scopes.parse(scope))
    say(f"{count} rows deleted; `medembed corpus compact {folder}` removes their bytes", error=True)


@corpus_app.command()
def compact(
    folder: Folder,
    batch_rows: Annotated[int | None, typer.Option(min=1, help="Rows per shard; as it is when left out.")] = None,
) -> None:
    """Write the shards anew without deleted rows. Nothing is encoded again.

    Example: [bold]medembed corpus compact corpus/[/bold]
    """
    with open_store(folder) as opened:
        opened.compact(batch_rows)


@corpus_app.command()
def export(
    folder: Folder,
    output: Annotated[Path, typer.Option("--output", "-o", help="A path that ends in .npy or .parquet.")],
    overwrite: options.Overwrite = False,
    scope: options.Scope = None,
) -> None:
    """Write rows with their vectors as .parquet, or vectors as .npy. The ids go beside the .npy as .ids.json.

    Example: [bold]medembed corpus export corpus/ -o rows.parquet[/bold]
    """
    check_outputs(files.paths_of(output, with_ids=True), overwrite=overwrite)
    within = None if scope is None else scopes.parse(scope)
    with open_store(folder) as opened:
        if output.suffix == ".parquet":
            opened.to_parquet(output, scope=within)
        else:
            opened.to_npy(output, scope=within)


@corpus_app.command("import")
def import_earlier(
    folder: Annotated[Path, typer.Argument(help="Folder that an earlier medembed made.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the new store.")],
) -> None:
    """Take over a corpus or token index of an earlier medembed.

    The source has the earlier layout. Nothing is encoded again.

    Example: [bold]medembed corpus import old/ -o corpus/[/bold]
    """
    check_apart(output, folder)
    count = take_over(folder, output)
    say(f"{output}: {count} rows taken over from {folder}, which is as it was", error=True)


def _told(splitting: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {value}" for name, value in splitting.items())

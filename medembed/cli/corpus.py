"""`medembed corpus`: look at an embedded corpus, check it, take rows out, hand it over."""

from pathlib import Path
from typing import Annotated

import typer

from medembed.corpus.store import EmbeddedCorpus
from medembed.errors import SettingError
from medembed.terminal import say

corpus_app = typer.Typer(
    no_args_is_help=True, help="Look at an embedded corpus, check it, take rows out, write it as arrays."
)
Folder = Annotated[Path, typer.Argument(help="Folder that `medembed index` made.")]


@corpus_app.command()
def info(folder: Folder) -> None:
    """Tell rows, model and what is stored.

    Example: [bold]medembed corpus info corpus/[/bold]
    """
    corpus = EmbeddedCorpus.open(folder)
    told = corpus.manifest.embedding
    deleted = corpus.manifest.n_rows - len(corpus)
    kept = ", ".join(f"{name}:{kind}" for name, kind in corpus.manifest.kept.items()) or "none"
    for what, value in {
        "rows": f"{len(corpus)} in {len(corpus.manifest.shards)} shards, {deleted} deleted",
        "model": f"{told.model} at {told.revision}, {told.max_seq_length} tokens, overlong {told.overlong}",
        "vectors": f"{told.vectors}, {told.dimension} dimensions",
        "texts": "stored" if corpus.manifest.text_stored else "file and line only",
        "kept columns": kept,
        "made of": ", ".join(corpus.manifest.inputs),
        "written by": f"medembed {corpus.manifest.medembed}, {corpus.manifest.engine}",
    }.items():
        say(f"{what + ':':14}{value}")


@corpus_app.command()
def verify(folder: Folder) -> None:
    """Hash every file; exit code 1 where one is missing or changed.

    Example: [bold]medembed corpus verify corpus/[/bold]
    """
    broken = EmbeddedCorpus.open(folder).verify()
    for name in broken:
        say(name)
    if broken:
        say(
            "medembed: run the same `medembed index` command again: it makes broken shards anew and nothing else",
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
) -> None:
    """Leave rows out from now on; their bytes go with compact.

    Example: [bold]medembed corpus delete corpus/ note-17 note-18[/bold]
    """
    if not ids and ids_from is None:
        raise SettingError("which rows? Give ids, or a file of them with --ids-from")
    listed = [] if ids_from is None else [line for line in ids_from.read_text(encoding="utf-8").splitlines() if line]
    count = EmbeddedCorpus.open(folder).delete([*(ids or []), *listed])
    say(f"{count} rows deleted; `medembed corpus compact {folder}` removes their bytes", error=True)


@corpus_app.command()
def compact(
    folder: Folder,
    batch_rows: Annotated[int | None, typer.Option(min=1, help="Rows a shard; as it is when left out.")] = None,
) -> None:
    """Write the shards anew without deleted rows; nothing is embedded again.

    Example: [bold]medembed corpus compact corpus/[/bold]
    """
    EmbeddedCorpus.open(folder).compact(batch_rows)


@corpus_app.command()
def export(
    folder: Folder, output: Annotated[Path, typer.Option("--output", "-o", help="A path that ends in .npy.")]
) -> None:
    """Write vectors as .npy, and ids beside it as .ids.json.

    Example: [bold]medembed corpus export corpus/ -o vectors.npy[/bold]
    """
    EmbeddedCorpus.open(folder).to_npy(output)

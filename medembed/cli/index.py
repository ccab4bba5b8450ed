"""`medembed index`: files of rows → a store.

After a crash, run it again and it goes on. `token-index` is the same with late interaction.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from medembed.checkpoints.registry import BUNDLED
from medembed.cli import options
from medembed.cli.stopping import stopping
from medembed.colbert.index import build as tokens
from medembed.colbert.index.build import TokenSettings
from medembed.colbert.index.layout import INDEX
from medembed.colbert.model import MedColBERT
from medembed.corpus import embed
from medembed.corpus.embed import Settings
from medembed.corpus.layout import CORPUS
from medembed.corpus.pool import pooled
from medembed.model import MedEmbed
from medembed.progress import row_bar
from medembed.rows import sources
from medembed.rows.read import Columns
from medembed.rows.rejects import REJECTS
from medembed.rows.sources import Found
from medembed.storage.building import Summary
from medembed.storage.manifest import adds, read_manifest
from medembed.storage.modes import Mode
from medembed.storage.shards import Runner
from medembed.storage.syncing import Changes
from medembed.terminal import say


class VectorsName(StrEnum):
    """Formats that vectors are stored in."""

    float32 = "float32"
    float16 = "float16"
    int8 = "int8"
    binary = "binary"


class RepeatedTextName(StrEnum):
    """Choices for texts that come again."""

    each = "each"
    once = "once"
    near = "near"


@dataclass(frozen=True)
class _Run:
    """The settings that both kinds of store have in common.

    Attributes:
        found: Files of rows.
        output: The store.
        mode: What becomes of a store that is there.
        changes: Settings that were given; the others are the store's own, or the defaults.
        text: Columns of the text.
        id: Column of the id; None to number rows.
        keep: Columns to keep; None for the store's own.
        scope: Column that divides the rows; None for the store's own.
        shown: Whether progress is shown; None for at a terminal.
    """

    found: Found
    output: Path
    mode: Mode
    changes: dict[str, Any]
    text: Sequence[str]
    id: str | None
    keep: dict[str, str] | None
    scope: str | None
    shown: bool | None

    @property
    def adds(self) -> bool:
        """Tell whether rows are added to a store. The store's settings are kept then."""
        return adds(self.mode, self.output)

    def settings(self, base: Any) -> Any:
        """The settings of the store, with those that were given.

        Without a store, they are the defaults with those that were given.
        """
        kept = base.columns.kept if self.keep is None else self.keep
        given = {name: value for name, value in self.changes.items() if value is not None}
        columns = Columns(tuple(self.text), self.id, kept, self.scope or base.columns.scope)
        return replace(base, columns=columns, mode=self.mode, **given)


def index(
    inputs: options.Inputs,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the corpus.")],
    text_column: options.TextColumn = None,
    id_column: options.IdColumn = "id",
    number_rows: options.NumberRows = False,
    keep: options.Keep = None,
    scope_column: options.ScopeColumn = None,
    format: options.Format = None,  # noqa: A002 - what it is called everywhere
    delimiter: options.Delimiter = None,
    quote: options.Quote = '"',
    encoding: options.Encoding = "utf-8",
    header: options.Header = True,
    vectors: Annotated[VectorsName | None, typer.Option(help="How vectors are stored. [default: float32]")] = None,
    split: options.Split = False,
    max_tokens: options.MaxTokens = None,
    overlap: options.Overlap = None,
    repeated_text: Annotated[
        RepeatedTextName | None,
        typer.Option(
            help="once: embed each text once, however often it comes, and show the first of its rows in a search. near: also where "
            "only line breaks, blanks, quotes or dashes differ. [default: each]"
        ),
    ] = None,
    batch_rows: options.BatchRows = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes, or Ray actors, each with a model of its own.")] = 1,
    ray: Annotated[
        str | None,
        typer.Option(
            help="Embed on Ray: local starts it here, auto joins the cluster of this machine, or the address of one."
        ),
    ] = None,
    gpus: Annotated[float, typer.Option(min=0, help="With --ray: GPUs per worker.")] = 0,
    append: options.Append = False,
    upsert: options.Upsert = False,
    sync: options.Sync = False,
    sync_limit: options.SyncLimit = None,
    overwrite: options.Overwrite = False,
    store_text: options.StoreText = None,
    assertions: options.Assertions = None,
    model: options.Model = BUNDLED,
    late_interaction: Annotated[
        str | None,
        typer.Option(
            help="Keep one vector per token, of this late-interaction model: mini, a hub id or a folder. Replaces --model."
        ),
    ] = None,
    bits: options.Bits = None,
    pool_factor: options.PoolFactor = None,
    document_length: options.DocumentLength = None,
    precision: options.Precision = options.PrecisionName.auto,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda, cuda:N or mps; several by commas, shared out to the workers.")
    ] = "auto",
    threads: options.Threads = None,
    truncate_dim: Annotated[int | None, typer.Option(min=1, help="Keep this many dimensions.")] = None,
    overlong: options.Overlong = options.OverlongName.truncate,
    quiet: options.Quiet = False,
) -> None:
    """Embed a corpus of any size into a folder. A killed run goes on where it was.

    Examples: [bold]medembed index notes/*.jsonl -o corpus/[/bold] · [bold]medembed index new.csv.gz -o corpus/ --upsert[/bold] ·
    [bold]medembed index notes/*.jsonl -o tokens/ --late-interaction mini[/bold]

    Exit code 3 says that rows or files were left out; rejects.jsonl in the folder says which rows and why.
    """
    mode = options.mode(append=append, upsert=upsert, sync=sync, overwrite=overwrite)
    if not sync:
        options.refuse({"sync-limit": sync_limit}, "only with --sync")
    changes = {
        "shard_rows": batch_rows,
        "store_text": store_text,
        "assertions": assertions,
        "sync_limit": sync_limit,
        "splitting": options.splitting(max_tokens, overlap, split=split),
    }
    chosen = None if format is None else format.value
    id_name = None if number_rows else id_column
    dialect = options.dialect(delimiter, quote, encoding, header=header)
    found = sources.find(inputs, chosen, dialect=dialect, outputs=[output])
    run = _Run(
        found, output, mode, changes, text_column or ["text"], id_name, _kept(keep), scope_column,
        options.shown(quiet=quiet),
    )  # fmt: skip
    if late_interaction is not None:
        options.refuse(
            {
                "vectors": vectors,
                "repeated-text": repeated_text,
                "ray": ray,
                "truncate-dim": truncate_dim,
                "workers": workers > 1,
                "gpus": gpus > 0,
            },
            "for embedded corpora only, and --late-interaction makes a token index",
        )
        run.changes.update(bits=bits, pool_factor=pool_factor)
        with MedColBERT(
            late_interaction, precision=precision.value, device=device, threads=threads, document_length=document_length,
            overlong=overlong.value,
        ) as encoder:  # fmt: skip
            _index_tokens(run, encoder)
        return
    options.refuse(
        {"bits": bits, "pool-factor": pool_factor, "document-length": document_length}, "only with --late-interaction"
    )
    run.changes.update(
        vectors=None if vectors is None else vectors.value,
        repeated_text=None if repeated_text is None else repeated_text.value,
    )
    devices = device.split(",")
    with MedEmbed(
        model, precision=precision.value, device=devices if len(devices) > 1 else device, threads=threads,
        truncate_dim=truncate_dim, overlong=overlong.value,
    ) as embedder:  # fmt: skip
        _index_texts(run, embedder, _runner(embedder, workers, devices, ray, gpus))


def token_index(
    inputs: options.Inputs,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the index.")],
    model: Annotated[
        str, typer.Option("--model", "-m", help="mini, or hub id or folder of a late-interaction model.")
    ] = BUNDLED,
    text_column: options.TextColumn = None,
    id_column: options.IdColumn = "id",
    number_rows: options.NumberRows = False,
    keep: options.Keep = None,
    scope_column: options.ScopeColumn = None,
    format: options.Format = None,  # noqa: A002 - what it is called everywhere
    delimiter: options.Delimiter = None,
    quote: options.Quote = '"',
    encoding: options.Encoding = "utf-8",
    header: options.Header = True,
    bits: options.Bits = None,
    pool_factor: options.PoolFactor = None,
    split: options.Split = False,
    max_tokens: options.MaxTokens = None,
    overlap: options.Overlap = None,
    batch_rows: options.BatchRows = None,
    append: options.Append = False,
    upsert: options.Upsert = False,
    sync: options.Sync = False,
    sync_limit: options.SyncLimit = None,
    overwrite: options.Overwrite = False,
    store_text: options.StoreText = None,
    assertions: options.Assertions = None,
    document_length: options.DocumentLength = None,
    precision: options.Precision = options.PrecisionName.auto,
    device: options.Device = "auto",
    threads: options.Threads = None,
    overlong: options.Overlong = options.OverlongName.truncate,
    quiet: options.Quiet = False,
) -> None:
    """Keep one vector per token of a corpus of any size. Another name for `medembed index --late-interaction MODEL`.

    Examples: [bold]medembed token-index notes/*.jsonl -o tokens/[/bold] ·
    [bold]medembed search tokens/ "painful swollen calf"[/bold]

    Centroids are made from the first 2,048 rows: mix the sources. Exit code 3 says that rows were left out; rejects.jsonl in the
    folder says which and why.
    """
    index(
        inputs, output, text_column=text_column, id_column=id_column, number_rows=number_rows, keep=keep,
        scope_column=scope_column, format=format,
        delimiter=delimiter, quote=quote, encoding=encoding, header=header, split=split, max_tokens=max_tokens, overlap=overlap,
        batch_rows=batch_rows, append=append, upsert=upsert, sync=sync, sync_limit=sync_limit,
        overwrite=overwrite, store_text=store_text, assertions=assertions,
        late_interaction=model, bits=bits, pool_factor=pool_factor,
        document_length=document_length, precision=precision, device=device, threads=threads, overlong=overlong, quiet=quiet,
    )  # fmt: skip


def _index_texts(run: _Run, model: MedEmbed, runner: Runner | None) -> None:
    base = embed.settings_of(read_manifest(run.output, CORPUS), run.mode) if run.adds else Settings()
    settings = run.settings(base)
    with stopping() as stopped, row_bar(run.found.size(), run.shown) as progress:
        started = time.perf_counter()
        summary = embed.index(
            run.found, run.output, model, settings,
            runner=runner, progress=progress, stop=lambda: bool(stopped), announce=_announced,
        )  # fmt: skip
    _tell(
        run,
        summary,
        time.perf_counter() - started,
        "--split makes passages of them, --overlong chunk embeds them whole",
    )


def _index_tokens(run: _Run, model: MedColBERT) -> None:
    base = tokens.settings_of(read_manifest(run.output, INDEX), run.mode) if run.adds else TokenSettings()
    settings = run.settings(base)
    with stopping() as stopped, row_bar(run.found.size(), run.shown) as progress:
        started = time.perf_counter()
        summary = tokens.index(
            run.found, run.output, model, settings,
            progress=progress, stop=lambda: bool(stopped), announce=_announced,
        )  # fmt: skip
    _tell(
        run,
        summary,
        time.perf_counter() - started,
        "--split makes passages of them, --overlong chunk reads them whole",
        of_tokens=True,
    )


def _runner(model: MedEmbed, workers: int, devices: list[str], ray: str | None, gpus: float) -> Runner | None:
    """The runner that embeds. It is this process, several of this machine, or Ray's actors."""
    if ray is not None:
        from medembed.corpus.embed_ray import Cluster, on_ray

        address = None if ray == "local" else ray
        return on_ray(model, Cluster(workers, least=1, cpus=model.settings["threads"] or 1, gpus=gpus, address=address))
    return None if workers == 1 else pooled(model, workers, devices)


def _kept(given: list[str] | None) -> dict[str, str] | None:
    if not given:
        return None
    return {name: kind or "string" for name, _, kind in (item.partition(":") for item in given)}


def _announced(changes: Changes) -> None:
    """Say what a sync is about to do."""
    say(
        f"sync: {changes.kept} rows are as they were, {changes.replaced} have changed, {changes.new} are new, {changes.gone} are gone "
        "and will be deleted",
        error=True,
    )


def _tell(run: _Run, summary: Summary, seconds: float, remedy: str, *, of_tokens: bool = False) -> None:
    rate = f", {summary.embedded / seconds:.0f}/s" if summary.embedded else ""
    vectors = f", {summary.n_vectors} token vectors" if of_tokens else ""
    there = f"{summary.resumed} were there"
    if run.mode in ("upsert", "sync"):
        there = f"{summary.kept} kept, {summary.replaced} replaced, {summary.new} new"
    if run.mode == "sync":
        there += f", {summary.deleted} deleted"
    say(
        f"{run.output}: {summary.n_rows} rows{vectors} ({summary.embedded} embedded now in {seconds:.1f} s{rate}; {there})",
        error=True,
    )
    if summary.repeated:
        say(
            f"{summary.repeated} texts were there before, {summary.repeated_share:.0%} of what was read: they were not embedded again, "
            f"which saved about {summary.seconds_saved:.0f} s",
            error=True,
        )
    if summary.truncated:
        say(f"{summary.truncated} texts are longer than the model reads and were cut: {remedy}", error=True)
    options.tell_rejected(run.found, summary.rejected, run.output / REJECTS, indexed=summary.n_rows)

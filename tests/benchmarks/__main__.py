"""`python -m tests.benchmarks [NAME ...]`: measure, print tables, write JSON. `make bench ARGS="NAME ..."` is the same."""

import argparse
import datetime as dt
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from tests.benchmarks import (
    assertions,
    corpora,
    fidelity,
    gpu,
    late_interaction,
    limit,
    machine,
    memory,
    readme,
    recipes,
    recipes_llamacpp,
    report,
    sizes,
    speed,
    start,
    token_index,
)
from tests.benchmarks.engines import ENGINES, KERNELS
from tests.benchmarks.report import Result
from tests.benchmarks.sizes import Size

BENCHMARKS: dict[str, Callable[[Size, Sequence[str]], Result]] = {
    "import": start.imports,
    "cold-start": start.cold_start,
    "fidelity": fidelity.fidelity,
    "latency": speed.latency,
    "queries": speed.queries,
    "passages": speed.passages,
    "kernels-passages": speed.kernels_passages,
    "kernels-queries": speed.kernels_queries,
    "bge-small": speed.bge_small,
    "bge-base": speed.bge_base,
    "peak-memory": memory.peak,
    "stream-memory": memory.stream,
    "recipes-extractive": recipes.extractive,
    "recipes-mining": recipes.mining,
    "recipes-endpoint": recipes.endpoint,
    "recipes-training": recipes.training,
    "recipes-overhead": recipes.overhead,
    "pairs-small-model": recipes_llamacpp.usable,
    "corpus-index": corpora.index,
    "corpus-memory": corpora.memory,
    "corpus-search": corpora.searching,
    "corpus-ray": corpora.on_ray,
    "assertions": assertions.order,
    "maxsim": late_interaction.rerank,
    "token-index": token_index.index,
    "limit": limit.limit,
    "gpu": gpu.gpu,
}

# what a benchmark needs that not every machine has
NEEDS: dict[str, Callable[[], bool]] = {
    "gpu": gpu.present,
    "pairs-small-model": recipes_llamacpp.present,
    "corpus-ray": corpora.ray_present,
    "kernels-passages": KERNELS.is_dir,
    "kernels-queries": KERNELS.is_dir,
}


def _nothing() -> bool:
    """Needs nothing special."""
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the named benchmarks, all that this machine can run by default.

    Returns:
        0, also where a floor is not met: that is a finding, which the table and the JSON tell.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.names if name not in BENCHMARKS]:
        parser.error(f"no benchmark is called {', '.join(unknown)}: choose of {', '.join(BENCHMARKS)}")
    console = Console(width=options.width)
    results = options.out or (None if options.quick else report.RESULTS)
    if options.show:
        return _show_committed(results or report.RESULTS, console)
    if options.readme:
        readme.rewrite()
        return 0
    console.print(f"machine: {', '.join(f'{key} {value}' for key, value in machine.describe().items())}\n")
    names = options.names or [name for name in BENCHMARKS if NEEDS.get(name, _nothing)()]
    for name in names:
        result = BENCHMARKS[name](sizes.QUICK if options.quick else sizes.FULL, options.engines)
        report.show(result, console)
        if results is not None:
            command = "python -m tests.benchmarks " + shlex.join(sys.argv[1:] if arguments is None else arguments)
            path = report.write(result, command.strip(), dt.datetime.now(dt.UTC).isoformat("T", "seconds"), results)
            console.print(f"[dim]{path}\n")
    return 0


def _show_committed(results: Path, console: Console) -> int:
    for path in sorted(results.glob("*/*.json")):
        console.rule(path.parent.name)
        report.show(report.read(path), console)
    return 0


def _engines(listed: str) -> list[str]:
    names = listed.split(",")
    if unknown := [name for name in names if name not in ENGINES]:
        raise argparse.ArgumentTypeError(f"no engine is called {', '.join(unknown)}: choose of {', '.join(ENGINES)}")
    return names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}")
    parser.add_argument(
        "--engines", type=_engines, default=[], help=f"instead of the usual ones, of {', '.join(ENGINES)}"
    )
    parser.add_argument(
        "--quick", action="store_true", help="small amounts, to see that it works; writes nothing unless --out is given"
    )
    parser.add_argument("--out", type=Path, help="write results here instead of the committed folder")
    parser.add_argument("--show", action="store_true", help="measure nothing, print the committed results")
    parser.add_argument("--readme", action="store_true", help="measure nothing, renew the table in README.md")
    parser.add_argument("--width", type=int, default=140, help="columns of the tables")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""Peak memory: of each engine over the passages, and of a stream that grows tenfold."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import cycle, islice

from tests.benchmarks import models, texts
from tests.benchmarks.engines import that_run_here
from tests.benchmarks.report import Claim, Result
from tests.benchmarks.runner import Setting, in_turn
from tests.benchmarks.sizes import Size
from tests.benchmarks.worker import peak_mib

ENGINES = (
    "st-fp32",
    "st-openvino",
    "medembed",
    "medembed-fp32",
    "medembed-int8",
    "medembed-bundled",
    "medembed-kernels",
)


def peak(size: Size, engines: Sequence[str] = ()) -> Result:
    """The most memory each engine's process ever held: after loading, and after the passages."""
    names = tuple(engines or that_run_here(ENGINES))
    found = in_turn(names, Setting(), 1, do="encode", kind="passages", n=size.passages)
    rows = [
        {"engine": name, "loaded MiB": found.ready[name]["peak_mib"], "peak MiB": found.answers[name][-1]["peak_mib"]}
        for name in names
    ]
    peaks = {str(row["engine"]): float(row["peak MiB"]) for row in rows}
    claims = [
        Claim(f"peak memory of {name}, MiB", peaks[name], at_most=most)
        for name, most in (("medembed", 450), ("medembed-bundled", 450), ("medembed-kernels", 250))
        if name in peaks
    ]
    settings = {"model": "minilm", "passages": size.passages, "threads": 2}
    return Result("peak-memory", "one process per engine", settings, rows, claims, found.other_load, found.versions)


def stream(size: Size, engines: Sequence[str] = ()) -> Result:
    """Peak memory of `encode_stream` over few and over ten times as many texts, a process each."""
    engine = (*engines, "medembed")[0]
    rows = []
    for n in size.streamed:
        command = [sys.executable, "-m", "tests.benchmarks.memory", engine, str(n)]
        done = subprocess.run(command, cwd=models.ROOT, capture_output=True, text=True, check=True)
        rows.append({"texts": n, **json.loads(done.stdout)})
    growth = rows[-1]["peak MiB"] / rows[0]["peak MiB"]
    claims = [Claim(f"peak at {size.streamed[1]:,} texts over that at {size.streamed[0]:,}", growth, at_most=1.10)]
    return Result("stream-memory", "encode_stream, vectors not kept", {"engine": engine, "threads": 2}, rows, claims)


def _numbered_queries(n: int) -> Iterator[str]:
    """As many different short texts as asked for; none is kept."""
    return (f"{query} ({number})" for number, query in enumerate(islice(cycle(texts.load("queries")), n)))


def main() -> None:
    """Stream in this process and print what it took."""
    from medembed import FakeEngine, MedEmbed

    engine, n = sys.argv[1], int(sys.argv[2])
    model = MedEmbed(threads=2, engine=FakeEngine() if engine == "fake" else None)
    rows = sum(len(vectors) for vectors in model.encode_stream(_numbered_queries(n)))
    if rows != n:
        raise RuntimeError(f"{n} texts were streamed, {rows} vectors came back")
    print(json.dumps({"peak MiB": peak_mib()}))


if __name__ == "__main__":
    main()

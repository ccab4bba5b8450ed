"""How much a benchmark measures."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """Amounts for every benchmark; the defaults are the full measurement, about a quarter of an hour on two cores.

    Attributes:
        rounds: Times each engine has its turn.
        passages: In one call, for MiniLM.
        queries: In one call.
        singles: Queries one by one, for latencies.
        small_passages: In one call, for bge-small's shape.
        base_passages: In one call, for bge-base's shape.
        limit_models: Shapes whose share of the machine's matrix rate is measured, and texts of each kind.
        gpu_passages: In one call, for bge-large's shape on a GPU.
        starts: Processes started per engine.
        imports: Processes started to time `import medembed`.
        streamed: Texts streamed, for the smaller and the larger run.
        fidelity: Passages, and as many queries, whose vectors are compared.
        recipe_rounds: Times each program of the recipes runs, and training has its turn.
        mined: Queries and passages of the mining benchmark.
        echo_delay_s: What the echo server takes to answer; a language model takes longer.
        written: Notes that a small model writes pairs for.
        train_steps: Batches of 64 a turn of training.
        indexed: Passages encoded and indexed.
        corpus_rows: Rows indexed, for the smaller and the larger run.
        corpus_passages: Passages of notes indexed, for the smaller and the larger run.
        searched: Vectors searched.
        ray_rows: Passages indexed on Ray.
        corpus_rounds: Times each way of indexing them has its turn.
        late_passages: Passages of the token index.
        late_originals: Of them, those that are encoded; the others repeat them with noise.
    """

    rounds: int = 5
    passages: int = 96
    queries: int = 512
    singles: int = 100
    small_passages: int = 48
    base_passages: int = 16
    limit_models: tuple[tuple[str, int], ...] = (("minilm", 128), ("bge-small", 64), ("bge-base", 24), ("bge-large", 8))
    gpu_passages: int = 2048
    starts: int = 5
    imports: int = 7
    streamed: tuple[int, int] = (10_000, 100_000)
    fidelity: int = 128
    recipe_rounds: int = 3
    mined: tuple[int, int] = (50_000, 100_000)
    echo_delay_s: float = 2.0
    written: int = 60
    train_steps: int = 3
    indexed: int = 1024
    corpus_rows: tuple[int, int] = (10_000, 200_000)
    corpus_passages: tuple[int, int] = (20_000, 1_000_000)
    searched: int = 1_000_000
    ray_rows: int = 1536
    corpus_rounds: int = 2
    late_passages: int = 100_000
    late_originals: int = 512


FULL = Size()
QUICK = Size(
    rounds=2, passages=24, queries=64, singles=20, small_passages=16, base_passages=8, limit_models=(("tiny", 16),),
    gpu_passages=256, starts=2, imports=3,
    streamed=(1000, 4000), fidelity=32, recipe_rounds=1, mined=(300, 1200), echo_delay_s=0.1, written=2, train_steps=3,
    indexed=32, corpus_rows=(500, 1000), corpus_passages=(500, 1000), searched=5000, ray_rows=64, corpus_rounds=1,
    late_passages=300, late_originals=24,
)  # fmt: skip

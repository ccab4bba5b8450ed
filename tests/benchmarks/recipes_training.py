"""Training speed in one run, turn by turn: the recipe's trainer beside SentenceTransformerTrainer's defaults.

    python -m tests.benchmarks.recipes_training [STEPS THREADS ROUNDS]

MiniLM, batches of 64 pairs from the recipe tiny (their real lengths, passages cut at 128 tokens), bf16 where the CPU has it.
Each run in a process of its own.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from transformers import TrainerCallback

from medembed.checkpoints import checkpoint
from medembed.recipes.execution import Execution
from medembed.recipes.records import Triplet
from medembed.recipes.train_settings import Train
from medembed.recipes.training import losses, tuning
from medembed.rows.readers import records
from medembed.rows.source import Record
from medembed.rows.sources import find
from medembed.rows.wanted import Wanted

BATCH = 64


class Clock(TrainerCallback):
    def __init__(self) -> None:
        self.steps: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.steps.append(time.perf_counter())


def rate(clock: Clock) -> float:
    """Pairs a second of the median step, the first left out."""
    lengths = sorted(after - before for before, after in zip(clock.steps, clock.steps[1:], strict=False))
    return BATCH / lengths[len(lengths) // 2]


def ours(folder: Path, rows: list[dict[str, str]]) -> float:
    settings = Train(negatives_per_query=0, max_passage_tokens=128, batch_size=BATCH, evaluations=0)
    model = tuning.load_model(folder, settings, {"query": "", "document": ""}, "cpu")
    triplets = [Triplet(row["query"], row["positive"], [], [], "s", str(i)) for i, row in enumerate(rows)]
    clock = Clock()
    setup = tuning.Setup(settings, Execution(device="cpu"), {"query": "", "document": ""}, 1, Path(tempfile.mkdtemp()))
    tuning.trainer(
        model, tuning.training_data(triplets, settings), losses.load(model, settings, None), None, [clock], setup
    ).train()
    return rate(clock)


def theirs(folder: Path, rows: list[dict[str, str]]) -> float:
    model = SentenceTransformer(str(folder), device="cpu")
    model.max_seq_length = 128
    clock = Clock()
    data = Dataset.from_list([{"anchor": row["query"], "positive": row["positive"]} for row in rows])
    arguments = SentenceTransformerTrainingArguments(
        tempfile.mkdtemp(),
        per_device_train_batch_size=BATCH,
        num_train_epochs=1,
        bf16=tuning.in_bf16(Train(), on_cpu=True),  # as the recipe decides: emulated bf16 would be no comparison
        use_cpu=True,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    SentenceTransformerTrainer(
        model, arguments, data, loss=MultipleNegativesRankingLoss(model), callbacks=[clock]
    ).train()
    return rate(clock)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    items = (item for source in find([str(path)]) for item in records(source, Wanted({}), lambda _: None))
    return (item.values for item in items if isinstance(item, Record))


def turn(who: str, steps: int, threads: int) -> float:
    """One run, in this process: what the recipe asks of the C library cannot be taken back."""
    torch.set_num_threads(threads)
    tuning.quiet()
    folder = Path(tempfile.mkdtemp()) / "base"
    checkpoint.export(checkpoint.fetch("mini"), folder)
    pairs = list(_rows(Path("recipes/tiny/data/pairs.jsonl.gz")))
    rows = [
        {"query": f"{row['query']} {i}", "positive": f"{row['positive']} {i}"}
        for i, row in enumerate(islice(cycle(pairs), BATCH * steps))
    ]
    if who == "defaults":
        return theirs(folder, rows)
    tuning.keep_freed_memory()
    return ours(folder, rows)


def main(steps: int, threads: int, rounds: int) -> None:
    turns: dict[str, list[float]] = {"recipe": [], "defaults": []}
    for _ in range(rounds):
        for who, rates in turns.items():
            command = [sys.executable, "-m", "tests.benchmarks.recipes_training", who, str(steps), str(threads)]
            told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            rates.append(round(float(told.splitlines()[-1]), 1))
    ratios = [mine / yours for mine, yours in zip(turns["recipe"], turns["defaults"], strict=True)]
    found = {name: median(values) for name, values in turns.items()}
    print(
        json.dumps(
            {
                **found,
                "ratio": round(median(ratios), 2),
                "threads": threads,
                "bf16": tuning.in_bf16(Train(), on_cpu=True),
                "turns": turns,
            }
        )
    )


if __name__ == "__main__":
    if sys.argv[1:2] in (["recipe"], ["defaults"]):
        print(turn(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
    else:
        main(*(int(value) for value in (sys.argv[1:4] or ("6", "2", "3"))))

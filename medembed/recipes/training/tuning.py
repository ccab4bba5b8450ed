"""Model, data and trainer of a training run, on sentence-transformers. Imported only when training starts."""

import ctypes
import platform
import string
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import torch
import transformers
from datasets import Dataset, DatasetDict
from sentence_transformers import (
    MultiVectorEncoder,
    MultiVectorEncoderTrainer,
    MultiVectorEncoderTrainingArguments,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.base.evaluation import SequentialEvaluator
from sentence_transformers.base.sampler import BatchSamplers, DefaultBatchSampler, MultiDatasetBatchSamplers
from sentence_transformers.multi_vector_encoder.evaluation import MultiVectorInformationRetrievalEvaluator
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

from medembed.errors import EmptyStageError, PrecisionError
from medembed.recipes.execution import Execution
from medembed.recipes.layouts import filled
from medembed.recipes.records import Triplet
from medembed.recipes.retrieval import RetrievalSet
from medembed.recipes.train_settings import Train
from medembed.recipes.training import grouping, processes
from medembed.recipes.training.packing import PackedSentenceTransformer
from medembed.runtime import hardware

# scores of each row's query with the passages of its batch, for rows that lie batch after batch
Teach = Callable[[Sequence[Triplet]], list[list[float]]]

WARMUP, SCHEDULE, WEIGHT_DECAY = 0.1, "cosine", 0.01
LORA_ALPHA = 32
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8  # malloc.h of glibc
_NEVER = -1
_DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob")


def quiet() -> None:
    """Silence the libraries' own bars and tables: the recipe has its own, and a run's output is read by people."""
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()


def load_model(folder: Path, settings: Train, prompts: dict[str, str], device: str) -> Any:
    """The model to train: in float32, without dropout, with the recipe's prompts.

    On a CPU the random numbers of dropout cost as much as a layer, and with thousands of different pairs there is nothing to
    regularise.
    """
    options: dict[str, Any] = {
        "device": None if device == "auto" else device,
        "config_kwargs": dict.fromkeys(_DROPOUTS, 0.0),
        "model_kwargs": {"dtype": torch.float32, **_attention(settings, device)},
        "local_files_only": True,
    }
    if settings.architecture == "colbert":
        model: Any = MultiVectorEncoder(str(folder), **options)
        if settings.skip_punctuation:
            mask = next(module for module in model if isinstance(module, MultiVectorMask))
            mask.skiplist_words, mask.skiplist_tasks = list(string.punctuation), ["query", "document"]
            mask.resolve_with_tokenizer(model.tokenizer)
    else:
        model = PackedSentenceTransformer(str(folder), **options)
        model.micro_batch_tokens = settings.micro_batch_tokens
    model.prompts = dict(prompts)
    if settings.lora_rank:
        from peft import LoraConfig

        model.add_adapter(
            LoraConfig(r=settings.lora_rank, lora_alpha=LORA_ALPHA, target_modules=["query", "key", "value"])
        )
    return model


def _attention(settings: Train, device: str) -> dict[str, str]:
    """Torch's fused attention runs backwards in bf16 off a CPU's matrix units: 25 ms where forwards takes 3.5 (AMX, torch 2.13)."""
    return {"attn_implementation": "eager"} if on_cpu(device) and in_bf16(settings, on_cpu=True) else {}


def on_cpu(device: str) -> bool:
    """Tell whether a run told to use ``device`` trains on the CPU."""
    return device == "cpu" or not torch.cuda.is_available()


def keep_freed_memory() -> bool:
    """Tell glibc to give no memory back to the system.

    This holds while the process lives. Nothing happens with another C library.

    A step's activations are blocks of many megabytes. glibc unmaps such blocks when they are freed and maps them again a moment
    later, and the system fills every page with zeros each time. Without this and with torch's fused attention, MiniLM trained
    29 pairs per second where it trains 43 (two cores with AMX).

    Returns:
        Whether it was told so.

    Example:
        >>> keep_freed_memory() is (platform.libc_ver()[0] == "glibc")
        True
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    option = ctypes.CDLL(None).mallopt
    return all([option(_MMAP_MAX, 0), option(_ARENA_MAX, 1), option(_TRIM_THRESHOLD, _NEVER)])


def dropouts(folder: Path) -> dict[str, float]:
    """Dropout probabilities in a model's config, to be put back before the tuned model is saved."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(str(folder), local_files_only=True)
    return {name: getattr(config, name) for name in _DROPOUTS if hasattr(config, name)}


def training_data(
    triplets: Sequence[Triplet], settings: Train, seed: int = 0, teach: Teach | None = None
) -> DatasetDict:
    """Rows as columns query, positive, negative_1 ..., and label where the loss learns from a teacher.

    There is one table per source, so that a batch's negatives are of the same kind of text; sources with fewer than two batches
    are joined into one. With grouping, a table's rows lie batch after batch.
    """
    if settings.loss in ("margin_mse", "kl"):
        triplets = [row for row in triplets if len(row.negatives) >= settings.negatives_per_query]
    groups: dict[str, list[Triplet]] = defaultdict(list)
    for row in triplets:
        groups[row.source].append(row)
    small = [name for name, rows in groups.items() if len(rows) < 2 * settings.batch_size]
    rest = [row for name in small for row in groups.pop(name)]
    if rest:
        groups["rest"] = rest
    tables = {name: _grouped(groups[name], settings, seed) for name in sorted(groups)}
    if not any(tables.values()):
        raise EmptyStageError(
            f"no source has {settings.batch_size} rows for one whole batch; lower train.batch_size, or say train.grouping=none"
        )
    return DatasetDict({name.replace(":", "-"): _table(rows, settings, teach) for name, rows in tables.items() if rows})


def with_contrasts(data: DatasetDict, rows: Sequence[Triplet], settings: Train) -> DatasetDict:
    """The tables, and one of rows that each have a hard negative of their own."""
    return DatasetDict(
        {**data, "contrasts": _table(rows, settings.model_copy(update={"negatives_per_query": 1}), None)}
    )


def _grouped(rows: Sequence[Triplet], settings: Train, seed: int) -> Sequence[Triplet]:
    """A source's rows in whole batches of related ones.

    They are returned as they are where the recipe groups nothing.
    """
    if settings.grouping == "none":
        return rows
    made = grouping.batches(rows, settings.batch_size, settings.grouping, settings.group_size, seed)
    return [rows[index] for batch in made for index in batch]


class ConsecutiveBatches(DefaultBatchSampler):
    """Batches of consecutive rows, in an order of their own in each epoch: the rows were put together on purpose."""

    def __iter__(self) -> Iterator[list[int]]:
        """Indices batch after batch."""
        size = self.batch_size
        count = len(self)
        shuffle = torch.Generator().manual_seed(self.seed + self.epoch)
        for batch in torch.randperm(count, generator=shuffle).tolist():
            yield list(range(batch * size, min((batch + 1) * size, len(self.sampler))))


def _table(triplets: Sequence[Triplet], settings: Train, teach: Teach | None) -> Dataset:
    negatives = filled(triplets, settings.negatives_per_query)
    count = min((len(row) for row in negatives), default=0)
    columns: dict[str, list[Any]] = {
        "query": [row.query for row in triplets],
        "positive": [row.positive for row in triplets],
    }
    for place in range(count):
        columns[f"negative_{place + 1}"] = [row[place] for row in negatives]
    if settings.loss == "margin_mse":
        columns["label"] = [[row.scores[0] - score for score in row.scores[1 : count + 1]] for row in triplets]
    elif settings.loss == "kl":
        columns["label"] = [row.scores[: count + 1] for row in triplets]
    elif teach is not None:
        columns["label"] = teach(triplets)
    return Dataset.from_dict(columns)


def watch(sets: Sequence[RetrievalSet], settings: Train) -> Any:
    """Evaluator for training: nDCG@10 on every set, their mean as the main score. None without sets."""
    if not sets or not settings.evaluations:
        return None
    kind = (
        MultiVectorInformationRetrievalEvaluator
        if settings.architecture == "colbert"
        else InformationRetrievalEvaluator
    )
    only_ten = {name: [10] for name in ("mrr_at_k", "ndcg_at_k", "accuracy_at_k", "precision_recall_at_k", "map_at_k")}
    evaluators = [
        kind(
            item.queries,
            item.documents,
            {key: {doc for doc, score in judged.items() if score > 0} for key, judged in item.qrels.items()},
            name=item.name,
            write_csv=False,
            **only_ten,
        )
        for item in sets
    ]
    return SequentialEvaluator(evaluators, main_score_function=mean)


class ColumnCollator(SentenceTransformerDataCollator):
    """Cuts queries and passages at lengths of their own: to the library, a column's length goes with its task."""

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        """Tokens of a batch, without the columns' tasks: a model without a router has none."""
        batch = super().__call__(features)
        return {name: value for name, value in batch.items() if not name.endswith("_task")}


def collator(model: Any, settings: Train, prompts: dict[str, str]) -> ColumnCollator:
    """Tokenizes a batch with prompts in training as in use."""

    def preprocess(
        texts: list[str],
        max_length: int,
        prompt: str | None = None,
        task: str | None = None,  # noqa: ARG001  the collator passes it by name
    ) -> Any:
        return model.preprocess(
            texts, prompt=prompt, processing_kwargs={"text": {"max_length": max_length, "truncation": True}}
        )

    passages = ("positive", *(f"negative_{place + 1}" for place in range(settings.negatives_per_query)))
    return ColumnCollator(
        preprocess_fn=preprocess,
        prompts=column_prompts(prompts, settings.negatives_per_query),
        router_mapping={"query": "query", **dict.fromkeys(passages, "document")},
        max_length={"query": settings.max_query_tokens, "document": settings.max_passage_tokens},
    )


def column_prompts(prompts: dict[str, str], negatives: int) -> dict[str, str]:
    """Prompt of each column that has one."""
    columns = {"query": prompts["query"], "positive": prompts["document"]}
    columns |= {f"negative_{place + 1}": prompts["document"] for place in range(negatives)}
    return {name: prompt for name, prompt in columns.items() if prompt}


class _WithoutCard:
    """Leaves out the library's own card: it would quote training texts, which may be private, in every checkpoint."""

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Add no callback. ``publish`` writes the card."""


class _DenseTrainer(_WithoutCard, SentenceTransformerTrainer):
    """Trainer of models of one vector per text."""


class _LateInteractionTrainer(_WithoutCard, MultiVectorEncoderTrainer):
    """Trainer of models of one vector per token."""


@dataclass(frozen=True)
class Setup:
    """Set-up of a trainer: the recipe's section, where it runs, and where checkpoints go."""

    settings: Train
    execution: Execution
    prompts: dict[str, str]
    seed: int
    checkpoints: Path


def trainer(
    model: Any, data: Dataset | DatasetDict, loss: Any, evaluator: Any, callbacks: list[Any], setup: Setup
) -> Any:
    """sentence-transformers' trainer with the recipe's settings."""
    settings, execution, prompts, seed = setup.settings, setup.execution, setup.prompts, setup.seed
    total = total_steps(data, settings)
    colbert = settings.architecture == "colbert"
    cpu = on_cpu(execution.device)
    options: dict[str, Any] = {
        "output_dir": str(setup.checkpoints),
        "num_train_epochs": settings.epochs,
        "max_steps": settings.max_steps or -1,
        "per_device_train_batch_size": _per_process(settings),
        "learning_rate": settings.learning_rate,
        "weight_decay": WEIGHT_DECAY,
        "lr_scheduler_type": SCHEDULE,
        "warmup_steps": round(WARMUP * total),
        "bf16": in_bf16(settings, on_cpu=cpu),
        "use_cpu": cpu,
        "batch_sampler": BatchSamplers.NO_DUPLICATES if settings.grouping == "none" else ConsecutiveBatches,
        "multi_dataset_batch_sampler": MultiDatasetBatchSamplers.PROPORTIONAL,
        "seed": seed,
        "data_seed": seed,
        "save_strategy": "steps",
        "save_steps": execution.save_every_steps,
        "save_total_limit": 2,
        "logging_steps": max(1, total // 50),
        "eval_strategy": "steps" if evaluator is not None else "no",
        "eval_steps": max(1, total // max(1, settings.evaluations)),
        "report_to": execution.report_to,
        "disable_tqdm": True,
        "dataloader_pin_memory": torch.cuda.is_available(),
    }
    shared = {"model": model, "train_dataset": data, "loss": loss, "evaluator": evaluator, "callbacks": callbacks}
    if colbert:
        options["max_length"] = {"query": settings.max_query_tokens, "document": settings.max_passage_tokens}
        negatives = max(settings.negatives_per_query, 1 if settings.contrasts.batch_size else 0)
        options["prompts"] = column_prompts(prompts, negatives) or None
        runner = _LateInteractionTrainer(args=MultiVectorEncoderTrainingArguments(**options), **shared)
    else:
        shared["data_collator"] = collator(model, settings, prompts)
        runner = _DenseTrainer(args=SentenceTransformerTrainingArguments(**options), **shared)
    runner.remove_callback(transformers.PrinterCallback)
    return runner


def in_bf16(settings: Train, *, on_cpu: bool) -> bool:
    """Tell whether to compute in bf16. Emulated, a step of MiniLM took fifteen times as long as in fp32 (AMD Zen 3).

    ``"auto"`` asks more of a CPU than that it knows bf16: it must gain by it.
    """
    native = hardware.cpu_has_bf16() if on_cpu else torch.cuda.is_bf16_supported()
    if settings.precision == "bf16" and not native:
        raise PrecisionError(
            "train.precision = 'bf16', but this device only emulates bf16, many times slower than fp32: say train.precision=auto"
        )
    if settings.precision == "auto" and on_cpu:
        return native and not hardware.cpu_loses_by_bf16()
    return settings.precision != "fp32" and native


def total_steps(data: Dataset | DatasetDict, settings: Train) -> int:
    """Optimiser steps of the run, as far as they can be known beforehand."""
    tables = list(data.values()) if isinstance(data, DatasetDict) else [data]
    per_epoch = sum(-(-len(table) // settings.batch_size) for table in tables)
    steps = max(1, int(per_epoch * settings.epochs))
    return min(steps, settings.max_steps or steps)


def _per_process(settings: Train) -> int:
    """Rows a process takes of each batch, so that the recipe's batch size is what all of them see together."""
    return max(1, settings.batch_size // processes.count())

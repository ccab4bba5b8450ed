"""Losses, prompts, packing and adapters, on the real trainer with a model of a few thousand weights."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from medembed.errors import PrecisionError, RecipeConfigError
from medembed.recipes.artifacts import ArtifactWriter
from medembed.recipes.execution import Execution
from medembed.recipes.layouts import filled
from medembed.recipes.records import Triplet
from medembed.recipes.reporting import Reporter
from medembed.recipes.train_settings import Teacher, Train
from medembed.recipes.training import callbacks, losses, teaching, tuning
from medembed.runtime import hardware
from tests import tiny_bert

NO_PROMPTS = {"query": "", "document": ""}


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of a few thousand weights."""
    return tiny_bert.make(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def rows(count: int = 16) -> list[Triplet]:
    words = ["fever", "cough", "gout", "rash", "pain", "stroke", "asthma", "sepsis"]
    return [
        Triplet(
            f"what helps against {words[i % 8]} {i}",
            f"{words[i % 8]} {i} gets better with rest and water" + " again" * (i % 5),
            [],
            [0.9, 0.5, 0.4],
            "a" if i % 3 else "b",
            f"d{i}",
        )
        for i in range(count)
    ]


@contextmanager
def taught(settings: Train, folder: Path) -> Iterator[tuning.Teach | None]:
    if settings.teacher is None:
        yield None
        return
    execution, out = Execution(threads=1), ArtifactWriter(folder)
    with (
        Reporter(progress=False) as reporter,
        reporter.task("train") as task,
        teaching.Teacher(settings.teacher, settings.batch_size, execution, out, task) as teacher,
    ):
        yield teacher.scores


def run(
    base: Path, tmp_path: Path, settings: Train, prompts: dict[str, str] | None = None, **execution: Any
) -> tuple[Any, list[float]]:
    tuning.quiet()
    prompts = prompts or NO_PROMPTS
    model = tuning.load_model(base, settings, prompts, "cpu")
    setup = tuning.Setup(settings, Execution(device="cpu", **execution), prompts, 3, tmp_path / "checkpoints")
    triplets = [
        Triplet(row.query, row.positive, [f"unlike {row.query}", "something else"], row.scores, row.source, row.doc_id)
        for row in rows()
    ]
    guide = base if settings.guide else None
    with taught(settings, tmp_path) as teach:
        data = tuning.training_data(triplets, settings, teach=teach)
    runner = tuning.trainer(model, data, losses.load(model, settings, guide), None, [], setup)
    runner.train()
    return model, [entry["loss"] for entry in runner.state.log_history if "loss" in entry]


@pytest.mark.thorough
@pytest.mark.parametrize(
    "changed",
    [
        {"loss": "mnr", "matryoshka_dims": (64, 16), "symmetric": True},
        {"loss": "cached_mnr"},
        {"loss": "cached_gist", "guide": "base"},
        {"loss": "margin_mse", "negatives_per_query": 2},
        {"loss": "kl", "negatives_per_query": 2},
        {
            "loss": "batch_kl",
            "teacher": Teacher(model="mini", bm25=0.1),
            "negatives_per_query": 0,
            "grouping": "document",
            "matryoshka_dims": (64, 16),
        },
        {"architecture": "colbert"},
        {"architecture": "colbert", "loss": "cached_mnr"},
        {"architecture": "colbert", "loss": "margin_mse", "negatives_per_query": 2},
        {"architecture": "colbert", "loss": "kl", "negatives_per_query": 2},
        {"precision": "fp32"},
        {"lora_rank": 4},
    ],
    ids=[
        "matryoshka",
        "cached",
        "gist",
        "margin mse",
        "kl",
        "batch kl",
        "colbert",
        "colbert cached",
        "colbert margin mse",
        "colbert kl",
        "fp32",
        "lora",
    ],
)
def test_every_loss_trains_and_moves_the_weights(base: Path, tmp_path: Path, changed: dict[str, Any]) -> None:
    settings = Train(**({"batch_size": 4, "max_steps": 2, "learning_rate": 1e-3, "max_passage_tokens": 24} | changed))
    model, losses = run(base, tmp_path, settings)
    assert losses
    assert all(0 < loss < 100 for loss in losses)
    callbacks.save_plain(model, tmp_path / "saved", tuning.dropouts(base))
    from medembed.checkpoints import tensors

    before, after = tensors.read_tensors(base), tensors.read_tensors(tmp_path / "saved")
    name = "encoder.layer.1.attention.self.query.weight"
    assert {key for key in before if "pooler" not in key} <= set(after)
    assert not [key for key in after if "pooler" in key]
    assert abs(before[name] - after[name]).max() > 1e-6


def test_several_processes_are_refused_a_teacher_of_whole_batches(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    settings = Train(
        loss="batch_kl", teacher=Teacher(model="mini"), negatives_per_query=0, grouping="document", precision="fp32"
    )
    model = tuning.load_model(base, settings, NO_PROMPTS, "cpu")
    with pytest.raises(RecipeConfigError, match="train in one process"):
        losses.load(model, settings, None)


def test_directions_are_learnt_for_what_can_be_trained_only(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taught_by: dict[str, Any] = {
        "loss": "batch_kl",
        "teacher": Teacher(model="mini"),
        "negatives_per_query": 0,
        "grouping": "document",
    }
    turned = Train(**taught_by, precision="fp32", matryoshka_dims=(64, 16), matryoshka_directions=True)
    plain = turned.model_copy(update={"matryoshka_directions": False})
    model = tuning.load_model(base, turned, NO_PROMPTS, "cpu")
    eye = torch.eye(64).numpy()
    assert losses.load(model, turned, None, lambda: eye).directions.shape == (64, 64)
    losses.load(model, plain, None, lambda: pytest.fail("nobody asked"))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RecipeConfigError, match="train in one process"):
        losses.load(model, turned, None, lambda: pytest.fail("in vain"))


def test_a_checkpoint_quotes_no_training_text(base: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The library's own card would: examples of the data, and of what the model makes of them."""
    run(base, tmp_path, Train(batch_size=4, max_steps=2, max_passage_tokens=24), save_every_steps=1)
    cards = list((tmp_path / "checkpoints").glob("*/README.md"))
    assert cards
    assert not [
        card
        for card in cards
        if "gets better with rest" in card.read_text() or "what helps against" in card.read_text()
    ]
    assert "widget" not in capfd.readouterr().err


def test_packing_changes_neither_vectors_nor_gradients(base: Path) -> None:
    texts = [row.positive for row in rows(12)]
    found: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    for tokens in (0, 48):
        model = tuning.load_model(base, Train(precision="fp32", micro_batch_tokens=tokens), NO_PROMPTS, "cpu").train()
        vectors = model(model.preprocess(texts))["sentence_embedding"]
        vectors.square().mul(torch.arange(1, 13)[:, None]).sum().backward()
        found[tokens] = vectors.detach(), model[0].auto_model.encoder.layer[0].attention.self.query.weight.grad
    torch.testing.assert_close(found[0][0], found[48][0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found[0][1], found[48][1], atol=1e-4, rtol=1e-3)


def test_queries_and_passages_get_their_own_prompt_and_length(base: Path) -> None:
    settings = Train(max_query_tokens=8, max_passage_tokens=12, negatives_per_query=1)
    prompts = {"query": "search: ", "document": "passage: "}
    model = tuning.load_model(base, settings, prompts, "cpu")
    long = "fever " * 50
    batch = tuning.collator(model, settings, prompts)([{"query": long, "positive": long, "negative_1": "gout"}])
    decode = model.tokenizer.decode
    assert batch["query_input_ids"].shape == (1, 8)
    assert batch["positive_input_ids"].shape == (1, 12)
    assert decode(batch["query_input_ids"][0]).startswith("[CLS] search : fever")
    assert decode(batch["negative_1_input_ids"][0]).startswith("[CLS] passage : gout")
    assert model.prompts == prompts


@pytest.mark.parametrize(
    ("flags", "expected"),
    [(["avx2"], False), (["avx512_bf16"], False), (["avx512_bf16", "amx_bf16"], True), (["asimd", "bf16"], True)],
)
def test_bf16_is_used_where_it_is_faster(monkeypatch: pytest.MonkeyPatch, flags: list[str], expected: bool) -> None:
    monkeypatch.setattr(hardware, "cpu_flags", lambda: frozenset(flags))
    monkeypatch.setattr(hardware, "cpu_name", lambda: "Intel(R) Xeon(R) Processor")
    assert tuning.in_bf16(Train(), on_cpu=True) is expected
    assert tuning.in_bf16(Train(precision="fp32"), on_cpu=True) is False


@pytest.mark.parametrize(("flags", "expected"), [(["avx2"], "sdpa"), (["amx_bf16"], "eager")])
def test_attention_in_bf16_is_the_one_that_runs_backwards_fast(
    base: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str], expected: str
) -> None:
    monkeypatch.setattr(hardware, "cpu_flags", lambda: frozenset(flags))
    model = tuning.load_model(base, Train(), NO_PROMPTS, "cpu")
    assert model[0].auto_model.config._attn_implementation == expected


def test_bf16_is_refused_where_it_would_be_emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "cpu_flags", lambda: frozenset(["avx2"]))
    with pytest.raises(PrecisionError, match=r"only emulates bf16.*train\.precision=auto"):
        tuning.in_bf16(Train(precision="bf16"), on_cpu=True)


def test_small_sources_share_a_table_and_large_ones_have_their_own() -> None:
    many = rows(16)
    data = tuning.training_data(many, Train(batch_size=4, negatives_per_query=0))
    assert {name: len(table) for name, table in data.items()} == {"a": 10, "rest": 6}


def test_missing_negatives_are_filled_from_other_documents() -> None:
    many = rows(8)
    negatives = filled(many, 3)
    assert all(len(set(found)) == 3 for found in negatives)
    assert all(row.positive not in found for row, found in zip(many, negatives, strict=True))


def test_the_best_model_is_kept_and_a_worse_one_is_not(tmp_path: Path) -> None:
    saved: list[str] = []

    def save(model: Any, folder: Path) -> None:
        (folder / "w").write_text(str(model))
        saved.append(str(model))

    keep, state = (
        callbacks.KeepBest(tmp_path, save),
        type("State", (), {"is_world_process_zero": True, "global_step": 1}),
    )
    report: Callable[..., None] = keep.on_evaluate
    for name, score in (("a", 0.5), ("b", 0.4), ("c", 0.5), ("d", 0.6)):
        report(None, state, None, {callbacks.BEST_SCORE: score}, model=name)
    assert saved == ["a", "d"]
    assert (tmp_path / "model" / "w").read_text() == "d"


@pytest.mark.parametrize(
    ("damage", "goes_on_at"),
    [
        (None, "checkpoint-10"),
        (lambda folder: (folder / "checkpoint-10/optimizer.pt").write_bytes(b"x"), "checkpoint-9"),
        (lambda folder: (folder / "checkpoint-10/whole").unlink(), "checkpoint-9"),
        (lambda folder: (folder / "checkpoint-10/optimizer.pt").unlink(), "checkpoint-9"),
        (lambda folder: [(folder / f"checkpoint-{n}/optimizer.pt").unlink() for n in (9, 10)], None),
    ],
    ids=["none", "a changed file", "half written", "a lost file", "both"],
)
def test_a_damaged_checkpoint_gives_way_to_the_one_before_it(
    tmp_path: Path, damage: Any, goes_on_at: str | None
) -> None:
    for number in (9, 10):
        folder = tmp_path / f"checkpoint-{number}"
        folder.mkdir()
        (folder / "optimizer.pt").write_bytes(b"state" * number)
        state = SimpleNamespace(is_world_process_zero=True, global_step=number)
        callbacks.WholeCheckpoints().on_save(SimpleNamespace(output_dir=str(tmp_path)), state, None)
    if damage is not None:
        damage(tmp_path)
    said: list[str] = []
    found = callbacks.last_checkpoint(tmp_path, said.append)
    assert (found.name if found else None) == goes_on_at
    assert (tmp_path / "checkpoint-10").exists() is (goes_on_at == "checkpoint-10")

"""A teacher's scores of whole batches, and a model that learns them: the real late interaction over the bundled model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from medembed import MedColBERT, MedEmbed
from medembed.checkpoints import checkpoint
from medembed.recipes import execution, train_settings
from medembed.recipes.artifacts import ArtifactWriter
from medembed.recipes.records import Triplet
from medembed.recipes.reporting import Reporter
from medembed.recipes.training import tuning
from medembed.recipes.training.distillation import InBatchDistillation, Start, mean_maxsim, scores_of
from medembed.recipes.training.teaching import Teacher
from medembed.runtime.tokenizer import TruncationWarning
from medembed.search.bm25 import Bm25

TEXTS = {
    "what helps against gout": "Allopurinol lowers uric acid and prevents attacks of gout.",
    "asthma inhaler": "Salbutamol opens the airways within minutes in asthma.",
    "signs of stroke": "A drooping face, a weak arm and slurred speech point to a stroke.",
    "blood pressure": "Hypertension is treated with diet, exercise and drugs.",
}
ROWS = [Triplet(query, passage, [], [], "a", query) for query, passage in TEXTS.items()]
BATCH = 2


def taught(folder: Path, **settings: Any) -> np.ndarray[Any, Any]:
    folder.mkdir(exist_ok=True)
    with Reporter(progress=False) as reporter, reporter.task("train") as task:
        wanted = train_settings.Teacher(model="mini", **settings)
        with Teacher(wanted, BATCH, execution.Execution(threads=1), ArtifactWriter(folder), task) as teacher:
            return np.array(teacher.scores(ROWS))


@pytest.mark.thorough
def test_a_teacher_scores_each_batch_by_what_it_is_told_to_look_at(tmp_path: Path) -> None:
    queries, passages = list(TEXTS), list(TEXTS.values())
    with MedColBERT(threads=1) as late, MedEmbed(threads=1) as dense:
        tokens = late.encode_query(queries)
        maxsim = late.similarity(tokens, late.encode_document(passages)) / [[len(query)] for query in tokens]
        cosine = dense.encode_query(queries) @ dense.encode_document(passages).T
    lexical = np.stack([Bm25(passages).scores(query) for query in queries])
    found = taught(tmp_path / "a", cosine=0.5, bm25=0.2, temperature=0.1)
    assert found.shape == (4, BATCH)
    for start in (0, 2):
        batch = slice(start, start + BATCH)
        best = lexical[batch, batch].max(axis=1, keepdims=True)
        best[best == 0] = 1  # no word in common: nothing to share out
        expected = maxsim[batch, batch] + 0.5 * cosine[batch, batch] + 0.2 * lexical[batch, batch] / best
        np.testing.assert_allclose(found[batch], expected / 0.1, rtol=1e-3)
    np.testing.assert_allclose(taught(tmp_path / "b", temperature=1.0)[:2], maxsim[:2, :2], rtol=1e-3)


def test_a_dense_model_alone_teaches_where_maxsim_counts_nothing(tmp_path: Path) -> None:
    with MedEmbed(threads=1) as dense:
        cosine = dense.encode_query(list(TEXTS)) @ dense.encode_document(list(TEXTS.values())).T
    found = taught(tmp_path / "a", maxsim=0.0, cosine=1.0, temperature=1.0)
    np.testing.assert_allclose(found[:2], cosine[:2, :2], rtol=1e-3)
    with pytest.raises(ValidationError, match="say maxsim or cosine above 0"):
        train_settings.Teacher(model="mini", maxsim=0.0, bm25=1.0)


@pytest.mark.thorough
def test_a_teacher_reads_as_far_as_it_is_told(tmp_path: Path) -> None:
    queries, passages, length = list(TEXTS), list(TEXTS.values()), 8
    with MedColBERT(document_length=length, threads=1) as late, MedEmbed(max_seq_length=length, threads=1) as dense:
        tokens = late.encode_query(queries)
        with pytest.warns(TruncationWarning):
            maxsim = late.similarity(tokens, late.encode_document(passages)) / [[len(query)] for query in tokens]
        with pytest.warns(TruncationWarning):
            cosine = dense.encode_query(queries) @ dense.encode_document(passages).T
    found = taught(tmp_path / "a", cosine=0.5, temperature=1.0, max_seq_length=length)
    np.testing.assert_allclose(found[:2], (maxsim + 0.5 * cosine)[:2, :2], rtol=1e-3)
    assert np.abs(found - taught(tmp_path / "b", cosine=0.5, temperature=1.0)).max() > 0.01


def test_scores_that_are_there_are_not_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = taught(tmp_path / "kept")

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("asked again")

    monkeypatch.setattr(MedColBERT, "encode_document", refuse)
    np.testing.assert_array_equal(taught(tmp_path / "kept"), before)


def test_mean_maxsim_is_the_mean_over_a_querys_tokens_and_reads_no_padding() -> None:
    draw = torch.Generator().manual_seed(1)
    queries, passages = torch.randn(3, 4, 8, generator=draw), torch.randn(20, 6, 8, generator=draw)
    asked, told = torch.tensor([4, 2, 1]), torch.randint(1, 7, (20,), generator=draw)

    def side(states: torch.Tensor, lengths: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"token_embeddings": states, "attention_mask": (torch.arange(states.shape[1]) < lengths[:, None]).long()}

    found = mean_maxsim(side(queries, asked), side(passages, told))
    unit = torch.nn.functional.normalize
    for row in range(3):
        for column in range(20):
            cosines = unit(queries[row, : asked[row]], dim=-1) @ unit(passages[column, : told[column]], dim=-1).T
            assert found[row, column].item() == pytest.approx(cosines.max(dim=1).values.mean().item(), rel=1e-5)


@pytest.mark.parametrize("maxsim", [0.0, 0.5])
def test_the_start_teaches_by_its_own_states_and_stays_as_it_was(tmp_path: Path, maxsim: float) -> None:
    checkpoint.export(checkpoint.fetch("mini"), tmp_path / "model")
    model = tuning.load_model(tmp_path / "model", train_settings.Train(), {"query": "", "document": ""}, "cpu").train()
    start = Start(model, with_tokens=maxsim > 0)
    settings = train_settings.Teacher(maxsim=maxsim, cosine=1.0, temperature=0.1)
    columns = [dict(model.preprocess(list(side))) for side in (TEXTS, TEXTS.values())]
    found = scores_of(start.read(columns), settings)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.5)
    torch.testing.assert_close(scores_of(start.read(columns), settings), found)
    with MedEmbed(precision="fp32", threads=1) as dense:
        cosine = dense.encode_query(list(TEXTS)) @ dense.encode_document(list(TEXTS.values())).T
    late = found.numpy() * 0.1 - cosine
    if maxsim:
        assert (late.argmax(axis=1) == range(4)).all()
        assert late.max() <= 0.5 + 1e-3
    else:
        np.testing.assert_allclose(late, 0, atol=1e-3)


def test_the_starts_scores_are_added_to_those_of_the_labels() -> None:
    draw = torch.Generator().manual_seed(1)
    queries, passages = (torch.randn(5, 8, generator=draw) for _ in range(2))
    features = [{"input_ids": queries}, {"input_ids": passages}]
    unit = torch.nn.functional.normalize
    cosines = unit(queries, dim=1) @ unit(passages, dim=1).T
    own = train_settings.Teacher(maxsim=0.0, cosine=1.0, temperature=0.5)
    loss = InBatchDistillation(Vectors(), 0.5, own=own)
    assert loss(features, torch.zeros(5, 5)).item() == pytest.approx(0, abs=1e-6)
    lexical = torch.eye(5)
    assert loss(features, lexical).item() == pytest.approx(
        InBatchDistillation(Vectors(), 0.5)(features, cosines / 0.5 + lexical).item(), rel=1e-5
    )


class Vectors(torch.nn.Module):
    """Stands for a model: a batch's features are its vectors."""

    def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"sentence_embedding": features["input_ids"]}


def test_the_loss_is_nought_where_the_model_agrees_and_falls_as_it_comes_to() -> None:
    queries = torch.nn.functional.normalize(torch.randn(5, 8, generator=torch.Generator().manual_seed(1)), dim=1)
    passages = torch.nn.functional.normalize(torch.randn(5, 8, generator=torch.Generator().manual_seed(2)), dim=1)
    loss = InBatchDistillation(Vectors(), temperature=0.5)
    agreed = loss([{"input_ids": queries}, {"input_ids": passages}], queries @ passages.T / 0.5)
    assert agreed.item() == pytest.approx(0, abs=1e-6)
    wanted = torch.eye(5) * 4
    student = torch.nn.Parameter(passages.clone())
    optimiser = torch.optim.SGD([student], lr=0.5)
    values = []
    for _ in range(20):
        value = loss([{"input_ids": queries}, {"input_ids": student}], wanted)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        values.append(value.item())
    assert values[-1] < values[0] / 2


def test_shorter_vectors_learn_the_same_in_the_directions_given() -> None:
    draw = torch.Generator().manual_seed(1)
    queries, passages, wanted = (torch.randn(5, size, generator=draw) for size in (8, 8, 5))
    turn = torch.linalg.qr(torch.randn(8, 8, generator=draw))[0]
    features = [{"input_ids": queries}, {"input_ids": passages}]

    def alone(matrix: torch.Tensor) -> float:
        vectors = [{"input_ids": queries @ matrix}, {"input_ids": passages @ matrix}]
        return InBatchDistillation(Vectors(), 0.5)(vectors, wanted).item()

    found = InBatchDistillation(Vectors(), 0.5, [4, 2], turn)(features, wanted).item()
    assert found == pytest.approx(sum(alone(turn[:, :size]) for size in (8, 4, 2)), rel=1e-5)
    assert found != pytest.approx(sum(alone(torch.eye(8)[:, :size]) for size in (8, 4, 2)), rel=1e-2)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"loss": "batch_kl"}, "needs a teacher"),
        ({"loss": "mnr", "teacher": {"model": "mini"}}, "needs a teacher"),
        ({"loss": "batch_kl", "teacher": {"model": "mini"}, "negatives_per_query": 0}, "needs grouping"),
        ({"loss": "batch_kl", "teacher": {"max_seq_length": 64}}, "say train.max_passage_tokens"),
        ({"matryoshka_directions": True, "matryoshka_dims": (384, 64)}, "needs loss 'batch_kl'"),
        (
            {
                "loss": "batch_kl",
                "teacher": {"model": "mini"},
                "grouping": "document",
                "negatives_per_query": 0,
                "matryoshka_directions": True,
                "matryoshka_dims": (64, 384),
            },
            "from the whole vector's down",
        ),
        (
            {
                "loss": "batch_kl",
                "teacher": {"model": "mini"},
                "grouping": "document",
                "negatives_per_query": 0,
                "architecture": "colbert",
            },
            "architecture 'colbert' takes",
        ),
    ],
)
def test_settings_that_cannot_be_taught_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        train_settings.Train(**settings)

"""Contrasts beside the rows of a batch: drawn the same again, learnt, and the start's vectors kept."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from medembed.checkpoints import checkpoint
from medembed.recipes.records import Triplet
from medembed.recipes.schema import Recipe
from medembed.recipes.sources import Places
from medembed.recipes.stages import train
from medembed.recipes.train_settings import Contrasts, Train
from medembed.recipes.training import contrasting, losses, tuning
from medembed.recipes.writers.contrasts import is_held_out

PROMPTS = {"query": "", "document": ""}
NOTES = [(f"n{number}", "He denies chest pain.") for number in range(8)]
SUPPLY = contrasting.supply(NOTES, {}, seed=0)


@pytest.fixture
def model(tmp_path: Path) -> Any:
    checkpoint.export(checkpoint.fetch("mini"), tmp_path / "model")
    torch.set_num_threads(1)
    return tuning.load_model(tmp_path / "model", Train(), PROMPTS, "cpu").train()


def features(model: Any, *texts: str) -> list[dict[str, Any]]:
    return [dict(model.preprocess([text, text + " today"])) for text in texts]


def beside(model: Any, **settings: Any) -> contrasting.BesideRows:
    rows = losses.load(model, Train(), None)
    return contrasting.BesideRows(model, rows, SUPPLY, Contrasts(batch_size=8, **settings), PROMPTS)


def test_a_batch_is_drawn_the_same_again_and_others_otherwise() -> None:
    assert SUPPLY.draw(40, 5) == SUPPLY.draw(40, 5) != SUPPLY.draw(40, 6)


def test_a_batch_has_the_questions_it_should_and_every_kind_its_share() -> None:
    drawn = SUPPLY.draw(2000, 1)
    assert 2000 <= sum(len(item.questions) for item in drawn) < 2004
    kinds = [item.kind for item in drawn for _ in item.questions]
    assert len(set(kinds)) == 8
    assert min(kinds.count(kind) for kind in kinds) > 2000 * 0.04  # severity, with one frame of eighteen, too
    assert 0.35 < kinds.count("negation") / 2000 < 0.55  # its frames, and the sentences, which are all negated here


def test_notes_that_contrasts_are_measured_with_are_not_read() -> None:
    origins = {item.origin for item in SUPPLY.sentences}
    assert origins
    assert not any(is_held_out(origin) for origin in origins)


@pytest.mark.thorough
def test_frames_alone_are_enough() -> None:
    drawn = contrasting.supply([], {}, seed=0).draw(10, 0)
    assert 10 <= sum(len(item.questions) for item in drawn) < 14
    assert all(item.origin.startswith("frame ") for item in drawn)


def test_a_late_interaction_model_reads_contrasts_as_rows_with_a_hard_negative() -> None:
    rows = contrasting.as_rows(SUPPLY, 6, seed=0)
    assert len(rows) == 6
    claims = {
        (question, text): made == claim
        for item in SUPPLY.draw(6, 0)
        for claim, question in item.questions
        for made, text in item.passages
    }
    assert all(claims[row.query, row.positive] and not claims[row.query, row.negatives[0]] for row in rows)
    settings = Train(architecture="colbert", negatives_per_query=0, contrasts=Contrasts(batch_size=4))
    data = tuning.training_data([Triplet(f"q{n}", f"p{n}", [], [], "a", f"d{n}") for n in range(128)], settings)
    both = tuning.with_contrasts(data, rows, settings)
    assert both["a"].column_names == ["query", "positive"]
    assert both["contrasts"].column_names == ["query", "positive", "negative_1"]


@pytest.mark.thorough
def test_names_of_rows_become_findings() -> None:
    drawn = contrasting.supply([], {"findings": ["corkscrew hair"]}, seed=0).draw(8000, 0)
    assert any("corkscrew hair" in question for item in drawn for _, question in item.questions)
    assert not any("corkscrew hair" in question for item in SUPPLY.draw(8000, 0) for _, question in item.questions)


def test_every_passage_of_the_claim_ranks_above_all_others_and_none_against_another() -> None:
    fits = torch.tensor([[True, True, False, False], [False, False, True, False]])
    right, wrong = torch.zeros(2, 4), torch.zeros(2, 4)
    right[0, [0, 1]], wrong[0, [0, 2]] = 5.0, 5.0
    right[1, 2] = wrong[1, 2] = 5.0
    assert contrasting.contrastive(right, fits) < contrasting.contrastive(wrong, fits) - 1
    # with two equal scores as negatives of each other the loss would be ln 2 at least
    assert contrasting.contrastive(right, fits).item() < 0.1
    # one passage of the claim: the cross-entropy that it is named after
    alone = torch.nn.functional.cross_entropy(right[1:], torch.tensor([2]))
    assert contrasting.contrastive(right[1:], fits[1:]).item() == pytest.approx(alone.item(), abs=1e-6)


@pytest.mark.thorough
def test_training_learns_the_contrasts(model: Any) -> None:
    loss = beside(model)
    rows = features(model, "fever", "The fever has gone.")
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
    before = loss._of_contrasts(seed=0).item()
    for _ in range(5):
        optimizer.zero_grad()
        (loss._of_contrasts(seed=0) + loss(rows, torch.zeros(2))).backward()
        optimizer.step()
    assert loss._of_contrasts(seed=0).item() < 0.8 * before


def test_moving_away_from_the_start_costs(model: Any) -> None:
    loss, without = beside(model, kept=10.0), beside(model)
    rows = features(model, "fever", "The fever has gone.")
    with torch.no_grad():
        assert loss(rows, torch.zeros(2)).item() == pytest.approx(without(rows, torch.zeros(2)).item(), abs=1e-3)
        words = next(model.parameters())
        words.copy_(words.flip(0))  # every token means another
        assert loss(rows, torch.zeros(2)).item() > without(rows, torch.zeros(2)).item() + 0.1


def test_the_copy_of_the_start_is_no_part_of_the_model(model: Any) -> None:
    names = {name for name, _ in beside(model, kept=1.0).named_parameters()}
    assert names == {name for name, _ in beside(model).named_parameters()}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"architecture": "colbert", "contrasts": {"batch_size": 4, "kept": 1.0}}, "is for architecture 'dense'"),
        ({"architecture": "colbert", "loss": "kl", "contrasts": {"batch_size": 4}}, "by loss 'mnr' or 'cached_mnr'"),
        ({"contrasts": {"sources": {"n": {"format": "jsonl", "path": "n"}}}}, "say batch_size above 0"),
        ({"contrasts": {"names": {"findings": "onto:SYMP"}}}, "say batch_size above 0"),
    ],
)
def test_settings_that_do_nothing_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Train.model_validate(settings)


def test_other_rules_train_another_model(
    loaded: Callable[..., tuple[Recipe, Places]], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, places = loaded("train.contrasts.batch_size=4")
    before = train.config(recipe, places, 1)
    assert train.config(recipe, places, 1) == before
    monkeypatch.setattr(train, "rules_mark", lambda: "others")
    assert train.config(recipe, places, 1) != before

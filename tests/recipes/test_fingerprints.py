"""A fingerprint changes with everything the result depends on, and with nothing else."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medembed.checkpoints import checkpoint
from medembed.errors import RecipeConfigError
from medembed.recipes import pipeline
from medembed.recipes.fingerprint import canonical_json, fingerprint, told
from medembed.recipes.load import open_recipe
from medembed.recipes.schema import Recipe
from medembed.recipes.sources import Places
from medembed.recipes.stages import negatives
from tests import tiny_bert

Loaded = Callable[..., tuple[Recipe, Places]]
GOLDEN = Path(__file__).parent / "fingerprints.json"


def marks(loaded: Loaded, *settings: str) -> dict[str, str]:
    return {step.key: step.fingerprint for step in pipeline.plan(*loaded(*settings))}


@pytest.mark.parametrize(
    "setting",
    [
        "execution.threads=2",
        "execution.concurrency=3",
        "execution.endpoint=http://x/v1",
        "execution.timeout_s=1",
        "score.must_rise=true",
        "hardware=other",
    ],
)
def test_what_changes_no_result_never_enters_a_fingerprint(loaded: Loaded, setting: str) -> None:
    assert marks(loaded, setting) == marks(loaded)


def test_runs_of_the_last_round_read_the_same_rows_and_differ_in_their_seed(loaded: Loaded) -> None:
    recipe, places = loaded("negatives.rounds=2", "merge.runs=3")
    steps = {step.key: step for step in pipeline.plan(recipe, places)}
    assert steps["merge"].inputs == {
        "train": "train-2", "average-train-2.2": "train-2.2", "average-train-2.3": "train-2.3",
    }  # fmt: skip
    runs = [steps[key] for key in ("train-2", "train-2.2", "train-2.3")]
    assert len({step.fingerprint for step in runs}) == 3
    assert {tuple(step.inputs.items()) for step in runs} == {tuple(runs[0].inputs.items())}
    assert [step.recipe.seed for step in runs] == [recipe.seed, recipe.seed + 1, recipe.seed + 2]
    assert [step.key for step in pipeline.until(pipeline.plan(recipe, places), "train")][-1] == "train-2.3"


def test_a_later_round_that_several_processes_would_cut_apart_is_refused_before_the_first(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt = 'later.train={loss="batch_kl",teacher={bm25=0.1},grouping="neighbors",negatives_per_query=0}'
    recipe, places = loaded("negatives.rounds=2", learnt)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RecipeConfigError, match="train in one process"):
        pipeline.build(recipe, places)
    assert not recipe.execution.work.exists()


@pytest.mark.parametrize(
    ("setting", "first_changed"),
    [
        ("notes.min_words=9", "notes"),
        ("scale=0.5", "notes"),
        ("pairs.extractive.per_note=2", "pairs"),
        ("filters.near_duplicates=0.8", "filters"),
        ("negatives.per_query=3", "negatives"),
        ("triplets.held_out=0.2", "triplets"),
        ("train.learning_rate=1e-3", "train"),
        ("merge.ratios=[0.25]", "merge"),
        ("publish.name=other", "publish"),
        ('words.abbreviations=["Art"]', "notes"),
        ('words.common=["shall"]', "pairs"),
        ('words.vague=["party"]', "pairs"),
        ('words.questions={"What is {}?"=["scope"]}', "pairs"),
        ('words.pointers=["the"]', "filters"),
        ('words.pointed_at=["party"]', "filters"),
        ('words.openers=["it"]', "filters"),
        ('card.tags=["legal"]', "publish"),
        ("card.limits=None known.", "publish"),
        ("name=other", "publish"),
        ("description=other", "publish"),
    ],
)
def test_a_setting_changes_its_stage_and_all_after_it(loaded: Loaded, setting: str, first_changed: str) -> None:
    before, after = marks(loaded), marks(loaded, setting)
    changed = [name for name in before if before[name] != after[name]]
    assert changed == list(before)[list(before).index(first_changed) :]


@pytest.mark.parametrize(
    ("setting", "changes"),
    [
        ("pairs.llm.temperature=0.1", True),
        ('pairs.llm.query_types={keyword="two to six words", term="of the field"}', True),
        ("pairs.llm.query_types.lay=in plain words", True),
        ("pairs.llm.prompt=own", True),
        ("words.common=[]", False),  # no rule reads it where a language model writes
    ],
)
def test_a_prompt_counts_with_what_it_explains(
    loaded: Loaded, recipe_folder: Path, setting: str, changes: bool
) -> None:
    (recipe_folder / "own.txt").write_text("Ask.\n---\n$note")
    asking = "pairs.writer=openai_endpoint"
    assert (marks(loaded, asking, setting)["pairs"] != marks(loaded, asking)["pairs"]) is changes


def test_words_that_were_code_once_enter_no_fingerprint_and_others_do() -> None:
    """What was built before recipes brought their words is still known by its fingerprint."""
    medical, legal = (open_recipe(name)[0] for name in ("tiny", "legal-tiny"))
    assert told(medical.card.model_dump()) == told(medical.words.model_dump(include={"abbreviations"})) == {}
    assert told(legal.card.model_dump()) == {"words": legal.card.model_dump()}


def test_the_content_of_a_source_counts_and_its_place_does_not(
    loaded: Loaded, recipe_folder: Path, tmp_path: Path
) -> None:
    before = marks(loaded)
    (tmp_path / "elsewhere").mkdir()
    (recipe_folder / "articles.jsonl.gz").rename(tmp_path / "elsewhere" / "articles.jsonl.gz")
    assert marks(loaded, f"execution.data={tmp_path / 'elsewhere'}") == before
    with (tmp_path / "elsewhere" / "articles.jsonl.gz").open("ab") as file:
        file.write(b"\0")
    assert marks(loaded, f"execution.data={tmp_path / 'elsewhere'}")["notes"] != before["notes"]


def test_a_second_round_mines_with_the_first_rounds_model(loaded: Loaded) -> None:
    steps = {step.key: step for step in pipeline.plan(*loaded("negatives.rounds=2"))}
    assert steps["negatives-2"].inputs == {"filters": "filters", "model": "train"}
    assert steps["merge"].inputs == {"train": "train-2"}
    assert steps["train"].fingerprint != steps["train-2"].fingerprint


def test_an_anchor_is_known_by_its_weights(loaded: Loaded, tmp_path: Path) -> None:
    one, same = (tiny_bert.make(tmp_path / name) for name in "ab")
    other = tiny_bert.make(tmp_path / "c", config={"intermediate_size": 64})
    merged = [marks(loaded, f"merge.anchor={folder}")["merge"] for folder in (one, same, other)]
    assert merged[0] == merged[1] != merged[2]


def test_a_plan_reads_the_files_of_a_model_once(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch, read = checkpoint.fetch, []

    def counted(model: str, **how: Any) -> checkpoint.Checkpoint:
        read.append(model)
        return fetch(model, **how)

    monkeypatch.setattr(checkpoint, "fetch", counted)
    marks(loaded)
    assert len(read) == 1


def test_the_average_is_of_every_round(loaded: Loaded) -> None:
    steps = {step.key: step for step in pipeline.plan(*loaded("negatives.rounds=2", "merge.average_rounds=true"))}
    assert steps["merge"].inputs == {"train": "train-2", "average-train": "train"}
    assert marks(loaded, "merge.average_rounds=true") == marks(loaded)  # one round alone is its own average


@pytest.mark.parametrize(
    ("setting", "first_changed"),
    [
        ('later.triplets.caps={"*"=3}', "negatives-2"),
        ("later.triplets.draw=1", "negatives-2"),
        ("later.negatives.per_query=3", "negatives-2"),
        ("later.train.learning_rate=1e-6", "train-2"),
    ],
)
def test_settings_of_later_rounds_leave_the_first_round_as_it_was(
    loaded: Loaded, setting: str, first_changed: str
) -> None:
    plain, other = marks(loaded, "negatives.rounds=2"), marks(loaded, "negatives.rounds=2", setting)
    after_it = list(plain)[list(plain).index(first_changed) :]
    assert [name for name in plain if plain[name] != other[name]] == after_it
    assert marks(loaded, setting) == marks(loaded)  # one round alone has none after it


def test_each_round_reads_its_own_settings_and_what_follows_them_reads_the_recipe_whole(loaded: Loaded) -> None:
    recipe, places = loaded("negatives.rounds=2", "later.triplets.draw=3")
    read = {step.key: step.recipe for step in pipeline.plan(recipe, places)}
    assert read["triplets"].triplets.draw == recipe.triplets.draw != 3
    assert read["triplets-2"].triplets.draw == 3
    assert read["publish"] == recipe


def test_a_later_round_without_dense_mining_needs_no_model_to_mine_with(loaded: Loaded) -> None:
    steps = {step.key: step for step in pipeline.plan(*loaded("negatives.rounds=2", "negatives.method=bm25"))}
    assert steps["negatives-2"].inputs == {"filters": "filters"}


@given(
    st.dictionaries(
        st.text(), st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text() | st.booleans()
    )
)
def test_the_order_of_keys_does_not_matter(config: dict[str, object]) -> None:
    backwards = dict(reversed(config.items()))
    assert fingerprint("s", 1, config, {}) == fingerprint("s", 1, backwards, {})


def test_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        canonical_json({"x": float("nan")})


def test_fingerprints_of_tiny_up_to_the_triplets_are_the_recorded_ones() -> None:
    """An accidental change of meaning fails here; an intended one raises the stage's version and renews the file."""
    found = {step.key: step.fingerprint for step in pipeline.plan(*open_recipe("tiny"))}
    recorded = json.loads(GOLDEN.read_text())
    assert {name: found[name] for name in recorded["tiny"]} == recorded["tiny"]


MEASURED = ["tiny", "legal-tiny", "mini", "mini/1", "mini/2", "mini/3", "mini/4", "mini/colbert"]


@pytest.mark.parametrize("name", MEASURED)
def test_expected_figures_are_those_of_the_recipe_that_is_here(name: str) -> None:
    """After a change, run the recipe and renew ``expected.json``: figures of another recipe are compared with nothing."""
    recipe, places = open_recipe(name)
    assert places.expected["settings"] == pipeline.settings_fingerprint(recipe, places)


def test_a_new_version_of_a_stage_does_not_silence_the_comparison(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = pipeline.settings_fingerprint(*loaded())
    monkeypatch.setattr(negatives, "STAGE", replace(negatives.STAGE, version=99))
    assert pipeline.settings_fingerprint(*loaded()) == before != pipeline.settings_fingerprint(*loaded("seed=14"))


def test_a_folder_with_the_recorded_hash_is_the_named_model(loaded: Loaded, tmp_path: Path) -> None:
    """Whether a model is made again, or given as the folder it was made into before: the figures hold."""
    folder = tiny_bert.make(tmp_path / "made-before")
    recipe, places = loaded("base.model=recipe:tiny")
    measured = replace(places, expected={"models": {"recipe:tiny": checkpoint.fetch(str(folder)).revision}})
    given = recipe.model_copy(update={"base": recipe.base.model_copy(update={"model": str(folder)})})
    assert pipeline.settings_fingerprint(given, measured) == pipeline.settings_fingerprint(recipe, measured)
    assert pipeline.settings_fingerprint(given, places) != pipeline.settings_fingerprint(recipe, places)

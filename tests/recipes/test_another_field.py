"""A recipe of another field is data alone: its run shows nothing medical, and neither does the code."""

import json
import pickle
import re
from pathlib import Path

import pytest

from medembed.errors import RecipeConfigError, UnsafePathError
from medembed.recipes import catalog, pipeline
from medembed.recipes.artifacts import Artifact
from medembed.recipes.llm import Llm
from medembed.recipes.load import load_recipe, open_recipe
from medembed.recipes.records import Note, Pair, Triplet, read_parquet
from medembed.recipes.writers.prompts import explained, messages, request_body

CODE = Path(pipeline.__file__).parent
MEDICAL = re.compile(
    r"\w*(?:patient|clinic|medic|disease|doctor|physician|health|drug|diagnos|symptom|therap|hospital|nurs|surg|illness|dose|gout)\w*",
    re.IGNORECASE,
)
LAWFUL = {
    "fingerprint.py": {"medical"},  # names medical.toml, the words that were code once
    "writers/contrasts.py": {
        "clinical",
        "drug",
        "dose",
        "doses",
        "dose_unit",
        "dose_times_ten",
    },  # keys of its own data, contrasts/*.toml
}
NOTE = Note("0" * 16, "d", "s", "", "", "Under Art. 4 the tenant pays. The owner repairs.")


@pytest.mark.parametrize("path", sorted(CODE.rglob("*.py")), ids=lambda path: path.relative_to(CODE).as_posix())
def test_no_code_of_recipes_knows_a_medical_word(path: Path) -> None:
    text = path.read_text(encoding="utf-8").replace("medembed.clinical", "")  # the name of a room
    found = {word.lower() for word in MEDICAL.findall(text)}
    lawful = LAWFUL.get(path.relative_to(CODE).as_posix(), set())
    assert found == lawful


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """The recipe whole, trained for two batches."""
    work = tmp_path_factory.mktemp("legal") / "work"
    short = ["train.max_steps=2", "train.batch_size=8", "negatives.method=bm25", "merge.ratios=[1.0]"]
    settings = [*short, "score.must_rise=false", f"execution.work={work}", "execution.progress=false"]
    return {item.step.key: item.artifact for item in pipeline.build(*open_recipe("legal-tiny", settings))}


@pytest.mark.thorough
def test_its_cards_say_nothing_medical(built: dict[str, Artifact]) -> None:
    model = (built["publish"].folder / "model/README.md").read_text()
    dataset = (built["triplets"].folder / "dataset/README.md").read_text()
    for card in (model, dataset):
        assert MEDICAL.findall(card) == []
        assert "language: en\ntags:\n- legal\n" in card or "language: en\nbase_model" in card
    assert "tags:\n- legal\n" in model
    assert 'encode_query(["When do I get my deposit back?"])' in model
    assert model.endswith("what the law is.\n")


@pytest.mark.thorough
def test_every_source_and_question_of_it_becomes_rows(built: dict[str, Artifact]) -> None:
    rows = list(read_parquet(built["triplets"].parts("train"), Triplet))
    assert {row.source for row in rows} >= {"asked", "triplets", "rules:question", "rules:keyword"}
    assert all(row.negatives for row in rows if row.source in ("asked", "triplets"))
    questions = {row.query for row in rows if row.source == "rules:question"}
    assert "How does it end: Loan?" in questions
    dropped = {pair.query for pair in read_parquet(built["pairs"].parts("pairs"), Pair)} - {row.query for row in rows}
    assert any("the contract" in query.lower() or "the court" in query.lower() for query in dropped)


def test_its_own_prompt_and_types_are_what_a_model_is_asked() -> None:
    recipe = open_recipe("legal-tiny")[0]
    recipe = pickle.loads(pickle.dumps(recipe))  # as it travels to Ray's workers, which have no such folder
    llm = recipe.pairs.llm.model_copy(update={"passage": "sentence"})
    body = json.loads(request_body(NOTE, llm, 3, recipe.words))
    system, user = (message["content"] for message in body["messages"])
    assert "library of rules" in system
    assert "deadline (about a time limit or a period of notice)" in system
    assert "keyword, everyday, term, deadline, remedy" in user
    assert MEDICAL.findall(system + user) == []
    item = body["response_format"]["json_schema"]["schema"]["properties"]["pairs"]["items"]["properties"]
    assert item["query_type"]["enum"] == ["keyword", "everyday", "term", "deadline", "remedy"]
    assert item["passage"]["enum"] == ["Under Art. 4 the tenant pays.", "The owner repairs."]


def test_settings_that_nobody_made_ask_for_nothing_medical() -> None:
    assert MEDICAL.findall(explained(Llm())) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Ask.\n$note", "no prompt: it has instructions"),
        ("Ask $note.\n---\nNow.", "no prompt: it has instructions"),
        ("Ask.\n---\n$note $notes", r"\(found \$notes\)"),
        ("Ask for 5 $ each.\n---\n$note", r"\(found \$\)"),
    ],
    ids=["one part", "no note", "unknown place", "lone dollar"],
)
def test_a_file_that_is_no_prompt_is_refused_before_anything_runs(
    text: str, said: str, recipe_folder: Path, tmp_path: Path
) -> None:
    (recipe_folder / "own.txt").write_text(text)
    settings = ["pairs.writer=openai_endpoint", "pairs.llm.prompt=own", f"execution.work={tmp_path / 'work'}"]
    with pytest.raises(RecipeConfigError, match=rf"pairs\.llm\.prompt: 'own' is .*{said}"):
        pipeline.plan(*open_recipe(str(recipe_folder), settings))


def test_a_dollar_may_be_written(recipe_folder: Path) -> None:
    (recipe_folder / "own.txt").write_text("Ask for 5 $$: $explained.\n---\n$count of $types\n$note")
    llm = load_recipe(recipe_folder / "recipe.toml", ["pairs.llm.prompt=own", "pairs.llm.query_types={a='for $'}"])
    system, user = (message["content"] for message in messages(NOTE, llm.pairs.llm))
    assert system == "Ask for 5 $: a (for $)."
    assert user == f"6 of a\n{NOTE.text}"


def test_a_prompt_that_is_a_link_or_no_text_is_refused(recipe_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("x\n---\n$note")
    (recipe_folder / "own.txt").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(UnsafePathError, match="is a link"):
        load_recipe(recipe_folder / "recipe.toml", ["pairs.llm.prompt=own"])
    (recipe_folder / "own.txt").unlink()
    (recipe_folder / "own.txt").write_bytes(b"\xff")
    with pytest.raises(RecipeConfigError, match="cannot be read as UTF-8"):
        load_recipe(recipe_folder / "recipe.toml", ["pairs.llm.prompt=own"])


@pytest.mark.parametrize(
    ("types", "said"),
    [
        ("{}", "at least 1"),
        ('{given="x"}', "means that a pair was there already"),
        ('{"a:b"="x"}', "match pattern"),
        ('["lay"]', "valid dictionary"),
    ],
)
def test_types_of_queries_have_names_of_their_own(types: str, said: str) -> None:
    with pytest.raises(RecipeConfigError, match=said):
        load_recipe(catalog.find("tiny").file, [f"pairs.llm.query_types={types}"])

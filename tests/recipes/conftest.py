"""Small recipes over text made here, and the way to run one in a process of its own."""

import gzip
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from medembed.recipes.load import load_recipe, open_recipe
from medembed.recipes.records import Note, content_id
from medembed.recipes.schema import Recipe
from medembed.recipes.sources import Places
from medembed.recipes.words import Words
from tests import tiny_bert
from tests.recipes.endpoint_server import Anything, Server

CONDITIONS = [
    "gout",
    "asthma",
    "sepsis",
    "stroke",
    "migraine",
    "anaemia",
    "eczema",
    "psoriasis",
    "glaucoma",
    "cataract",
    "hepatitis",
    "cirrhosis",
    "pancreatitis",
    "appendicitis",
    "bronchitis",
    "pneumonia",
    "tuberculosis",
    "malaria",
    "measles",
    "mumps",
    "rubella",
    "tetanus",
    "rabies",
    "cholera",
]
DRUGS = [
    "allopurinol",
    "salbutamol",
    "ceftriaxone",
    "alteplase",
    "sumatriptan",
    "iron",
    "emollients",
    "methotrexate",
    "timolol",
    "acyclovir",
]


def medical_words() -> Words:
    """The words that the shipped medical recipes begin with."""
    return open_recipe("tiny")[0].words


def article(condition: str, drug: str) -> dict[str, object]:
    """An article of two sections about a condition; no two of them share a sentence."""
    name = condition.capitalize()
    treatment = (
        f"{name} is treated with {drug} in most clinics of the region. Doctors give {drug} for {condition} twice a day after food. "
        f"Where {drug} fails in {condition}, a specialist adds a second medicine. Most people with {condition} recover within some weeks."
    )
    symptoms = (
        f"People with {condition} complain of pain and of tiredness at night. In {condition} a fever may come and go for several days. "
        f"Some cases of {condition} start without any sign that a doctor could see. Laboratory tests confirm {condition} in nearly all of them."
    )
    sections = [{"heading": "Symptoms", "text": symptoms}, {"heading": "Treatment", "text": treatment}]
    return {"doc_id": f"doc-{condition}", "title": name, "sections": sections}


def write_lines(path: Path, rows: Sequence[object]) -> Path:
    """JSON lines, gzipped where the name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return path


RECIPE = """
extends = "medical.toml"
name = "small-test"
[base]
model = "BASE"
[notes]
min_words = 8
[notes.sources.articles]
format = "articles"
path = "articles.jsonl.gz"
license = "CC0"
origin = "made by the tests"
[filters]
near_duplicates = 1.0
[negatives]
per_query = 2
rank_to = 12
[triplets]
held_out = 0.1
[train]
batch_size = 16
max_steps = 4
evaluations = 2
max_query_tokens = 24
max_passage_tokens = 48
[merge]
ratios = [0.5, 1.0]
[score]
max_seq_length = 64
[development.dev]
path = "development"
[execution]
device = "cpu"
threads = 1
progress = false
"""


@pytest.fixture
def recipe_folder(tmp_path: Path) -> Path:
    """A whole recipe with 24 articles and a development set about other matters."""
    return make_recipe(tmp_path / "recipe")


def make_recipe(folder: Path) -> Path:
    """Write the small recipe and its data; the same bytes wherever it is."""
    rows = [article(name, DRUGS[index % len(DRUGS)]) for index, name in enumerate(CONDITIONS)]
    write_lines(folder / "articles.jsonl.gz", rows)
    parts = ["knee", "elbow", "wrist", "ankle", "spine", "jaw", "shoulder", "hip"]
    write_lines(
        folder / "development/corpus.jsonl",
        [{"_id": part, "text": f"How a broken {part} heals in a cast."} for part in parts],
    )
    write_lines(
        folder / "development/queries.jsonl",
        [{"_id": f"q-{part}", "text": f"fracture of the {part}"} for part in parts],
    )
    qrels = folder / "development/qrels/test.tsv"
    qrels.parent.mkdir(parents=True)
    qrels.write_text("query-id\tcorpus-id\tscore\n" + "".join(f"q-{part}\t{part}\t1\n" for part in parts))
    (folder / "recipe.toml").write_text(RECIPE.replace("BASE", str(tiny_bert.make(folder / "base"))))
    return folder


@pytest.fixture
def loaded(recipe_folder: Path, tmp_path: Path) -> Callable[..., tuple[Recipe, Places]]:
    """Load the small recipe with settings on top; its work folder is a temporary one."""

    def load(*settings: str) -> tuple[Recipe, Places]:
        recipe = load_recipe(recipe_folder / "recipe.toml", [f"execution.work={tmp_path / 'work'}", *settings])
        return recipe, Places(recipe_folder, recipe.execution)

    return load


@pytest.fixture
def notes() -> list[Note]:
    """Four notes of several sentences."""
    texts = [
        f"{name.capitalize()} was found in January. It was treated with {drug} for ten days. "
        "The fever went down at once. A visit in March was normal."
        for name, drug in zip(CONDITIONS[:4], DRUGS, strict=False)
    ]
    return [Note(content_id(text), f"doc-{index}", "made", "", "", text) for index, text in enumerate(texts)]


def run_recipe(folder: Path, work: Path, *arguments: str, until: str = "publish") -> subprocess.Popen[str]:
    """Start a recipe in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "medembed.recipes.train",
        "--until",
        until,
        "--recipe",
        str(folder),
        f"execution.work={work}",
        *arguments,
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def start(recipe_folder: Path, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the small recipe; whatever still runs at the end is killed."""
    running: list[subprocess.Popen[str]] = []

    def start_one(*arguments: str, work: Path | None = None, until: str = "publish") -> subprocess.Popen[str]:
        running.append(run_recipe(recipe_folder, work or tmp_path / "work", *arguments, until=until))
        return running[-1]

    yield start_one
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Start servers; all are stopped at the end."""
    running: list[Server] = []

    def start(answer: Callable[[str, int], Anything], port: int = 0) -> Server:
        running.append(Server(answer, port))
        return running[-1]

    yield start
    for server in running:
        server.stop()

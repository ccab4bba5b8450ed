"""The leaderboard: what it holds, where every number comes from, and that sorting and filtering work."""

import ast
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from medembed.evaluation import leaderboard
from medembed.evaluation.leaderboard import build, published
from medembed.evaluation.submission import prepare
from tests.evaluation.conftest import WriteResult

PAGE = Path(leaderboard.__file__).parent / "page"


def mean(name: str) -> float:
    entry = next(entry for entry in published() if entry.name == name)
    return sum(cell.score for cell in entry.cells.values()) / len(entry.cells)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("BAAI/bge-base-en-v1.5", 65.74),
        ("BAAI/bge-base-en-v1.5 (no prompt)", 63.19),
        ("abhinand/MedEmbed-small-v0.1", 65.16),
        ("abhinand/MedEmbed-base-v0.1 (self-reported)", 66.02),
        ("abhinand/medical-bge-large-v0-mix2", 66.88),
    ],
)
def test_published_means_are_the_published_means(name: str, expected: float) -> None:
    assert mean(name) == pytest.approx(expected, abs=0.01)


def test_every_published_number_has_an_origin_and_somebody_who_measured_it() -> None:
    entries = published()
    assert len(entries) == 62
    for entry in entries:
        assert entry.cells
        for cell in entry.cells.values():
            assert cell.origin.startswith("https://github.com/")
            assert cell.who
            assert 0 < cell.score < 100


def test_a_number_copied_from_a_model_card_says_so() -> None:
    entry = next(entry for entry in published() if entry.name == "abhinand/MedEmbed-small-v0.1")
    assert entry.cells["ArguAna"].who == "the model's own card"
    assert entry.cells["NFCorpus"].who == "public results repository"
    assert "ArguAna" in (entry.trained_on or ())


@pytest.fixture
def site(write_result: WriteResult, tmp_path: Path) -> Path:
    meta = {"n_parameters": 30_000_000, "license": "mit", "training_datasets": ["NFCorpus"]}
    for task in ("NFCorpus", "TRECCOVID"):
        output = write_result("org/ours<script>", task, [0.25, 0.75], meta=meta)
    build([output], tmp_path / "site")
    return tmp_path / "site"


def test_our_cells_link_to_our_json_and_say_who_measured(site: Path) -> None:
    page = (site / "leaderboard.html").read_text()
    link = re.search(r'href="(leaderboard-results/[^"]*NFCorpus\.json)" title="measured by: us">50\.00</a>†', page)
    assert link
    assert json.loads((site / link[1].replace("%3C", "<").replace("%3E", ">")).read_text())["task_name"] == "NFCorpus"


def test_names_are_escaped(site: Path) -> None:
    page = (site / "leaderboard.html").read_text()
    assert "ours<script>" not in page
    assert "ours&lt;script&gt;" in page


def test_the_page_fetches_nothing(site: Path) -> None:
    page = (site / "leaderboard.html").read_text()
    for outside in ('src="http', "<link", "@import", "fetch(", "XMLHttpRequest", "import("):
        assert outside not in page


def test_the_page_of_the_docs_has_no_blank_line_in_its_table(site: Path) -> None:
    text = (site / "leaderboard.md").read_text()
    fragment = text[text.index("<div") : text.rindex("</div>")]
    assert "\n\n" not in fragment
    assert 'href="../leaderboard-results/' in fragment


def test_building_twice_gives_the_same_page(site: Path, tmp_path: Path) -> None:
    before = (site / "leaderboard.html").read_bytes()
    build([tmp_path / "out"], site)
    assert (site / "leaderboard.html").read_bytes() == before


SCRIPT = """
const {mean, passes, ordered} = require(process.argv[1]);
const rows = [
  {name: "b", parameters: 2, size: "s", license: "mit", who: ["us"], trained: ["X"], scores: {X: 10, Y: 30}},
  {name: "a", parameters: null, size: "m", license: "mit", who: ["them"], trained: null, scores: {X: 20}},
  {name: "c", parameters: 1, size: "s", license: "apache-2.0", who: ["us", "them"], trained: [], scores: {X: 5, Y: 50}},
];
const all = {text: "", size: "", license: "", who: "", trained: "", tasks: ["X", "Y"]};
const kept = (change) => rows.filter((row) => passes(row, {...all, ...change})).map((row) => row.name).join("");
const sorted = (valueOf, descending) => ordered(rows, valueOf, descending).map((row) => row.name).join("");
console.log(JSON.stringify({
  means: rows.map((row) => mean(row.scores, ["X", "Y"])),
  all: kept({}), size: kept({size: "s"}), license: kept({license: "mit"}), who: kept({who: "them"}), text: kept({text: "B"}),
  yes: kept({trained: "yes"}), no: kept({trained: "no"}), unknown: kept({trained: "unknown"}),
  otherTask: kept({trained: "yes", tasks: ["Y"]}),
  byX: sorted((row) => row.scores.X, true), byName: sorted((row) => row.name, false),
  bySize: sorted((row) => row.parameters, false), bySizeDown: sorted((row) => row.parameters, true),
}));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="runs the page's script in node")
def test_sorting_and_filtering() -> None:
    command = ["node", "-e", SCRIPT, str(PAGE / "leaderboard.js")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {
        "means": [20, None, 27.5],
        "all": "bac",
        "size": "bc",
        "license": "ba",
        "who": "ac",
        "text": "b",
        "yes": "b",
        "no": "c",
        "unknown": "a",
        "otherTask": "",
        "byX": "abc",
        "byName": "abc",
        "bySize": "cba",
        "bySizeDown": "bca",
    }


@pytest.mark.filterwarnings("ignore")
def test_a_submission_has_entries_mteb_accepts_and_the_results_tree(write_result: WriteResult, tmp_path: Path) -> None:
    commit = "40a5850d046cfdb56154e332b4d7099b63e8d50e"
    for model in ("abhinand/MedEmbed-small-v0.1", "abhinand/MedEmbed-base-v0.1"):
        output = write_result(model, "NFCorpus", [0.3, 0.4], meta={"revision": commit})
        output = write_result(model, "my-folder", [0.3, 0.4], meta={"revision": commit})
    prepared = prepare([output], tmp_path / "submit")
    assert prepared.ready == ("abhinand/MedEmbed-small-v0.1", "abhinand/MedEmbed-base-v0.1")
    assert "medembed evaluate large --tasks medembed-five" in prepared.missing["abhinand/MedEmbed-large-v0.1"]
    copied = {
        path.relative_to(tmp_path / "submit" / "results").as_posix()
        for path in (tmp_path / "submit").glob("results/**/*.json")
    }
    assert copied == {
        f"abhinand__MedEmbed-{size}-v0.1/rev1/{name}.json"
        for size in ("small", "base")
        for name in ("NFCorpus", "model_meta")
    }
    source = (tmp_path / "submit" / "mteb" / "medembed_models.py").read_text()
    names = [node.targets[0].id for node in ast.parse(source).body if isinstance(node, ast.Assign)]  # type: ignore[attr-defined]
    assert names == ["medembed_small_v0_1", "medembed_base_v0_1"]
    space: dict[str, object] = {}
    exec(compile(source, "medembed_models.py", "exec"), space)
    small = space["medembed_small_v0_1"]
    assert small.adapted_from == "BAAI/bge-small-en-v1.5"  # type: ignore[attr-defined]
    assert small.training_datasets == set()  # type: ignore[attr-defined]
    assert "adapted_from" in (tmp_path / "submit" / "README.md").read_text()

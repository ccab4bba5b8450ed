"""The public tests of sentence-transformers over a MedEmbed: which pass, which differ, and why.

    git clone --depth 1 https://github.com/huggingface/sentence-transformers /tmp/theirs
    python -m tests.dropin.peer_suite /tmp/theirs/tests --revision COMMIT   run them, and write the results and the page's tables
    python -m tests.dropin.peer_suite                                       write the page's tables from the committed results

Nothing of theirs is kept here. Ends with 1 where a test differs for no reason that `peer_reasons` gives.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.dropin.peer_reasons import FILES, FORMS, NOT_ABOUT, REASONS

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "measurements" / "peer-suite.json"
PAGE = ROOT / "docs" / "concepts" / "peer-suite.md"
BEGIN, END = "<!-- peer suite: written by `python -m tests.dropin.peer_suite` -->\n", "<!-- end of peer suite -->"
FORMS_SAID = {
    "itself": "a `MedEmbed` in the place of their model",
    "familiar": "`as_sentence_transformer(MedEmbed(...))` in its place",
    "saved": "a folder that theirs saves, loaded by `MedEmbed`",
    "functions": "our pooling and similarity in the place of theirs",
}
NO_MODEL, NOT_HERE = "no model is made in it", "needs weights, a package or a GPU that is not here"
Results = Mapping[str, Mapping[str, Mapping[str, Any]]]


def run(tests: Path) -> Results:
    """Run the chosen files of theirs in every form.

    Args:
        tests: The folder ``tests`` of a copy of sentence-transformers.

    Returns:
        Form → test → its outcome, the last line of its error, and whether it touched what is ours.

    Raises:
        SystemExit: It is another folder, or pytest could not run them.
    """
    missing = [name for name in FILES if not (tests / name).is_file()]
    if missing or tests.name != "tests":
        sys.exit(
            f"{tests} is not the folder tests of sentence-transformers 6, lacking {missing}: clone it as --help says"
        )
    from tests.dropin import peer_stand_ins

    with tempfile.TemporaryDirectory() as place:
        folders, results = Path(place) / "folders", Path(place) / "results"
        folders.mkdir()
        results.mkdir()
        peer_stand_ins.write(folders)
        shim = Path(__file__).with_name("peer_shim.py")
        subprocess.run([sys.executable, shim, folders, results], cwd=tests.resolve().parent, check=True)
        return {form: json.loads((results / f"{form}.json").read_text(encoding="utf-8")) for form in FORMS}


def judged(results: Results) -> list[dict[str, Any]]:
    """One row a test function: passed or differing cases in each form, or why it is not about a MedEmbed."""
    by_test: dict[str, list[str]] = {}
    for node in results["theirs"]:
        by_test.setdefault(node.partition("[")[0].removeprefix("tests/"), []).append(node)
    return [_row(test, nodes, results) for test, nodes in sorted(by_test.items())]


def _row(test: str, nodes: Sequence[str], results: Results) -> dict[str, Any]:
    theirs = results["theirs"]
    if theirs[nodes[0]]["outcome"] == "left out":
        return {"test": test, "not about us": theirs[nodes[0]]["why"]}
    runs = [node for node in nodes if theirs[node]["outcome"] == "passed"]
    if not runs:
        return {"test": test, "not about us": NOT_HERE}
    forms = {}
    for form in FILES[test.partition("::")[0]]:
        touched = [results[form][node] for node in runs if results[form][node]["touched"]]
        if touched:
            passed = sum(one["outcome"] == "passed" for one in touched)
            why = "" if passed == len(touched) else reason(test, form)
            forms[form] = {"cases": len(touched), "passed": passed, **({"why": why} if why else {})}
    return {"test": test, "forms": forms} if forms else {"test": test, "not about us": NO_MODEL}


def reason(test: str, form: str) -> str:
    """Why a test differs in a form; empty if the table does not say."""
    name = test.rpartition("::")[2]
    return next((why.sentence for why in REASONS if form in why.forms and name in why.tests), "")


def unexplained(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Tests and forms that differ without a reason."""
    return [
        f"{row['test']} ({form})"
        for row in rows
        for form, told in row.get("forms", {}).items()
        if told["passed"] < told["cases"] and "why" not in told
    ]


def tables(told: Mapping[str, Any]) -> str:
    """The page's tables as Markdown, from the results."""
    rows = told["tests"]
    lines = ["| form | tests | pass | pass in part | differ |", "|---|---|---|---|---|"]
    for form, said in FORMS_SAID.items():
        of_form = [row["forms"][form] for row in rows if form in row.get("forms", {})]
        passed = sum(one["passed"] == one["cases"] for one in of_form)
        none = sum(one["passed"] == 0 for one in of_form)
        lines.append(f"| {said} | {len(of_form)} | {passed} | {len(of_form) - passed - none} | {none} |")
    lines += ["", "| why a test differs | in the form | tests |", "|---|---|---|"]
    for why in REASONS:
        lines.append(f"| {why.sentence} | {', '.join(why.forms)} | {', '.join(f'`{name}`' for name in why.tests)} |")
    lines += ["", "| not about a `MedEmbed` | tests |", "|---|---|"]
    for group in (*NOT_ABOUT, NO_MODEL, NOT_HERE):
        lines.append(f"| {group} | {sum(row.get('not about us') == group for row in rows)} |")
    return "\n".join(lines) + "\n"


def written(page: str, made: str) -> str:
    """The page with the tables between their marks."""
    return re.sub(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: BEGIN + made + END, page, flags=re.DOTALL)


def main() -> None:
    """Run, tell and write; or only write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="the folder tests of a copy of sentence-transformers")
    parser.add_argument("--revision", default="unknown", help="the commit of that copy")
    asked = parser.parse_args()
    if asked.folder:
        rows = judged(run(asked.folder))
        told = {"revision": asked.revision, "sentence-transformers": version("sentence-transformers"), "tests": rows}
        RESULTS.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    told = json.loads(RESULTS.read_text(encoding="utf-8"))
    print(tables(told))
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), tables(told)), encoding="utf-8")
    if left := unexplained(told["tests"]):
        sys.exit("differ without a reason in tests/dropin/peer_reasons.py:\n" + "\n".join(left))


if __name__ == "__main__":
    main()

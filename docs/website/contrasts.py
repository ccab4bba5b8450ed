"""The table of clinical contrasts in the page on limits, from the committed output of `medembed evaluate`.

python -m docs.website.contrasts
"""

import json
import re
from pathlib import Path

from docs.website.texts import ROOT
from medembed.evaluation import contrasts

MEASUREMENTS = ROOT / "docs" / "measurements" / "contrasts"
LIMITS = ROOT / "docs" / "concepts" / "limits.md"
BEGIN, END = "<!-- contrasts: written by `python -m docs.website.contrasts` -->\n", "<!-- end of contrasts -->"
KINDS = {
    "negation-present": "negation, presence asked for",
    "negation-absent": "negation, absence asked for",
    "whose": "whose: patient, mother, father, sibling",
    "when": "when: now, past, planned, if",
    "certainty": "certainty: confirmed, possible, ruled out",
    "side": "side",
    "quantity": "dose, unit, laboratory value, age, duration",
    "drug": "look-alike drugs",
    "severity": "severity",
    "control": "controls: the claim in two wordings, both above another claim",
}
NAMES = {
    "mteb__baseline-bm25s": "BM25",
    "local__all-MiniLM-L6-v2": "all-MiniLM-L6-v2",
    "medembed__mini": "mini",
    "medembed__mini-colbert": "colbert:mini",
}


def table(measurements: Path = MEASUREMENTS) -> str:
    """Kinds by models as Markdown, the models by their mean."""
    models = {
        _name(path, measurements): _rights(path)
        for path in sorted(measurements.glob("results/**/clinical-contrasts.json"))
    }
    means = {name: sum(rights.values()) / len(rights) for name, rights in models.items()}
    whole = {name for name, rights in models.items() if set(rights) == set(KINDS)}
    order = sorted(models, key=lambda name: (name in whole, means[name]))
    lines = ["| | " + " | ".join(order) + " |", "|---|" + "---|" * len(order)]
    for kind, said in KINDS.items():
        lines.append(f"| {said} | " + " | ".join(_share(models[name].get(kind)) for name in order) + " |")
    lines.append("| mean | " + " | ".join(_share(means[name] if name in whole else None) for name in order) + " |")
    return "\n".join(lines) + "\n"


def written(page: str, made: str) -> str:
    """The page with the table between its marks."""
    return re.sub(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: BEGIN + made + END, page, flags=re.DOTALL)


def _rights(path: Path) -> dict[str, float]:
    """The share that is right of each kind; without the controls where they were judged by an earlier rule."""
    told = json.loads(path.read_text(encoding="utf-8"))
    current = told["dataset_revision"] == contrasts.revision()
    rights = {part["hf_subset"]: float(part["right"]) for part in told["scores"]["test"]}
    return {kind: right for kind, right in rights.items() if current or kind != contrasts.CONTROL}


def _name(path: Path, measurements: Path) -> str:
    parts = path.relative_to(measurements / "results").parts
    return NAMES.get(parts[0], parts[0].replace("__", "/")) + (
        " +scopes" if any("scopes" in part for part in parts) else ""
    )


def _share(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}".replace("0.", ".", 1) if value < 1 else "1.000"


def main() -> None:
    """Rewrite the table."""
    LIMITS.write_text(written(LIMITS.read_text(encoding="utf-8"), table()), encoding="utf-8")


if __name__ == "__main__":
    main()

"""How a shipped recipe's training went: loss over steps, nDCG@10 over merge ratios.

    python -m docs.website.training WORK/merge/FINGERPRINT NAME

collects both from a finished run into ``training.json`` beside the recipe NAME, which is committed; logs and weights are not.
"""

import json
import sys
from pathlib import Path
from typing import Any

from docs.website.lines import lines
from medembed.recipes.artifacts import open_manifest
from medembed.recipes.catalog import Entry, find
from medembed.storage.durable import write_text_whole

FILE = "training.json"
HEADING = "How the training went:"


def section(entry: Entry) -> str:
    """Pictures and table of a recipe; empty where nothing was collected."""
    found = entry.beside(FILE)
    if not found:
        return ""
    losses = {f"round {number}": points for number, points in enumerate(found["losses"], 1)}
    ratios = found["ndcg@10"]
    sets = sorted(next(iter(ratios.values())))
    scores = {name: [(float(ratio), ratios[ratio][name]) for ratio in ratios] for name in sets}
    rows = ["| share of the tuned weights | " + " | ".join(sets) + " |", "|---" * (len(sets) + 1) + "|"]
    rows += [
        f"| {ratio}{' (published)' if float(ratio) == found['ratio'] else ''} | "
        + " | ".join(f"{ratios[ratio][name]:.4f}" for name in sets)
        + " |"
        for ratio in ratios
    ]
    return "\n".join(
        [
            HEADING, "", lines("Training loss (less is better)", "step", losses), "",
            lines("nDCG@10 on the recipe's development sets (more is better)", "share of the tuned weights", scores), "",
            *rows, "", "",
        ]
    )  # fmt: skip


def collect(merge: Path) -> dict[str, Any]:
    """Losses of every round and scores of every merge ratio.

    Args:
        merge: ``WORK/merge/FINGERPRINT`` of a finished run; the training before it is found by its manifest.
    """
    report = json.loads((merge / "merge.json").read_text(encoding="utf-8"))
    losses: list[list[tuple[int, float]]] = []
    step = _manifest(merge)["inputs"]["train"]
    while step is not None:
        folder = merge.parents[1] / "train" / step
        history = json.loads((folder / "training.json").read_text(encoding="utf-8"))["history"]
        losses.insert(0, [(entry["step"], round(entry["loss"], 4)) for entry in history if "loss" in entry])
        step = _manifest(folder)["inputs"].get("previous")
    return {"ratio": report["ratio"], "ndcg@10": report["ndcg@10"], "losses": losses}


def _manifest(folder: Path) -> dict[str, Any]:
    manifest = open_manifest(folder)
    if manifest is None:
        raise SystemExit(f"{folder} holds no finished stage; expected WORK/merge/FINGERPRINT of a run that has ended")
    return manifest


def store(entry: Entry, collected: dict[str, Any]) -> None:
    """Put what was collected beside a recipe."""
    path = entry.folder / FILE
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    write_text_whole(path, json.dumps(content | {entry.file.stem: collected}) + "\n")


if __name__ == "__main__":
    store(find(sys.argv[2]), collect(Path(sys.argv[1])))

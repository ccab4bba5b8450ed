"""Model folders with changed bytes: vectors, or one error of ours that holds no word of the texts; no hang, no signal.

``run(count)`` changes a random file of a good folder so often. ``python -m tests.hostile.mutated_model_folders COUNT`` prints the counts.
"""

import io
import json
import logging
import random
import shutil
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

from tests.hostile import model_folders
from tests.hostile.watched import Watched
from tests.rows.fuzz import mutated

MARKER = "zq9marker"


prepare = model_folders.prepare


def attempt(folder: str) -> str:
    """Load a folder and encode with it: ``"right"``, ``"refused"``, or ``"raw"`` and what was wrong."""
    import numpy as np

    from medembed import MedEmbed
    from medembed.errors import MedEmbedError

    logged = io.StringIO()
    logging.basicConfig(stream=logged, level=logging.DEBUG, force=True)
    message = ""
    try:
        with warnings.catch_warnings(record=True) as warned, MedEmbed(Path(folder), threads=1) as model:
            vectors = model.encode([f"{MARKER} chest pain", f"{MARKER} heart " * 100, MARKER])
        outcome = "right" if np.isfinite(vectors).all() and len(vectors) == 3 else "raw wrong vectors"
        message = " ".join(str(item.message) for item in warned)
    except MedEmbedError as error:
        outcome, message = "refused", f"{error} {error.__cause__}"
    except BaseException as error:  # noqa: BLE001 - what this is for
        outcome = f"raw {type(error).__name__}"
    return "raw the data in a message" if MARKER in message + logged.getvalue() else outcome


def run(count: int, seed: int = 0) -> dict[str, Any]:
    """Change a random file of a good folder, and load it in a process that is watched.

    Args:
        count: How often.
        seed: The same seed gives the same changes.

    Returns:
        ``mutations``, counts by outcome, and ``faults``: what broke a rule, by number and file.
    """
    counts: Counter[str] = Counter()
    faults: dict[str, str] = {}
    watched = Watched("tests.hostile.mutated_model_folders")
    with tempfile.TemporaryDirectory() as place:
        good = model_folders.make(Path(place) / "good")
        assert watched(str(good)) == "right"  # or the counts would say nothing
        for number in range(count):
            chance, folder = random.Random(f"{seed} {number}"), Path(place) / "changed"
            shutil.copytree(good, folder)
            changed = folder / chance.choice(model_folders.FILES)
            content = mutated(changed.read_bytes(), chance)
            changed.unlink()
            changed.write_bytes(content)
            outcome = watched(str(folder))
            kind = outcome.partition(" ")[0]
            counts[kind] += 1
            if kind not in ("right", "refused"):
                faults[f"{number} {changed.relative_to(folder)}"] = outcome
            shutil.rmtree(folder)
    watched.close()
    return {"mutations": count, "seed": seed, "kinds": {"model folder": dict(sorted(counts.items()))}, "faults": faults}


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1])), indent=1))

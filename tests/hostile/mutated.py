"""Every kind of good input with changed bytes, and the counts of what became of them.

    python -m tests.hostile.mutated 3400

changes 3,400 inputs of each kind, of model folders a tenth of that, since each of them loads a model: 10,540 in all. It prints what broke a
rule, and writes the counts to docs/measurements/mutations.json.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

from tests.hostile import mutated_model_folders, mutated_replies, mutated_stores
from tests.rows import fuzz

RESULT = Path("docs/measurements/mutations.json")


def files_of_rows(count: int) -> dict[str, Any]:
    """Files of rows, as the other kinds."""
    faults: dict[str, str] = {}
    found = fuzz.run(count, 1, lambda kind, _, error: faults.update({f"{kind} {len(faults)}": repr(error)}))
    return {
        "mutations": count,
        "seed": 1,
        "kinds": {kind: dict(sorted(told.items())) for kind, told in found.items()},
        "faults": faults,
    }


KINDS = {
    "files of rows": files_of_rows,
    "stores": mutated_stores.run,
    "replies": mutated_replies.run,
    "model folders": lambda count: mutated_model_folders.run(count // 10),
}


def main(count: int) -> int:
    """Run every kind and write the counts; 1 where a rule was broken."""
    results = {}
    for name, run in KINDS.items():
        started = time.perf_counter()
        results[name] = run(count)
        print(f"{name}: {time.perf_counter() - started:.0f} s, {len(results[name]['faults'])} faults", file=sys.stderr)
    total = sum(result["mutations"] for result in results.values())
    RESULT.write_text(json.dumps({"mutations": total, **results}, indent=1) + "\n")
    return int(any(result["faults"] for result in results.values()))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))

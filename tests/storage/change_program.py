"""Changes a store for ever, for a test to kill: FOLDER KIND START MODEL HIDDEN HOW. Prints the number of each change done.

HOW is ``changes`` for upserts, deletions and compacting, or ``sync`` for nightly exports of nine rows that replace those before.
"""

import sys
from pathlib import Path

from medembed import EmbeddedCorpus, FakeEngine, MedColBERT, MedEmbed, TokenIndex

if __name__ == "__main__":
    folder, kind, number = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    opened: EmbeddedCorpus | TokenIndex
    if kind == "embedded corpus":
        opened = EmbeddedCorpus.open(folder, MedEmbed(engine=FakeEngine(dimension=16)))
    else:
        opened = TokenIndex.open(folder, MedColBERT(sys.argv[4], engine=FakeEngine(int(sys.argv[5]))))
    print("ready", flush=True)
    while sys.argv[6] == "sync":
        number += 1
        text = f"fever in version {number}"
        opened.sync([{"id": name, "text": text} for name in ("same", *(f"w{number}-{i}" for i in range(9)))], limit=1)
        print(number, flush=True)
    while True:
        number += 1
        text = f"fever in version {number}"
        opened.upsert([{"id": "same", "text": text}, *({"id": f"w{number}-{i}", "text": text} for i in range(9))])
        print(number, flush=True)
        if number % 3 == 0:
            opened.delete([f"w{number}-8"])
        if number % 4 == 0:
            opened.compact()

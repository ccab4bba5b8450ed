"""Memory of an evaluation does not follow the size of the corpus: texts stay on disk, only the best are kept."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CHILD = """
import sys, threading, time, warnings
from pathlib import Path
warnings.simplefilter("ignore")
from medembed import FakeEngine, MedEmbed
from medembed.evaluation import mteb_bridge, mteb_tasks
from medembed.evaluation.models import Setup, model_ref
from medembed.evaluation.tasks import task_refs

def private_mb():
    # anonymous memory: pages of the mapped tables can be dropped by the system at any time and do not count
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon")) / 1024

peak = [0.0]
def watch():
    while True:
        peak[0] = max(peak[0], private_mb())
        time.sleep(0.02)

ref, setup = model_ref("mini", Setup()), Setup()
model = mteb_bridge.MedEmbedEncoder(ref, setup, loaded=MedEmbed("mini", engine=FakeEngine(384)))
(task,) = mteb_tasks.load_tasks(task_refs([Path(sys.argv[1])]))
start = private_mb()
threading.Thread(target=watch, daemon=True).start()
mteb_bridge.measure(model, task, mteb_bridge.WholeFiles(Path(sys.argv[2])))
print(round(peak[0] - start, 1))
"""


def peak_mb(root: Path, n_documents: int) -> float:
    folder = root / f"corpus{n_documents}"
    (folder / "qrels").mkdir(parents=True)
    filler = "history of present illness, treatment and outcome " * 12  # some 600 characters a document
    with (folder / "corpus.jsonl").open("w") as file:
        file.writelines(json.dumps({"_id": f"d{i}", "text": f"case {i} {filler}"}) + "\n" for i in range(n_documents))
    with (folder / "queries.jsonl").open("w") as file:
        file.writelines(json.dumps({"_id": f"q{i}", "text": f"case {i}"}) + "\n" for i in range(50))
    (folder / "qrels" / "test.tsv").write_text("".join(f"q{i}\td{i}\t1\n" for i in range(50)))
    command = [sys.executable, "-c", CHILD, str(folder), str(root / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's own count")
def test_memory_grows_by_little_more_than_the_ids(tmp_path: Path) -> None:
    small, large = peak_mb(tmp_path, 25_000), peak_mb(tmp_path, 100_000)
    print(f"peak above start: {small} MB for 25,000 documents, {large} MB for 100,000")
    # 75,000 ids with their line numbers are some 20 MB; their texts alone would be 48 MB, their vectors 115 MB.
    assert large - small < 45

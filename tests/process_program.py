"""One public object, used, forked, pickled or interrupted: a process of its own, since a hang would take the test run with it.

    python -m tests.process_program OBJECT FOLDER

FOLDER holds ``bert``, ``roberta`` and ``colbert``: model folders. One line per act that went well.
"""

import os
import pickle
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from medembed import EmbeddedCorpus, FakeEngine, MedColBERT, MedEmbed, TokenIndex

TEXTS = [f"finding {i}: {'pain ' * (i % 30)}" for i in range(120)]
ROWS = [{"id": str(i), "text": text} for i, text in enumerate(TEXTS)]
Use = Callable[[Any], np.ndarray]


def _encode(model: MedEmbed) -> np.ndarray:
    return np.vstack([model.encode(TEXTS), model.encode("pain")])


def _late(model: MedColBERT) -> np.ndarray:
    return np.concatenate([model.encode_query("pain"), *model.encode_document(TEXTS)])


def _search(stored: Any) -> np.ndarray:
    return np.array([[hit.score for hit in hits] for hits in stored.search(["pain", "finding 3"], k=5)])


def _corpus(folder: Path) -> EmbeddedCorpus:
    model = MedEmbed(folder / "bert", threads=2)
    return EmbeddedCorpus.build(folder / f"corpus-{os.getpid()}", ROWS, model)


def _token_index(folder: Path) -> TokenIndex:
    model = MedColBERT(folder / "colbert", threads=2)
    return TokenIndex.build(folder / f"tokens-{os.getpid()}", ROWS, model)


def _kernels(folder: Path) -> MedEmbed:
    model = MedEmbed(folder / "wide", threads=2)
    assert model.engine_name == "kernels", model
    return model


OBJECTS: dict[str, tuple[Callable[[Path], Any], Use]] = {
    "openvino": (lambda folder: MedEmbed(folder / "bert", threads=2), _encode),
    "openvino-int8": (lambda folder: MedEmbed(folder / "bert", threads=2, precision="int8"), _encode),
    "kernels": (_kernels, _encode),
    "torch": (lambda folder: MedEmbed(folder / "roberta", threads=2), _encode),
    "fake": (lambda folder: MedEmbed(folder / "bert", engine=FakeEngine(64, concurrency=2)), _encode),
    "late-interaction": (lambda folder: MedColBERT(folder / "colbert", threads=2), _late),
    "corpus": (_corpus, _search),
    "token-index": (_token_index, _search),
}


def _agree(one: np.ndarray, other: np.ndarray) -> None:
    # int8 rounds by the batch a text is in; bf16 by the kernel the batch's width picks
    np.testing.assert_allclose(one, other, atol=0.05)


def _in_child(act: Callable[[], None]) -> None:
    pid = os.fork()
    if pid == 0:
        act()
        sys.exit(0)  # through the interpreter's own end, destructors included
    for _ in range(1000):
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        time.sleep(0.1)
    else:
        os.kill(pid, signal.SIGKILL)
        sys.exit("the child hangs")
    if status:
        sys.exit(f"the child ended with {os.waitstatus_to_exitcode(status)}")


def fork(thing: Any, use: Use) -> None:
    """A child gives what its parent gives, before and after."""
    expected = use(thing)
    _in_child(lambda: _agree(use(thing), expected))
    _agree(use(thing), expected)


def idle(thing: Any, use: Use) -> None:
    """A child that uses nothing can end."""
    use(thing)
    _in_child(lambda: None)


def busy(thing: Any, use: Use) -> None:
    """Children forked while other threads are at work give what their parent gives."""
    expected, forks = use(thing), FORKS.get(sys.argv[1], 1)
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            use(thing)

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    try:
        for _ in range(forks):
            _in_child(lambda: _agree(use(thing), expected))
    finally:
        stop.set()
        for worker in workers:
            worker.join()


def threads(thing: Any, use: Use) -> None:
    """Eight threads at once get what one gets."""
    expected = use(thing)
    results: list[np.ndarray] = []
    workers = [threading.Thread(target=lambda: results.append(use(thing))) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(results) == 8
    for result in results:
        _agree(result, expected)


def pickled(thing: Any, use: Use) -> None:
    """A copy gives what the original gives."""
    _agree(use(pickle.loads(pickle.dumps(thing))), use(thing))


class InterruptedByAlarmError(Exception):
    """Raised by the handler of the alarm."""


def interrupted(thing: Any, use: Use) -> None:
    """A hundred interrupts at random moments lose nothing: every later call still gets its answer."""
    expected = use(thing)
    armed: list[bool] = []

    def interrupt(*_: object) -> None:
        if armed:
            armed.clear()
            raise InterruptedByAlarmError

    signal.signal(signal.SIGALRM, interrupt)
    rng = np.random.default_rng(0)
    main = threading.get_ident()
    for _ in range(100):
        # to this thread by name: others of the process have signal stacks too small for this CPU's registers
        timer = threading.Timer(float(rng.uniform(1e-5, 3e-3)), signal.pthread_kill, (main, signal.SIGALRM))
        try:
            armed.append(True)
            timer.start()
            until = time.monotonic() + 60
            while time.monotonic() < until:  # an interrupt inside a destructor is printed and lost
                use(thing)
                if not armed:
                    break
        except InterruptedByAlarmError:
            pass
        timer.join()
    _agree(use(thing), expected)


ACTS = (idle, fork, pickled, threads, busy, interrupted)
# A corpus and an index hold files of a folder and a model of their own: they are opened again elsewhere, not sent.
NOT_PICKLED = ("corpus", "token-index")
# Their threads multiply matrices in numpy, whose library (OpenBLAS) may be forked with a lock of its own held: one fork in about
# ten did not survive that, so one fork says little. Engines compute in slots, which a fork waits for.
FORKS = {"corpus": 24, "token-index": 24, "late-interaction": 24}


def acts(name: str) -> list[str]:
    """What an object promises."""
    return [act.__name__ for act in ACTS if act is not pickled or name not in NOT_PICKLED]


if __name__ == "__main__":
    # Python 3.12 warns of any fork with threads, and the tiny models cut the longest texts
    warnings.simplefilter("ignore")
    make, use = OBJECTS[sys.argv[1]]
    thing = make(Path(sys.argv[2]))
    for act in acts(sys.argv[1]):
        globals()[act](thing, use)
        print(act, flush=True)

"""One model in one process: copies are the same model, waiting calls end, loops are freed, warnings are left alone."""

import ast
import asyncio
import gc
import pickle
import shutil
import warnings
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import medembed
from medembed import EmbeddedCorpus, FakeEngine, MedColBERT, MedEmbed, TokenIndex, TruncationWarning
from medembed.errors import ClosedModelError, EngineError, ModelChangedError
from medembed.runtime.engines.interface import TokenIds
from medembed.runtime.engines.slots import Slots
from tests import tiny_bert
from tests.colbert import folders

PACKAGE = Path(medembed.__file__).parent
LONG = "pain " * 200


def _dense(folder: Path) -> MedEmbed:
    return MedEmbed(tiny_bert.make(folder), threads=1)


def _late(folder: Path) -> MedColBERT:
    return MedColBERT(folders.stanford(folder), threads=1)


Make = Callable[[Path], MedEmbed | MedColBERT]
BOTH = pytest.mark.parametrize("make", [_dense, _late], ids=["MedEmbed", "MedColBERT"])


@BOTH
def test_settings_and_pickles_make_the_same_model_or_none(make: Make, tmp_path: Path) -> None:
    model = make(tmp_path / "model")
    stored = pickle.dumps(model)
    assert pickle.loads(stored).revision == type(model)(**model.settings).revision == model.revision
    config = tmp_path / "model" / "config.json"
    config.write_text(config.read_text(encoding="utf-8").replace('"gelu"', '"relu"'), encoding="utf-8")
    with pytest.raises(ModelChangedError, match=r"is sha256-\w+ by its files, but sha256-\w+ was asked for"):
        pickle.loads(stored)
    with pytest.raises(ModelChangedError):
        type(model)(**model.settings)


@BOTH
def test_shared_properties(make: Make, tmp_path: Path) -> None:
    model = make(tmp_path / "model")
    assert (model.name, model.folder) == (str(tmp_path / "model"), tmp_path / "model")
    assert (model.device, model.engine_name, model.overlong) == ("cpu", "openvino", "truncate")
    assert repr(model).startswith(f"{type(model).__name__}({model.name!r}, dimension=")
    model.warm_up()
    model.close()
    assert repr(model) == f"{type(model).__name__}({model.name!r}, closed)"
    with pytest.raises(ClosedModelError, match=f"make a new {type(model).__name__}"):
        print(model.device)


def test_closing_frees_what_ran(tmp_path: Path) -> None:
    model = _dense(tmp_path / "model")
    running = weakref.ref(model._encoder())
    model.close()
    gc.collect()
    assert running() is None


class Ending(FakeEngine):
    """Ends its worker by something that is not an error."""

    def pooled(self, ids: TokenIds, *, alone: bool = False) -> np.ndarray:
        raise SystemExit


async def test_a_call_ends_when_the_batchers_task_is_cancelled() -> None:
    model = MedEmbed(engine=FakeEngine(dimension=8))
    before = asyncio.all_tasks()
    calls = [asyncio.create_task(model.aencode(text)) for text in ("pain", "fever")]
    await asyncio.sleep(0)
    [batcher] = asyncio.all_tasks() - before - set(calls)
    batcher.cancel()
    results = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 5)
    assert [type(result) for result in results] == [EngineError, EngineError]
    assert (await asyncio.wait_for(model.aencode("pain"), 5)).shape == (8,)


def test_a_call_ends_when_the_batch_ends_by_what_is_no_error() -> None:
    async def call() -> object:
        # the loop itself ends by SystemExit; the caller is told first
        return await asyncio.wait_for(MedEmbed(engine=Ending(dimension=8)).aencode("pain"), 5)

    with pytest.raises((EngineError, SystemExit)):
        asyncio.run(call())


def test_closed_event_loops_are_freed() -> None:
    model = MedEmbed(engine=FakeEngine(dimension=8))
    loops = []
    for _ in range(3):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(asyncio.gather(*(loop.create_task(model.aencode(text)) for text in ("pain", "fever"))))
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        loops.append(weakref.ref(loop))
        del loop
    gc.collect()
    assert [loop() for loop in loops] == [None] * 3


def test_a_loop_closed_in_the_middle_of_a_call_is_let_go_with_the_next() -> None:
    model = MedEmbed(engine=FakeEngine(dimension=8))
    loop = asyncio.new_event_loop()
    call = loop.create_task(model.aencode("pain"))
    loop.run_until_complete(asyncio.sleep(0))
    assert len(model._batchers) == 1
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    call._log_destroy_pending = False  # type: ignore[attr-defined]
    assert asyncio.run(model.aencode("pain")).shape == (8,)
    assert not any(one.is_closed() for one in list(model._batchers)[:-1])


def test_a_function_is_told_of_texts_as_they_are_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done: list[int] = []
    model = _dense(tmp_path / "model")
    encoded = model.encode_counted(["pain"] * 3000 + [LONG], show_progress_bar=True, progress=done.append)
    assert (len(encoded.vectors), sum(done)) == (3001, 3001)
    assert len(done) > 2
    assert capsys.readouterr().err == ""


def test_warnings_of_the_process_are_left_alone(tmp_path: Path) -> None:
    """Two threads that silence warnings for themselves put each other's filters back; nothing here does so."""
    model = _dense(tmp_path / "model")
    filters = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: model.encode_counted([LONG]), range(40)))
    assert list(warnings.filters) == filters
    with pytest.warns(TruncationWarning):
        model.encode(LONG)


# where it is allowed: commands, which are alone in their process
SILENCING = (
    "cli/",
    "recipes/onnx_export.py",
    "evaluation/paired.py",
    "serving/served.py",
)  # a server is a process of its own


def test_no_library_code_changes_the_warnings_of_the_process() -> None:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
        changes = {"catch_warnings", "simplefilter", "filterwarnings"} & set(calls)
        if changes and not name.startswith(SILENCING):
            found.append(name)
    assert found == []


def _interrupt(slots: Slots[int]) -> None:
    with slots.next().lock:
        raise KeyboardInterrupt


def test_a_slot_is_given_back_whatever_happens() -> None:
    slots = Slots([1, 2])
    for _ in slots:
        with pytest.raises(KeyboardInterrupt):
            _interrupt(slots)
    assert not any(slot.lock.locked() for slot in slots)
    first = slots.next()
    with first.lock:
        assert slots.next().thing != first.thing
        with slots.next().lock:
            assert slots.busy
    with pytest.raises(ClosedModelError):
        Slots().next()


def test_short_vectors_stay_those_of_the_model_that_runs(tmp_path: Path) -> None:
    folder = tmp_path / "mini"
    shutil.copytree(PACKAGE / "weights" / "mini", folder)
    model = MedEmbed(folder, threads=1)
    before = model.encode("pain", truncate_dim=64)
    (folder / "short_vectors.safetensors").unlink()
    np.testing.assert_array_equal(model.encode("pain", truncate_dim=64), before)


async def test_stores_are_searched_beside_the_event_loop(tmp_path: Path) -> None:
    rows = [{"id": "a", "text": "chest pain"}, {"id": "b", "text": "itchy skin"}]
    corpus = EmbeddedCorpus.build(tmp_path / "corpus", rows, _dense(tmp_path / "dense"))
    index = TokenIndex.build(tmp_path / "index", rows, _late(tmp_path / "late"))
    for store in (corpus, index):
        many = await asyncio.gather(*(store.asearch("chest pain", k=1) for _ in range(4)))
        assert many == [store.search("chest pain", k=1)] * 4
        assert await store.asearch(["chest pain"], k=1) == store.search(["chest pain"], k=1)

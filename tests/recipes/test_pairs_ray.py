"""Pairs from Ray's actors are those of a local run, whoever dies. Slow: Ray takes seconds to start. Run with `make test-corpora`."""

import gzip
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from medembed.errors import PairWriterError, RecipeConfigError
from medembed.recipes import pipeline
from medembed.recipes.records import content_id
from medembed.recipes.schema import Recipe
from medembed.recipes.sources import Places
from medembed.recipes.stages import pairs
from tests.ray_processes import ROOT, actors_of, all_end, kill_driver, local_ray
from tests.recipes.endpoint_server import Answer, Server, good

ray = pytest.importorskip("ray")

pytestmark = pytest.mark.slow

Loaded = Callable[..., tuple[Recipe, Places]]
Serve = Callable[[Callable[[str, int], Answer]], Server]
ON_RAY = ("execution.ray=local", "execution.ray_workers=2")
ENDPOINT = ("pairs.writer=openai_endpoint", "execution.concurrency=2", "execution.retries=1", "execution.timeout_s=5")
N_NOTES = 48
ACTOR = "_Worker"


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    with local_ray():
        yield


@pytest.fixture(autouse=True)
def _blocks_of_eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "NOTES_A_BLOCK", 8)


def built(recipe: Recipe, places: Places) -> dict[str, Any]:
    """Manifest of the pairs: what it was made of, and its files with their hashes."""
    return pipeline.build(recipe, places, "pairs")[-1].artifact.manifest


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(one[key] == other[key] for key in ("fingerprint", "files", "summary"))


def test_rules_write_the_same_parts_on_ray_as_here(loaded: Loaded, tmp_path: Path) -> None:
    here = built(*loaded())
    there = built(*loaded(*ON_RAY, f"execution.work={tmp_path / 'ray'}"))
    assert len([name for name in here["files"] if name.startswith("pairs/")]) == N_NOTES / 8
    assert same(here, there)
    assert all_end(actors_of(os.getpid(), ACTOR))


def test_an_endpoint_is_asked_the_same_on_ray_as_here_with_the_drivers_key(
    loaded: Loaded,
    tmp_path: Path,
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MY_KEY", "the-drivers")  # set after Ray's processes were started
    alone, asked = serve(lambda note, _: good(note)), serve(slow)
    here = built(*loaded(*ENDPOINT, f"execution.endpoint={alone.url}"))
    keyed = (*ENDPOINT, *ON_RAY, "execution.api_key_env=MY_KEY")
    there = built(*loaded(*keyed, f"execution.endpoint={asked.url}", f"execution.work={tmp_path / 'ray'}"))
    assert same(here, there)
    assert asked.asked == alone.asked == Counter(dict.fromkeys(alone.asked, 1))
    assert asked.keys == {"Bearer the-drivers"}
    assert 2 < asked.most_at_once <= 4  # each of two actors asks two at once


def slow(note: str, _: int) -> Answer:
    time.sleep(0.1)
    return good(note)


def test_a_killed_actor_is_replaced_and_asks_only_for_what_is_missing(
    loaded: Loaded,
    tmp_path: Path,
    serve: Serve,
) -> None:
    killed: list[int] = []

    def deadly(note: str, attempt: int) -> Answer:
        if len(server.asked) > 20 and not killed:
            victim = actors_of(os.getpid(), ACTOR)[0]
            killed.append(victim.pid)
            victim.kill()
        return slow(note, attempt)

    server, alone = serve(deadly), serve(lambda note, _: good(note))
    there = built(*loaded(*ENDPOINT, *ON_RAY, f"execution.endpoint={server.url}"))
    here = built(*loaded(*ENDPOINT, f"execution.endpoint={alone.url}", f"execution.work={tmp_path / 'here'}"))
    assert killed
    assert same(here, there)
    assert (
        sum(server.asked.values()) <= N_NOTES + 4
    )  # answers on their way from the actor that died, two at once and two read


def test_after_a_killed_driver_a_local_run_goes_on_with_what_is_missing(
    loaded: Loaded,
    recipe_folder: Path,
    tmp_path: Path,
    serve: Serve,
) -> None:
    server, alone = serve(slow), serve(lambda note, _: good(note))
    settings = (*ENDPOINT, f"execution.endpoint={server.url}")
    command = [sys.executable, "-m", "tests.recipes.pairs_program", "--recipe", str(recipe_folder)]
    driver = subprocess.Popen([*command, f"execution.work={tmp_path / 'work'}", *settings, *ON_RAY], cwd=ROOT)
    while len(server.asked) < 20:
        assert driver.poll() is None
        time.sleep(0.01)
    kill_driver(driver, ACTOR)
    kept = kept_replies(tmp_path / "work")
    there = built(*loaded(*settings))
    here = built(*loaded(*ENDPOINT, f"execution.endpoint={alone.url}", f"execution.work={tmp_path / 'here'}"))
    assert same(here, there)
    assert 0 < len(kept) < N_NOTES
    assert {note for note, times in server.asked.items() if times > 1 and content_id(note) in kept} == set()
    assert (
        sum(server.asked.values()) <= N_NOTES + 16
    )  # two blocks were lent out, whose actors ended soon after the driver


def kept_replies(work: Path) -> set[str]:
    """Notes whose replies a killed run has left, in whole blocks or in journals."""
    lines = [line for path in work.glob("pairs/*/scratch/replies/*.jsonl") for line in path.read_text().splitlines()]
    for path in work.glob("pairs/*/replies/*.jsonl.gz"):
        lines += gzip.decompress(path.read_bytes()).decode().splitlines()
    return {json.loads(line)["note_id"] for line in lines}


def test_a_server_that_is_gone_is_told_as_in_a_local_run(loaded: Loaded) -> None:
    recipe, places = loaded(*ENDPOINT, *ON_RAY, "execution.endpoint=http://127.0.0.1:9/v1")
    with pytest.raises(PairWriterError, match=r"no connection\. Start the server.*Then run the same command"):
        pipeline.build(recipe, places, "pairs")
    assert all_end(actors_of(os.getpid(), ACTOR))


def test_actors_that_die_again_and_again_end_the_run(loaded: Loaded, serve: Serve) -> None:
    def murderous(note: str, attempt: int) -> Answer:
        for actor in actors_of(os.getpid(), ACTOR):
            actor.kill()
        return slow(note, attempt)

    server = serve(murderous)
    recipe, places = loaded(*ENDPOINT, *ON_RAY, f"execution.endpoint={server.url}")
    with pytest.raises(
        PairWriterError,
        match=r"5 Ray workers died without a result \(ActorDiedError\): .* it goes on with what is missing",
    ):
        pipeline.build(recipe, places, "pairs")


def test_a_machine_without_gpus_is_no_place_for_vllm(loaded: Loaded) -> None:
    recipe, places = loaded("pairs.writer=vllm_local", "execution.device=auto", "execution.tensor_parallel=2", *ON_RAY)
    with pytest.raises(
        RecipeConfigError, match=r"each worker of 'vllm_local' takes 2 GPU\(s\), and Ray sees 0 on this machine"
    ):
        pipeline.build(recipe, places, "pairs")


def test_whoever_waits_for_a_worker_is_told_what_it_takes(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("medembed.recipes.pairs_ray.PATIENCE_S", 0.001)  # actors take longer to start
    built(*loaded(*ON_RAY))
    assert "waiting for a Ray worker, which takes 1 CPU and 0 GPU(s); the cluster has 3 CPUs" in " ".join(
        capsys.readouterr().err.split()
    )

"""Ray Data actors make the corpus that a local run makes. Slow: Ray takes seconds to start. Run with `make test-corpora`."""

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from medembed import Embedder, MedEmbed
from medembed.corpus.embed import Settings, index
from medembed.errors import OverlongTextError, SettingError
from tests.corpus.conftest import Contents, text_of, write_repeating, write_rows
from tests.corpus.test_faults import SMALL, start, wait_for_shards
from tests.ray_processes import actors_of, kill_driver, local_ray

ray = pytest.importorskip("ray")

from medembed.corpus.embed_ray import Cluster, on_ray  # noqa: E402

pytestmark = pytest.mark.slow
ACTOR = "_ShardMaker"


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    with local_ray():
        yield


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "shards").iterdir())


def test_ray_makes_the_same_rows_and_vectors_as_a_local_run(
    notes: Path, tmp_path: Path, fake: MedEmbed, contents: Contents
) -> None:
    index([str(notes)], tmp_path / "local", fake, SMALL)
    summary = index([str(notes)], tmp_path / "ray", fake, SMALL, runner=on_ray(fake, Cluster(2)))
    assert (summary.n_rows, summary.embedded) == (100, 100)
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")
    assert names(tmp_path / "ray") == names(tmp_path / "local")


def test_ray_embeds_each_text_once(tmp_path: Path, fake: MedEmbed, contents: Contents) -> None:
    source = write_repeating(tmp_path / "notes.jsonl")
    settings = replace(SMALL, repeated_text="once")
    index([str(source)], tmp_path / "local", fake, settings)
    summary = index([str(source)], tmp_path / "ray", fake, settings, runner=on_ray(fake, Cluster(2)))
    assert summary.repeated == 100 - 30
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")
    assert names(tmp_path / "ray") == names(tmp_path / "local")


def test_the_real_model_gives_the_same_vectors_on_ray(
    tmp_path: Path, tiny: MedEmbed, tiny_folder: Path, contents: Contents
) -> None:
    source = write_rows(tmp_path / "notes.jsonl", 200)
    settings = Settings(shard_rows=50)
    with MedEmbed(tiny_folder, threads=1) as one:
        index([str(source)], tmp_path / "local", one, settings)
        index([str(source)], tmp_path / "ray", one, settings, runner=on_ray(one, Cluster(2)))
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


def test_a_text_that_is_too_long_is_named_by_file_and_line(tmp_path: Path, tiny_folder: Path) -> None:
    write_rows(tmp_path / "long.jsonl", 20)
    with (tmp_path / "long.jsonl").open("a") as file:
        file.write('{"id": "long", "text": "' + "fever " * 500 + '"}\n')
    with (
        MedEmbed(tiny_folder, threads=1, overlong="error") as one,
        pytest.raises(OverlongTextError, match=r"long.jsonl, line 21: the text has \d+ tokens"),
    ):
        index([str(tmp_path / "long.jsonl")], tmp_path / "ray", one, SMALL, runner=on_ray(one, Cluster(1)))


def test_an_embedder_works_in_a_ray_job_of_ones_own(fake: MedEmbed) -> None:
    rows = [{"id": number, "note": text_of(number)} for number in range(20)]
    done = ray.data.from_items(rows).map_batches(Embedder(fake, text_column="note"), batch_size=7).take_all()
    vectors = {row["id"]: row["vector"] for row in done}
    assert len(vectors) == 20
    for row in rows:
        assert (vectors[row["id"]] == fake.encode_document([str(row["note"])])[0]).all()


def test_a_local_run_finishes_what_ray_began(notes: Path, tmp_path: Path, fake: MedEmbed, contents: Contents) -> None:
    index([str(notes)], tmp_path / "c", fake, SMALL, runner=on_ray(fake, Cluster(1)))
    (tmp_path / "c" / "manifest.json").unlink()
    next((tmp_path / "c" / "shards").iterdir()).unlink()
    summary = index([str(notes)], tmp_path / "c", fake, SMALL)
    assert summary.resumed >= 92
    index([str(notes)], tmp_path / "undisturbed", fake, SMALL)
    assert contents(tmp_path / "c") == contents(tmp_path / "undisturbed")


def test_a_killed_actor_is_replaced_and_no_row_is_lost(tmp_path: Path, fake: MedEmbed, contents: Contents) -> None:
    source = write_rows(tmp_path / "notes.jsonl", 200)
    ray.shutdown()
    process = ray_run(source, tmp_path / "c")
    wait_for_shards(tmp_path / "c", 4, process)
    workers = actors_of(process.pid, ACTOR)
    assert len(workers) == 2
    workers[0].kill()
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 0, said
    index([str(source)], tmp_path / "undisturbed", fake, SMALL)
    assert contents(tmp_path / "c") == contents(tmp_path / "undisturbed")


def test_a_killed_driver_leaves_whole_shards_and_the_next_run_goes_on(
    tmp_path: Path, fake: MedEmbed, contents: Contents
) -> None:
    source = write_rows(tmp_path / "notes.jsonl", 200)
    ray.shutdown()
    process = ray_run(source, tmp_path / "c")
    wait_for_shards(tmp_path / "c", 4, process)
    kill_driver(process, ACTOR)
    summary = index([str(source)], tmp_path / "c", fake, SMALL)
    assert summary.resumed >= 32
    index([str(source)], tmp_path / "undisturbed", fake, SMALL)
    assert contents(tmp_path / "c") == contents(tmp_path / "undisturbed")
    assert not (tmp_path / "c" / "shards" / "staging").exists()


def ray_run(source: Path, folder: Path) -> subprocess.Popen[str]:
    return start(source, folder, 0.1, 2, "ray")


@pytest.mark.parametrize("address", ["auto", "127.0.0.1:9", "nonsense"], ids=["none here", "none there", "no address"])
def test_a_cluster_that_is_not_there_is_named_with_what_to_do(
    address: str, notes: Path, tmp_path: Path, fake: MedEmbed
) -> None:
    ray.shutdown()
    runner = on_ray(fake, Cluster(address=address))
    with pytest.raises(
        SettingError, match=rf"no Ray cluster can be joined at '{address}' \(.*\): start one with `ray start --head`"
    ):
        index([str(notes)], tmp_path / "c", fake, SMALL, runner=runner)


def test_actors_that_cannot_be_are_refused() -> None:
    with pytest.raises(SettingError, match="actors=2, least=3: give 1 ≤ least ≤ actors"):
        Cluster(2, least=3)
    with pytest.raises(SettingError, match="cpus=0, gpus=0: an actor takes at least one core"):
        Cluster(cpus=0)

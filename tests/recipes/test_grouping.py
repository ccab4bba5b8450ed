"""Batches whose rows are each other's hard negatives."""

from hypothesis import given
from hypothesis import strategies as st

from medembed.recipes.records import Triplet
from medembed.recipes.train_settings import Grouping, Train
from medembed.recipes.training.grouping import batches
from medembed.recipes.training.tuning import ConsecutiveBatches, training_data


def row(name: str, document: str = "d", negatives: tuple[str, ...] = ()) -> Triplet:
    return Triplet(f"query {name}", f"passage {name}", [f"passage {item}" for item in negatives], [], "s", document)


def test_rows_of_a_document_share_a_batch() -> None:
    rows = [row(str(index), f"doc-{index % 4}#{index}") for index in range(16)]
    for batch in batches(rows, 4, "document", 4, seed=1):
        assert len({index % 4 for index in batch}) == 1


def test_a_row_shares_its_batch_with_its_hard_negatives() -> None:
    chain = [row(str(index), f"d{index}", (str(index ^ 1),)) for index in range(32)]
    for batch in batches(chain, 4, "neighbors", 2, seed=1):
        assert {index ^ 1 for index in batch} == set(batch)


def test_groups_are_no_larger_than_asked_for() -> None:
    rows = [row(str(index), "one" if index < 32 else f"d{index}") for index in range(64)]
    mixed = batches(rows, 8, "document", 2, seed=1)
    assert max(sum(index < 32 for index in batch) for batch in mixed) < 8


def test_the_same_text_never_stands_twice_in_a_batch() -> None:
    rows = [row(str(index % 5), "d") for index in range(20)]
    made = batches(rows, 5, "document", 20, seed=1)
    assert len(made) == 4
    assert all(len({rows[index].query for index in batch}) == 5 for batch in made)


@given(
    st.integers(0, 60),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(0, 5),
    st.sampled_from(["document", "neighbors"]),
)
def test_every_row_is_used_at_most_once_and_few_are_left(
    count: int, batch_size: int, group_size: int, seed: int, by: Grouping
) -> None:
    rows = [row(str(index), f"d{index % 3}", (str((index * 7) % 60),)) for index in range(count)]
    made = batches(rows, batch_size, by, group_size, seed)
    used = [index for batch in made for index in batch]
    assert len(set(used)) == len(used) == count // batch_size * batch_size
    assert made == batches(rows, batch_size, by, group_size, seed)


def test_the_trainer_is_given_whole_batches_in_another_order_each_epoch() -> None:
    settings = Train(batch_size=4, grouping="document", group_size=4, negatives_per_query=0)
    table = training_data([row(str(index), f"d{index % 5}") for index in range(20)], settings)["s"]
    sampler = ConsecutiveBatches(table, batch_size=4, drop_last=False, seed=3)
    first = list(sampler)
    sampler.set_epoch(1)
    assert sorted(first) == sorted(sampler) == [[index, index + 1, index + 2, index + 3] for index in range(0, 20, 4)]
    assert first != list(sampler)

"""The measures of the house that must hold; `make house` prints them all."""

import pytest

from tests.house import House, circles, measure


@pytest.fixture(scope="module")
def house() -> House:
    return measure()


def test_ten_layers_and_no_import_runs_upwards(house: House) -> None:
    assert (house.layers, house.upward_imports) == (10, [])


@pytest.mark.parametrize(
    ("imports", "expected"),
    [
        pytest.param({"a": {"b"}, "b": {"c"}, "c": set()}, [], id="chain"),
        pytest.param({"a": {"b"}, "b": {"a"}}, [["a", "b"]], id="pair"),
        pytest.param({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}, [["a", "b", "c"]], id="ring-and-a-caller"),
        pytest.param({"a": {"b", "c"}, "b": {"a"}, "c": {"d"}, "d": {"c"}}, [["a", "b"], ["c", "d"]], id="two-groups"),
    ],
)
def test_circles_are_found(imports: dict[str, set[str]], expected: list[list[str]]) -> None:
    assert circles(imports) == expected


def test_no_modules_import_each_other_in_a_circle(house: House) -> None:
    assert house.circles == []


def test_docstrings_open_with_a_noun_or_an_imperative_and_one_idea(house: House) -> None:
    assert len(house.wh_docstrings) <= 0.02 * house.docstrings, house.wh_docstrings
    assert len(house.semicolon_docstrings) <= 0.02 * house.docstrings, house.semicolon_docstrings


def test_recipes_repeat_little(house: House) -> None:
    # 400, 130 that are the words of a field that code held before (medical.toml and legal-tiny), and 40 until one recipe of two
    # rounds takes the place of mini's chain
    assert house.recipe_lines <= 570

"""Contrasts by rule: minimal pairs of frames and of real sentences."""

import itertools
import time

import pytest

from medembed.recipes.writers.contrasts import Rules, from_frames, from_sentences, is_held_out, load_rules, with_names

KINDS = {"negation", "whose", "when", "certainty", "side", "severity", "quantity", "drug"}
EDITS = [
    ("He denies chest pain.", "He reports chest pain.", "negation"),
    ("She reports nausea and fever.", "She denies nausea and fever.", "negation"),
    ("There is no wheezing.", "There is wheezing.", "negation"),
    ("Pain in the left knee.", "Pain in the right knee.", "side"),
    ("Mild headache since Monday.", "Severe headache since Monday.", "severity"),
    ("His mother had asthma.", "His father had asthma.", "whose"),
]
# no word is changed where the claim would be another than the one read, or is not there
LEFT_ALONE = [
    "He denies that he was late.",
    "There is no change.",
    "She does not report any fever.",
    "Left ventricular function is normal.",
    "",
]


@pytest.fixture(scope="module")
def rules() -> Rules:
    return load_rules("all")


def test_frames_give_every_kind_and_passages_that_differ(rules: Rules) -> None:
    written = list(itertools.islice(from_frames(rules, 0, ["He lives alone."]), 2000))
    assert {contrast.kind for contrast in written} == KINDS
    assert all(len({contrast.fits, contrast.differs, contrast.also_fits}) == 3 for contrast in written)
    assert not any("{" in contrast.query + contrast.fits + contrast.differs for contrast in written)


def test_the_same_seed_gives_the_same_contrasts(rules: Rules) -> None:
    first, again, other = (list(itertools.islice(from_frames(rules, seed), 50)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize(("sentence", "changed", "kind"), EDITS)
def test_one_word_of_a_real_sentence_is_changed_and_both_ways_are_asked(
    rules: Rules, sentence: str, changed: str, kind: str
) -> None:
    there, back = from_sentences(rules, [("n", sentence)], 0)
    assert (there.kind, there.fits, there.differs) == (kind, sentence, changed)
    assert (back.fits, back.differs) == (changed, sentence)
    assert there.query != back.query


@pytest.mark.parametrize("sentence", LEFT_ALONE)
def test_other_sentences_are_left_alone(rules: Rules, sentence: str) -> None:
    assert list(from_sentences(rules, [("n", sentence)], 0)) == []


def test_words_for_measuring_are_not_trained_on() -> None:
    training, held_out = load_rules("training").words, load_rules("held_out").words
    for name, listed in training.items():
        assert not any(is_held_out(word) for word in listed)
        assert held_out[name], name


def test_names_that_are_no_plain_words_or_are_measured_with_are_left_out() -> None:
    held_out = str(load_rules("held_out").words["findings"][0])
    given = ["corkscrew hair", "FANCF", "heart block 2", f"acute {held_out}", held_out, "a" * 40]
    before = load_rules("training")
    assert with_names(before, {"findings": given}).words["findings"] == [*before.words["findings"], "corkscrew hair"]


def test_more_than_five_thousand_pairs_are_written_in_a_second(rules: Rules) -> None:
    def seconds() -> float:
        began = time.process_time()
        assert sum(1 for _ in itertools.islice(from_frames(rules, 0, ["He lives alone."]), 2000)) == 2000
        return time.process_time() - began

    # the best of five: other processes take the caches
    assert 2000 / min(seconds() for _ in range(5)) > 5000


def test_passages_of_frames_speak_of_other_persons_too() -> None:
    rows = [{"present": f"She has {how}{{x}}.", "absent": f"She has no {how}{{x}}."} for how in ("", "some ")]
    frame = {"kind": "negation", "slot": "finding", "asks": {"present": ["{x}"], "absent": ["no {x}"]}, "rows": rows}
    words = {"findings": ["fever", "cough", "chills"], "site_findings": ["pain"]}
    written = list(itertools.islice(from_frames(Rules([frame], [], words, ["Ms. Diaz"]), 0), 200))
    starts = [{text.partition(" has ")[0] for text in (item.fits, item.differs, item.also_fits)} for item in written]
    assert {"Ms. Diaz"} in starts
    assert {"She"} in starts
    assert all(len(who) == 1 for who in starts)  # the person is no part of what differs


def test_rows_that_only_name_the_person_in_other_words_are_no_claim_said_again() -> None:
    rows = [{"present": f"{who} has {{x}}.", "absent": f"{who} has no {{x}}."} for who in ("She", "Ms. Diaz")]
    frame = {"kind": "negation", "slot": "finding", "asks": {"present": ["{x}"], "absent": ["no {x}"]}, "rows": rows}
    words = {"findings": ["fever", "cough", "chills"], "site_findings": ["pain"]}
    written = list(itertools.islice(from_frames(Rules([frame], [], words, ["Ms. Diaz"]), 0), 100))
    assert all(item.fits != item.also_fits for item in written)

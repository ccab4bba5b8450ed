"""Claims in several wordings: every frame gives questions and passages of each, which differ in the claim alone."""

import random

import pytest

from medembed.recipes.writers.claims import CLAIMS, PASSAGES, QUESTIONS, _one_sentence, of_contrast, of_frame
from medembed.recipes.writers.contrasts import Rules, from_sentences, load_rules

RULES = load_rules("training")


@pytest.mark.parametrize("number", range(len(RULES.frames)))
def test_each_frame_gives_every_claim_in_several_wordings(number: int) -> None:
    for seed in range(20):
        item = of_frame(RULES, number, random.Random(seed), ["He lives alone."])
        claims = {claim for claim, _ in item.passages}
        assert 2 <= len(claims) <= CLAIMS
        assert {claim for claim, _ in item.questions} == claims
        assert len(item.questions) <= QUESTIONS
        assert all(2 <= sum(made == claim for made, _ in item.passages) <= PASSAGES // len(claims) for claim in claims)
        texts = [text for _, text in (*item.passages, *item.questions)]
        assert not any("{" in text for text in texts)
        # no sentence makes two claims
        assert len({text for _, text in item.passages}) == len(set(item.passages))


def test_claims_of_a_row_share_the_sentence_before_them_and_the_person() -> None:
    frame = {
        "kind": "negation", "slot": "finding", "asks": {"yes": ["{x}"], "no": ["no {x}"]},
        "rows": [{"yes": "She has {x}.", "no": "She has no {x}."}],
    }  # fmt: skip
    rules = Rules(
        [frame], [], {"findings": ["fever", "cough", "rash"], "site_findings": ["pain"]}, ["Ms. Diaz", "The boy"]
    )
    drawn = [of_frame(rules, 0, random.Random(seed), ["Seen in clinic.", "Seen at home."]) for seed in range(40)]
    passages = [dict(item.passages) for item in drawn]
    assert all(said["yes"].replace(" has ", " has no ") == said["no"] for said in passages)
    assert len({said["yes"].split(" has ")[0] for said in passages}) > 4


def test_a_joined_passage_differs_only_in_what_is_said_of_which_word() -> None:
    rows = [{"now": "She has {x}.", "then": "She had {x}."}, {"now": "{X} today.", "then": "{X} before."}]
    frame = {"kind": "when", "slot": "finding", "asks": {"now": ["{x}"], "then": ["old {x}"]}, "rows": rows}
    words = {"findings": ["fever", "cough", "rash"], "site_findings": ["pain"]}
    rules = Rules([frame], [], words, ["Ms. Diaz"], ["; ", ", but "])
    joined = 0
    for seed in range(60):
        item = of_frame(rules, 0, random.Random(seed))
        word = item.questions[0][1].removeprefix("old ")
        for (_, one), (_, two) in zip(item.passages[::2], item.passages[1::2], strict=True):
            named = [other for other in ("fever", "cough", "rash") if other != word and other in one.lower()]
            if named:
                joined += 1
                assert one.lower().replace(word, "#").replace(named[0], word).replace("#", named[0]) == two.lower()
    assert joined > 20


def test_two_sentences_become_one_about_the_same_person() -> None:
    assert _one_sentence(["She has a rash.", "He denies fever."], ", but ") == "She has a rash, but she denies fever."
    assert _one_sentence(["Ms. Diaz has a rash.", "CT is clear."], "; ") == "Ms. Diaz has a rash; CT is clear."
    assert _one_sentence(["Rash today.", "Fever last week."], ". ") == "Rash today. Fever last week."


def test_a_changed_sentence_is_a_set_of_two_claims() -> None:
    there, _ = from_sentences(RULES, [("n", "He denies chest pain.")], 0)
    item = of_contrast(there)
    assert item.questions == ((there.claim, there.query),)
    assert item.passages == ((there.claim, there.fits), ("", there.differs))
    assert (item.kind, item.origin) == ("negation", "n")

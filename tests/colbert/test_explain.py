"""The words that carry a score: shared out, found in the text, coloured, and escaped."""

import numpy as np
import pytest

from medembed import MedColBERT
from medembed.cli import explaining
from medembed.colbert.carried import Carried, carried
from medembed.errors import InputTypeError
from medembed.storage.tables import Asserted, Hit

TEXT = "Acute <b>myocarditis</b>, no pain"
HIT = Hit("a<i>", 0.5, TEXT, "n.jsonl", 1, {}, (Asserted("negated", "no <pain>", 26, 33),))
WORDS = [Carried("Acute", 0, 5, 0.2), Carried("myocarditis", 9, 20, 0.6)]


def test_each_query_token_gives_its_similarity_to_the_nearest_word() -> None:
    query = np.array([[1, 0, 0], [0, 0.5, 0], [0, 0, 1]], dtype=np.float32)
    spans = [(0, 5), (6, 8), (8, 10), None]
    document = np.array([[1, 0, 0], [0, 1, 0], [0, 0.2, 0], [0, 0, 1]], dtype=np.float32)
    found = carried(query, document, spans, "chest pain")
    assert [(word.text, word.share) for word in found] == [("chest", 0.4), ("pain", 0.2)]  # the mark carries .4


@pytest.fixture(scope="module")
def mini() -> MedColBERT:
    return MedColBERT(threads=1)


def test_the_words_of_a_real_model(mini: MedColBERT) -> None:
    text = "The kidney – inflamed by “pyelonephritis” – hurts; the weather was fine."
    found = mini.explain("kidney infection", text)
    assert all(text[word.start : word.end] == word.text for word in found)
    assert max(found, key=lambda word: word.share).text in ("kidney", "pyelonephritis")
    assert 0 < sum(word.share for word in found) <= 1
    assert mini.explain("kidney", "kidney " * 2000)
    with pytest.raises(InputTypeError, match="one query and one document"):
        mini.explain("kidney", ["kidney"])  # type: ignore[arg-type]


def test_a_terminal_shows_text_and_words(capsys: pytest.CaptureFixture[str]) -> None:
    explaining.show("myocarditis", [HIT], [WORDS])
    shown = capsys.readouterr().out
    assert "Acute <b>myocarditis</b>, no pain" in shown
    assert "carried by: myocarditis 60%, Acute 20%" in shown
    assert 'negated: "no <pain>"' in shown


def test_a_page_escapes_what_comes_from_data() -> None:
    page = explaining.page([("<script>", [HIT], [WORDS])])
    assert '<mark style="--share: 1.00" title="60%">myocarditis</mark>' in page
    assert "&lt;b&gt;" in page
    for raw in ("<script>", "<b>", "<i>", "<pain>"):
        assert raw not in page

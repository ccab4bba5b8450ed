"""How well a model tells real sentences that affirm a finding from those that negate it.

    python -m tests.evaluation.real_sentences NOTES.jsonl.gz MODEL [MODEL ...]

The sentences are those of the notes that name a finding or a condition of ``recipes/contrasts/words.toml``. Which of them negate it,
the scopes say. For each that is affirmed and negated twice at least: the area under the curve of "patient with X", "X" and "patient
without X", which has the negated above. Also for the words that training never names.
"""

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from scipy.stats import mannwhitneyu

from medembed import MedEmbed
from medembed.clinical.assertions import kinds_at, scopes
from medembed.recipes.writers.contrasts import is_held_out, load_rules
from tests.evaluation.write_contrasts import MAX_CHARACTERS, sentences

# Sentences of each side that a word needs.
FEWEST = 2
ASKED: Mapping[str, tuple[Callable[[str], str], bool]] = {
    "patient with X": ("patient with {}".format, True),
    "X": ("{}".format, True),
    "patient without X": ("patient without {}".format, False),
}


def main(notes: Path, models: list[str]) -> None:
    """Print a table: the mean over all words, and over those held out of training."""
    found = words_in(list(dict.fromkeys(text for _, text in sentences(notes) if len(text) <= MAX_CHARACTERS)))
    held_out = [word for word in found if is_held_out(word)]
    print(f"{len(found)} words, {len(held_out)} of them held out")
    print("model", *(f"{name} | held out" for name in ASKED), sep=" | ")
    for model in models:
        measured = areas(model, found)
        print(
            Path(model).name,
            *(f"{_mean(by_word, list(found)):.3f} | {_mean(by_word, held_out):.3f}" for by_word in measured.values()),
            sep=" | ",
            flush=True,
        )


def words_in(texts: list[str]) -> dict[str, tuple[list[str], list[str]]]:
    """Words → the sentences that affirm them and those that negate them. A sentence that says anything else of a word is left out."""
    rules = load_rules("all").words
    found: dict[str, tuple[list[str], list[str]]] = {}
    read = {text: scopes(text) for text in texts}
    for word in (*rules["findings"], *rules["conditions"]):
        pattern = re.compile(rf"\b{re.escape(word)}\b", re.IGNORECASE)
        sides: tuple[list[str], list[str]] = ([], [])
        for text in texts:
            said = [set(kinds_at(read[text], place.start())) for place in pattern.finditer(text)]
            if said and all(kinds == said[0] for kinds in said) and said[0] in (set(), {"negated"}):
                sides[bool(said[0])].append(text)
        if min(map(len, sides)) >= FEWEST:
            found[word] = sides
    return found


def areas(model: str, found: Mapping[str, tuple[list[str], list[str]]]) -> dict[str, dict[str, float]]:
    """Way of asking → word → area under the curve."""
    texts = list(dict.fromkeys(text for sides in found.values() for side in sides for text in side))
    with MedEmbed(model) as encoder:
        vectors = dict(zip(texts, encoder.encode_document(texts), strict=True))
        result: dict[str, dict[str, float]] = {}
        for name, (asked, affirmed_first) in ASKED.items():
            queries = encoder.encode_query([asked(word) for word in found])
            result[name] = {}
            for query, (word, sides) in zip(queries, found.items(), strict=True):
                affirmed, negated = (np.array([vectors[text] @ query for text in side]) for side in sides)
                area = mannwhitneyu(affirmed, negated).statistic / (len(affirmed) * len(negated))
                result[name][word] = area if affirmed_first else 1 - area
    return result


def _mean(by_word: Mapping[str, float], words: list[str]) -> float:
    return float(np.mean([by_word[word] for word in words]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])

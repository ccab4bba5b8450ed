"""The model that finds a user's own notes best, without labels: questions made of the notes, and paired tests of the answers."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from medembed.errors import EvaluationError, SettingError
from medembed.evaluation import own_questions, own_ranking
from medembed.evaluation.comparison import MEAN, Pair, judged
from medembed.evaluation.models import Setup
from medembed.evaluation.own_questions import OwnNote, OwnQuestion, Trial
from medembed.evaluation.own_ranking import Ranked
from medembed.evaluation.paired import holm, paired_test

Floats = NDArray[np.float64]
QuestionWriter = Callable[[Sequence[OwnNote], int], Sequence[OwnQuestion]]

# kinds of questions; all count the same
KINDS = ("title", "heading", "lead", "asked", "cropped", "keyword")
# questions, notes that are searched at most, and questions shown of those that go worst
QUESTIONS, NOTES, WORST = 300, 2_000, 20
# with fewer questions nothing can be told
FEWEST_QUESTIONS = 10
MEASURED = 10  # the best notes that the measure looks at


@dataclass(frozen=True)
class Score:
    """The score of one system.

    Attributes:
        label: The system: a model, ``"bm25"``, ``"hybrid NAME"``.
        score: Mean of nDCG@10 over the kinds of questions, 0 to 1.
        by_kind: Kind → mean nDCG@10.
        seconds: Time to encode or index the notes and to answer.
        n_cut: Notes that are longer than it reads.
    """

    label: str
    score: float
    by_kind: dict[str, float]
    seconds: float
    n_cut: int


@dataclass(frozen=True)
class Worst:
    """A question that goes badly.

    Attributes:
        kind: Its kind.
        question: The question.
        note_id: The note that it is to find.
        note: That note's text, as it was searched.
        ranks: System → rank of the note, from 1; None where it is not among the best 100.
    """

    kind: str
    question: str
    note_id: str
    note: str
    ranks: dict[str, int | None]


@dataclass(frozen=True)
class Assessment:
    """Everything a report of one's own notes shows.

    Attributes:
        n_notes: Notes that were searched.
        n_read: Notes that were read; more than were searched where only some were drawn.
        n_repeated: Notes with the text of another, left out.
        questions: Kind → number of questions.
        weights: Kind → share of the score.
        scores: The systems, best first.
        pairs: Paired tests of each two systems on the score.
        worst: Questions that go worst, over all systems.
        seconds: Of the whole.
    """

    n_notes: int
    n_read: int
    n_repeated: int
    questions: dict[str, int]
    weights: dict[str, float]
    scores: list[Score]
    pairs: list[Pair]
    worst: list[Worst]
    seconds: float

    @property
    def verdict(self) -> str:
        """What the tests show of the best system, in a sentence or two."""
        best = self.scores[0].label
        against = {pair.second: pair for pair in self.pairs if pair.first == best}
        ahead = [label for label, pair in against.items() if pair.verdict == "better"]
        open_ = [label for label, pair in against.items() if pair.verdict != "better"]
        said = [f"{best} finds these notes better than {_listed(ahead)}."] if ahead else []
        if open_:
            said.append(f"Between {best} and {_listed(open_)} no difference can be shown.")
        return " ".join(said)


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def assess(
    notes: Iterable[OwnNote],
    models: Sequence[str],
    *,
    most_questions: int = QUESTIONS,
    most_notes: int = NOTES,
    seed: int = 0,
    setup: Setup | None = None,
    writer: QuestionWriter | None = None,
    told: Callable[[str], object] = lambda _: None,
) -> Assessment:
    """Tell which model finds notes best, by questions made of the notes themselves. With local models nothing leaves the machine.

    Each question is made of one note by rule, and what it was made of is cut out of that note. All notes are searched.

    Args:
        notes: Title and text, each id once.
        models: At least two, as for ``medembed.evaluation.own_ranking.systems``.
        most_questions: Questions at most.
        most_notes: Notes searched at most; of more, these are drawn.
        seed: Of all that is drawn.
        setup: Device, precision ...; None for the defaults.
        writer: Writes questions in place of the rules, of as many notes as it is told; None for the rules.
        told: Called with what is done next.

    Returns:
        Scores, paired tests, and the questions that go worst.

    Raises:
        SettingError: Fewer than two systems, or a name that is none.
        EvaluationError: The notes give too few questions.
        MedEmbedError: A model cannot be found or used.

    Example:
        >>> from medembed import demo
        >>> notes = [OwnNote(item.id, item.text) for item in demo.passages()]
        >>> found = assess(notes, ["bm25", "hybrid"], most_notes=60, most_questions=30)
        >>> found.n_notes, found.n_read, len(found.pairs)
        (60, 600, 1)
    """
    started = time.perf_counter()
    setup = setup or Setup()
    asked = own_ranking.systems(models, setup)
    if len(asked) < 2:
        raise SettingError("one system alone cannot be compared: name two or more, for instance mini bm25 hybrid")
    counted = _Counted(notes)
    drawn = own_questions.chosen(counted, most_notes, seed)
    kept = _without_repeats(drawn)
    told("questions")
    trial = _trial(kept, most_questions, seed, writer)
    answers = own_ranking.rank(asked, list(trial.texts.values()), [item.text for item in trial.questions], setup, told)
    places = {name: place for place, name in enumerate(trial.texts)}
    wanted = [places[item.note_id] for item in trial.questions]
    ranks = {
        answer.system.label: [_rank(*each) for each in zip(answer.rows, wanted, strict=True)] for answer in answers
    }
    weights = _weights(trial)
    scores = [_score(answer, trial, ranks[answer.system.label], weights) for answer in answers]
    scores.sort(key=lambda item: -item.score)
    return Assessment(
        n_notes=len(kept),
        n_read=counted.n,
        n_repeated=len(drawn) - len(kept),
        questions=dict(Counter(item.kind for item in trial.questions)),
        weights=weights,
        scores=scores,
        pairs=_pairs([item.label for item in scores], trial, ranks, weights, seed),
        worst=_worst(trial, ranks),
        seconds=time.perf_counter() - started,
    )


class _Counted:
    """An iterable that tells how many it gave."""

    def __init__(self, notes: Iterable[OwnNote]) -> None:
        self._notes, self.n = notes, 0

    def __iter__(self) -> Iterator[OwnNote]:
        for note in self._notes:
            self.n += 1
            yield note


def _without_repeats(notes: Sequence[OwnNote]) -> list[OwnNote]:
    """Notes whose text no other before them has: of two alike, a search cannot know which is asked for."""
    first: dict[str, OwnNote] = {}
    for note in notes:
        first.setdefault(" ".join(note.whole.split()), note)
    return list(first.values())


def _trial(notes: Sequence[OwnNote], most: int, seed: int, writer: QuestionWriter | None) -> Trial:
    if writer is None:
        trial = own_questions.by_rule(notes, most, KINDS, seed=seed)
    else:
        trial = Trial({note.id: note.whole for note in notes}, list(writer(notes, most)))
    if len(trial.questions) < FEWEST_QUESTIONS:
        raise EvaluationError(
            f"{len(notes)} notes give {len(trial.questions)} questions, and {FEWEST_QUESTIONS} are the least that tell anything: "
            "give more notes, or longer ones; a note needs about four sentences"
        )
    return trial


def _rank(rows: own_ranking.Integers, wanted: int) -> int | None:
    """Rank of a row, from 1. None where it is not there."""
    (found,) = np.nonzero(rows == wanted)
    return int(found[0]) + 1 if len(found) else None


def _gain(rank: int | None) -> float:
    """nDCG@10 of a question that one note answers."""
    return 1 / math.log2(rank + 1) if rank is not None and rank <= MEASURED else 0.0


def _weights(trial: Trial) -> dict[str, float]:
    """Share of each kind that has two questions or more, which a test needs."""
    counts = Counter(item.kind for item in trial.questions)
    told = [kind for kind, count in counts.items() if count > 1]
    return dict.fromkeys(told, 1 / len(told))


def _gains(trial: Trial, ranks: Sequence[int | None], kind: str) -> Floats:
    return np.array([_gain(rank) for item, rank in zip(trial.questions, ranks, strict=True) if item.kind == kind])


def _score(answer: Ranked, trial: Trial, ranks: Sequence[int | None], weights: Mapping[str, float]) -> Score:
    by_kind = {kind: float(_gains(trial, ranks, kind).mean()) for kind in weights}
    mean = sum(weights[kind] * value for kind, value in by_kind.items())
    return Score(answer.system.label, mean, by_kind, answer.seconds, answer.n_cut)


def _pairs(
    labels: Sequence[str],
    trial: Trial,
    ranks: Mapping[str, Sequence[int | None]],
    weights: Mapping[str, float],
    seed: int,
) -> list[Pair]:
    """Tests of each two systems, corrected together: the best was chosen by the same questions."""
    rows: list[Pair] = []
    for first, second in combinations(labels, 2):
        differences = [_gains(trial, ranks[first], kind) - _gains(trial, ranks[second], kind) for kind in weights]
        test = paired_test(differences, weights=list(weights.values()), seed=seed)
        numbers = (test.difference, test.low, test.high, test.p_value, test.p_value, test.n_queries)
        rows.append(Pair(MEAN, first, second, *numbers, ""))
    corrected = holm([row.p_value for row in rows])
    return [judged(row, p) for row, p in zip(rows, corrected, strict=True)]


def _worst(trial: Trial, ranks: Mapping[str, Sequence[int | None]]) -> list[Worst]:
    """The questions whose note stands lowest in the mean over all systems."""

    def height(place: int) -> float:
        return float(np.mean([1 / rank if (rank := own[place]) else 0.0 for own in ranks.values()]))

    lowest = sorted(range(len(trial.questions)), key=lambda place: (height(place), place))[:WORST]
    return [
        Worst(
            item.kind,
            item.text,
            item.note_id,
            trial.texts[item.note_id],
            {label: own[place] for label, own in ranks.items()},
        )
        for place in lowest
        for item in (trial.questions[place],)
    ]

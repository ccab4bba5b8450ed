"""Rankings of notes by models, BM25 and both together, as a search of a corpus ranks them. Everything is held in memory."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medembed.checkpoints.registry import BUNDLED
from medembed.colbert.model import MedColBERT
from medembed.corpus import hybrid, search
from medembed.corpus.hybrid import Hybrid
from medembed.corpus.scan import Block
from medembed.corpus.search import Index
from medembed.errors import SettingError
from medembed.evaluation.models import BM25, SCOPES, ModelRef, Setup, model_ref
from medembed.model import MedEmbed
from medembed.search.bm25 import Bm25

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

# notes that are ranked for each question: what stands further down counts as not found
DEPTH = 100
HYBRID = "hybrid"
# notes encoded and scored by MaxSim at a time: 200 tokens of 128 floats each are 100 MB
NOTES_AT_A_TIME = 1_000


@dataclass(frozen=True)
class System:
    """One way to search: a model, BM25, or both together.

    Attributes:
        label: As it is shown.
        model: What it encodes with; None for BM25 alone.
        with_words: Whether BM25 is added.
    """

    label: str
    model: ModelRef | None
    with_words: bool = False

    @property
    def key(self) -> tuple[str, str] | None:
        """What tells its model from others. None for BM25 alone."""
        return None if self.model is None else (self.model.kind, self.model.source)


@dataclass(frozen=True)
class Ranked:
    """The answers of a system.

    Attributes:
        system: The system.
        rows: Places of the best notes, for each question, best first.
        seconds: Time that encoding or indexing the notes and asking took; 0 where a model's own line holds it.
        n_cut: Notes that are longer than the model reads.
    """

    system: System
    rows: Sequence[Integers]
    seconds: float = 0.0
    n_cut: int = 0


def systems(names: Sequence[str], setup: Setup) -> list[System]:
    """The systems behind names. Models are looked up, and none is loaded.

    Args:
        names: Models as `medembed evaluate` takes them, dense or ``colbert:NAME``; ``bm25``; ``hybrid:NAME`` for a model and BM25
            together; ``hybrid`` for that with each dense model named, or with the bundled one.
        setup: How models are run.

    Raises:
        SettingError: A name that is no system here, or one given twice.
        MedEmbedError: A model cannot be found.
    """
    found: list[System] = []
    dense = [name for name in names if name not in (BM25, HYBRID) and not name.startswith((f"{HYBRID}:", "colbert:"))]
    for name in names:
        found.extend(_system(each, setup) for each in _spelt_out(name, dense))
    labels = [system.label for system in found]
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise SettingError(f"{', '.join(twice)}: named twice; name each once, and two folders as LABEL=FOLDER")
    return found


def _spelt_out(name: str, dense: Sequence[str]) -> list[str]:
    return [f"{HYBRID}:{model}" for model in dense or [BUNDLED]] if name == HYBRID else [name]


def _system(name: str, setup: Setup) -> System:
    if name == BM25:
        return System(BM25, None)
    with_words = name.startswith(f"{HYBRID}:")
    model = name.removeprefix(f"{HYBRID}:")
    if model.startswith(("st:", "mteb:")) or model.endswith(SCOPES) or (with_words and model == BM25):
        raise SettingError(
            f"{name!r} is not assessed: name models that medembed runs, bm25, hybrid, hybrid:NAME or colbert:NAME"
        )
    ref = model_ref(model, setup)
    if with_words and ref.kind == "late-interaction":
        raise SettingError(f"{name!r}: hybrid search is of dense models; leave {model!r} alone")
    label, _, folder = model.partition("=")
    shown = label if folder else model
    return System(f"{HYBRID} {shown}" if with_words else shown, ref, with_words)


def rank(
    asked: Sequence[System],
    texts: Sequence[str],
    questions: Sequence[str],
    setup: Setup,
    told: Callable[[str], object] = lambda _: None,
) -> list[Ranked]:
    """Search notes for questions with each system. A model that stands in two systems encodes once.

    Args:
        asked: The systems.
        texts: The notes.
        questions: The questions.
        setup: How models are run.
        told: Called with the name of each model before it runs.

    Returns:
        The answers, in the order of the systems.
    """
    found: dict[str, Ranked] = {}
    started = time.perf_counter()
    words = Bm25(texts) if any(system.model is None or system.with_words for system in asked) else None
    for system in asked:
        if system.model is None and words is not None:
            told(system.label)
            rows, scores = words.search(questions, DEPTH)
            # a note that shares no word with the question is not found
            kept = [row[score > 0] for row, score in zip(rows, scores, strict=True)]
            found[system.label] = Ranked(system, kept, time.perf_counter() - started)
    for key in dict.fromkeys(system.key for system in asked if system.key is not None):
        sharing = [system for system in asked if system.key == key]
        told(sharing[0].label)
        kind, source = key
        if kind == "late-interaction":
            answers = [_late(sharing[0], source, texts, questions, setup)]
        else:
            answers = list(_dense(sharing, source, texts, questions, words, setup))
        found |= {answer.system.label: answer for answer in answers}
    return [found[system.label] for system in asked]


def _dense(
    sharing: Sequence[System],
    source: str,
    texts: Sequence[str],
    questions: Sequence[str],
    words: Bm25 | None,
    setup: Setup,
) -> Iterator[Ranked]:
    """Answers of a model alone and together with BM25."""
    with MedEmbed(
        source,
        device=setup.device,
        precision=setup.precision,  # type: ignore[arg-type]
        threads=setup.threads,
        truncate_dim=setup.truncate_dim,
        max_seq_length=setup.max_seq_length,
        local_files_only=setup.local_files_only,
    ) as model:
        started = time.perf_counter()
        notes = model.encode_counted(texts, prompt_name="document")
        asked = model.encode_counted(questions, prompt_name="query").vectors
        seconds = time.perf_counter() - started
    stored = [Block(0, notes.vectors)]
    index = Index(stored, "float32", stored, "float32", None, None)
    for system in sharing:
        if not system.with_words:
            rows, _ = search.top_k(index, asked, DEPTH)
        elif words is not None:
            found = hybrid.candidates(index, words, questions, asked, DEPTH)
            rows = [hybrid.ranked(item, Hybrid(), DEPTH)[0] for item in found]
        yield Ranked(system, rows, seconds, notes.cut.texts)


def _late(system: System, source: str, texts: Sequence[str], questions: Sequence[str], setup: Setup) -> Ranked:
    """Answers of a late-interaction model, by exact MaxSim."""
    scores = np.empty((len(questions), len(texts)), dtype=np.float32)
    with MedColBERT(
        source,
        device=setup.device,
        precision=setup.precision,  # type: ignore[arg-type]
        threads=setup.threads,
        document_length=setup.max_seq_length,
        local_files_only=setup.local_files_only,
    ) as model:
        started = time.perf_counter()
        asked = model.encode_counted(questions, role="query").vectors
        n_cut = 0
        for start in range(0, len(texts), NOTES_AT_A_TIME):
            notes = model.encode_counted(texts[start : start + NOTES_AT_A_TIME])
            n_cut += notes.cut.texts
            scores[:, start : start + len(notes.vectors)] = model.similarity(asked, notes.vectors)
        seconds = time.perf_counter() - started
    best = np.argsort(-scores, axis=1, kind="stable")[:, :DEPTH]
    return Ranked(system, list(best), seconds, n_cut)

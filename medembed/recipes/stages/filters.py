"""Stage ``filters``: pairs → pairs worth training on, with a count for every reason."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from medembed.errors import EmptyStageError
from medembed.recipes import models, near_duplicates
from medembed.recipes.artifacts import ArtifactWriter
from medembed.recipes.decontamination import Overlap, beir_texts, normal_words
from medembed.recipes.fingerprint import told
from medembed.recipes.llm import GIVEN
from medembed.recipes.records import Failure, Pair, content_id, read_parquet, write_parquet
from medembed.recipes.schema import Recipe
from medembed.recipes.sources import Places, identity, verified
from medembed.recipes.stage import Stage, StageRun, Summary
from medembed.recipes.words import Words
from medembed.search import on_disk as topk

ROWS_A_PART = 16384
QUERY_WORDS, PASSAGE_WORDS = (1, 64), (8, 400)
SHARED_WORDS = 13  # words in a row that a pair may not share with a development set, as GPT-3's authors chose
Check = Callable[[Pair], str | None]

_MIN_DEGENERATE_WORDS = 8


def config(recipe: Recipe, places: Places, _round: int) -> Any:
    """The settings, the words, the development sets' contents and, for the round trip, the model."""
    sets = {name: identity(item, name, places) for name, item in sorted(recipe.development.items())}
    model = models.base_identity(recipe, places) if recipe.filters.round_trip_top_k else None
    words = told(recipe.words.model_dump(include={"pointers", "pointed_at", "openers"}))
    return {"filters": recipe.filters, "sets": sets, "model": model, **words}


def run(stage: StageRun) -> Summary:
    """Drop pair after pair, each with a reason. Stop with the counts when nothing is left."""
    dropped: Counter[str] = Counter()
    failures: list[Failure] = []
    kept: list[Pair] = []
    checks = _checks(stage)
    total = 0
    for pair in read_parquet(stage.inputs["pairs"].parts("pairs"), Pair):
        total += 1
        reason = next((reason for check in checks if (reason := check(pair))), None)
        stage.task.advance(failed=reason)
        if reason is None:
            kept.append(pair)
        else:
            failures.append(Failure(pair.pair_id, reason))
    overlapping = _drop_negatives(stage, kept)
    for reason, pairs in _dropped_together(stage, kept):
        gone = {id(pair) for pair in pairs}
        kept = [pair for pair in kept if id(pair) not in gone]
        failures += [Failure(pair.pair_id, reason) for pair in pairs]
    dropped.update(failure.reason for failure in failures)
    counts = dict(sorted(dropped.items()))
    if not kept:
        table = (
            "\n".join(f"  {count:>9,}  {reason}" for reason, count in dropped.most_common())
            or "  there were no pairs at all"
        )
        raise EmptyStageError(
            f"no pair is left after the filters. Of {total:,} pairs were dropped:\n{table}\nLoosen [filters], or look at the notes."
        )
    for index, start in enumerate(range(0, len(kept), ROWS_A_PART)):
        block = kept[start : start + ROWS_A_PART]
        stage.out.write_part("pairs", index, "parquet", lambda path, rows=block: write_parquet(path, rows, Pair))  # type: ignore[misc]
    stage.out.write_part("failures", 0, "parquet", lambda path: write_parquet(path, failures, Failure))
    negatives = {"negatives_dropped": overlapping} if overlapping else {}
    return {"rows": len(kept), "seen": total, "counts": counts, **negatives}


def _checks(stage: StageRun) -> list[Check]:
    """Checks of single pairs, the cheap ones first."""
    settings = stage.recipe.filters
    alone = [_relevance(settings.min_relevance), anaphoric(stage.recipe.words), _degenerate]
    checks: list[Check] = [_lengths, _exact_duplicates(), *alone]
    overlap = Overlap(_evaluation_texts(stage), SHARED_WORDS)

    def contaminated(pair: Pair) -> str | None:
        return overlap.reason(pair.query) or overlap.reason(pair.passage)

    return [*checks, contaminated]


def _drop_negatives(stage: StageRun, kept: list[Pair]) -> int:
    """Take out given negatives that a development set shares. Return how many."""
    if not any(pair.negatives for pair in kept):
        return 0
    overlap = Overlap(_evaluation_texts(stage), SHARED_WORDS)
    dropped = 0
    for pair in kept:
        fine = [text for text in pair.negatives if overlap.reason(text) is None]
        dropped += len(pair.negatives) - len(fine)
        pair.negatives[:] = fine
    return dropped


def _dropped_together(stage: StageRun, kept: list[Pair]) -> Iterator[tuple[str, list[Pair]]]:
    """Checks that need all pairs at once. ``kept`` is what is left when each begins."""
    settings = stage.recipe.filters
    if settings.near_duplicates < 1.0:
        indices = near_duplicates.find(
            [pair.query for pair in kept], [pair.passage for pair in kept], settings.near_duplicates
        )
        gone = [kept[index] for index in indices]
        yield "near duplicate", gone
        ids = {id(pair) for pair in gone}
        kept = [pair for pair in kept if id(pair) not in ids]
    if settings.round_trip_top_k and kept:
        yield f"own passage not in the top {settings.round_trip_top_k} for its query", _lost_round_trip(stage, kept)


def _lost_round_trip(stage: StageRun, kept: list[Pair]) -> list[Pair]:
    """Pairs whose passage does not come back when its query is searched among all passages."""
    recipe, execution = stage.recipe, stage.recipe.execution
    passages = {content_id(pair.passage): pair.passage for pair in kept}
    place = {passage_id: row for row, passage_id in enumerate(passages)}
    model, revision = models.miner(recipe, stage.places)
    scratch = ArtifactWriter(stage.out.scratch("vectors"))
    with models.load_encoder(model, execution, revision=revision) as encoder:
        prompts = encoder.spec.prompts
        queries = models.encode_in_parts(
            encoder, [pair.query for pair in kept], scratch, "query-vectors", stage.task, prompt=prompts["query"]
        )
        documents = models.encode_in_parts(
            encoder, [*passages.values()], scratch, "passage-vectors", stage.task, prompt=prompts["document"]
        )
    lost: list[Pair] = []
    for start, ranks in topk.ranks_of(queries, documents, [place[content_id(pair.passage)] for pair in kept]):
        lost += [kept[start + row] for row, rank in enumerate(ranks) if rank > recipe.filters.round_trip_top_k]
    return lost


def _evaluation_texts(stage: StageRun) -> Iterator[str]:
    for name, item in stage.recipe.development.items():
        yield from beir_texts(verified(item, name, stage.places))


def _lengths(pair: Pair) -> str | None:
    for what, text, (least, most) in (("query", pair.query, QUERY_WORDS), ("passage", pair.passage, PASSAGE_WORDS)):
        if not least <= len(text.split()) <= most:
            return f"{what} outside {least} to {most} words"
    return None


def _exact_duplicates() -> Check:
    """Drop a pair that was there before. Negatives that were given with it go to the first one."""
    seen: dict[str, Pair] = {}

    def check(pair: Pair) -> str | None:
        key = content_id(" ".join(normal_words(pair.query)), " ".join(normal_words(pair.passage)))
        first = seen.setdefault(key, pair)
        if first is pair:
            return None
        first.negatives.extend(text for text in pair.negatives if text not in first.negatives)
        return "exact duplicate"

    return check


def _relevance(least: int) -> Check:
    return lambda pair: f"relevance score below {least}" if pair.relevance_score < least else None


def anaphoric(words: Words) -> Check:
    """Drop a query that points at "the case" or "this study". Any note answers it: it teaches that all notes are alike."""
    points = words.anaphoric
    return lambda pair: "anaphoric query" if pair.query_type != GIVEN and points.search(pair.query) else None


def _degenerate(pair: Pair) -> str | None:
    """A positive that says nothing beyond its query, or hardly anything at all."""
    query, passage = normal_words(pair.query), normal_words(pair.passage)
    if len(set(passage)) < _MIN_DEGENERATE_WORDS or set(passage) <= set(query):
        return "degenerate positive"
    return None


STAGE = Stage("filters", 1, "pairs worth training on", config, run)

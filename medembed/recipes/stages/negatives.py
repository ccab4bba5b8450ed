"""Stage ``negatives``: for each pair, passages that look like its answer and are none."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medembed.extras import require
from medembed.recipes import models
from medembed.recipes.artifacts import ArtifactWriter
from medembed.recipes.decontamination import normal_words
from medembed.recipes.fingerprint import folder_sha256
from medembed.recipes.records import Mined, Pair, content_id, document_of, read_parquet, write_parquet
from medembed.recipes.schema import Negatives, Recipe
from medembed.recipes.sources import Places
from medembed.recipes.stage import Stage, StageRun, Summary
from medembed.recipes.training import selection
from medembed.search import on_disk as topk
from medembed.search.bm25 import Bm25

QUERIES_A_BLOCK = topk.QUERIES_A_BLOCK
_RESCORED = 3  # candidates a cross-encoder sees for every negative that is wanted


@dataclass(frozen=True)
class Corpus:
    """All pairs and their distinct passages, with what is needed to tell a false negative.

    Attributes:
        pairs: The pairs.
        passages: Distinct passages by hash.
        positive: Row of each pair's passage. *Shape:* ``(pairs,)``.
        content: Number that equal passages share, case and punctuation aside. *Shape:* ``(passages,)``.
        documents: Numbers of the documents that each passage stands in.
        answers: Rows that any pair with the same query names as its passage.
        given: Rows of the negatives that each pair brings along. They may be mined for other pairs.
    """

    pairs: list[Pair]
    passages: dict[str, str]
    positive: NDArray[np.int64]
    content: NDArray[np.int64]
    documents: list[set[int]]
    answers: dict[str, set[int]]
    given: list[NDArray[np.int64]]


def config(recipe: Recipe, places: Places, _round: int) -> Any:
    """The settings, the pairs that triplets take, and the base.

    Later rounds mine with the model that enters as an input.
    """
    negatives = recipe.negatives
    uses_dense = negatives.method in ("dense", "both")
    selected = recipe.triplets.model_dump(mode="json", include={"caps", "draw"}) | {"seed": recipe.seed}
    judge = _local_judge(negatives)
    return {
        "negatives": negatives.model_dump(mode="json", exclude={"rounds"}),
        "base": models.base_identity(recipe, places) if uses_dense else None,
        "max_tokens": recipe.train.max_passage_tokens if uses_dense else None,
        "selected": selected,
        "cross_encoder": None if judge is None else folder_sha256(judge),
    }


def run(stage: StageRun) -> Summary:
    """Mine block after block of queries. Finished blocks are not mined again."""
    pairs = read_parquet(stage.inputs["filters"].parts("pairs"), Pair)
    corpus = read_corpus(selection.select(pairs, stage.recipe.triplets, stage.recipe.seed))
    settings = stage.recipe.negatives
    blocks = range(0, len(corpus.pairs), QUERIES_A_BLOCK)
    stage.task.expect(len(corpus.pairs))
    if settings.method == "none":
        for index, start in enumerate(blocks):
            _write(stage, index, [_as_given(pair) for pair in corpus.pairs[start : start + QUERIES_A_BLOCK]])
    else:
        missing = [index for index in range(len(blocks)) if stage.out.part("mined", index) is None]
        stage.task.advance(
            len(corpus.pairs) - sum(len(corpus.pairs[blocks[i] : blocks[i] + QUERIES_A_BLOCK]) for i in missing)
        )
        if missing:
            _mine_blocks(stage, corpus, [(index, blocks[index]) for index in missing])
    parts = [path for index in range(len(blocks)) if (path := stage.out.part("mined", index)) is not None]
    found = [len(mined.negative_ids) for mined in read_parquet(parts, Mined)]
    full = sum(count >= settings.per_query for count in found)
    return {"rows": len(found), "negatives": sum(found), "counts": {"full": full, "none found": found.count(0)}}


def read_corpus(pairs: list[Pair]) -> Corpus:
    """Number passages, their contents and their documents. Given negatives come after all positives."""
    passages: dict[str, str] = {}
    places: dict[str, int] = {}
    contents: dict[str, int] = {}
    numbers: dict[tuple[str, str], int] = {}
    documents: list[set[int]] = []
    content: list[int] = []
    answers: dict[str, set[int]] = {}

    def place(text: str) -> int:
        key = content_id(text)
        if key not in places:
            places[key] = len(places)
            passages[key] = text
            content.append(contents.setdefault(content_id(*normal_words(text)), len(contents)))
            documents.append(set())
        return places[key]

    positive = []
    for pair in pairs:
        own = place(pair.passage)
        documents[own].add(numbers.setdefault(document_of(pair), len(numbers)))
        positive.append(own)
        answers.setdefault(_query_key(pair), set()).add(own)
    given = [np.array([place(text) for text in pair.negatives], dtype=np.int64) for pair in pairs]
    return Corpus(pairs, passages, np.array(positive), np.array(content), documents, answers, given)


def _query_key(pair: Pair) -> str:
    return " ".join(normal_words(pair.query))


def allowed(corpus: Corpus, index: int, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Candidates that may be negatives of a pair, as a mask.

    An equal passage, any passage of the pair's document, any other answer to its query, and what it brings along may not.
    """
    own = int(corpus.positive[index])
    fine: NDArray[np.bool_] = corpus.content[rows] != corpus.content[own]
    fine &= np.array([corpus.documents[own].isdisjoint(corpus.documents[row]) for row in rows], dtype=np.bool_)
    fine &= ~np.isin(rows, [*corpus.answers[_query_key(corpus.pairs[index])], *corpus.given[index]])
    return fine


def choose(rows: NDArray[np.int64], scores: NDArray[np.float32], positive: float, settings: Negatives) -> list[int]:
    """Places of the negatives in a ranked list: among the best, and below the positive by the margin.

    Args:
        rows: Candidates, best first, false negatives already taken out.
        scores: Their scores.
        positive: Score of the positive.
        settings: Number of ranks, ratio and count.

    Returns:
        At most ``settings.per_query`` indices into ``rows``.
    """
    last = min(settings.rank_to, len(rows))
    ceiling = positive * settings.max_score_ratio
    fitting = [place for place in range(last) if scores[place] <= ceiling]
    return fitting[: settings.per_query]


def _mine_blocks(stage: StageRun, corpus: Corpus, blocks: list[tuple[int, int]]) -> None:
    """Encode what is needed once, then rank, choose and store each block."""
    settings = stage.recipe.negatives
    passages = list(corpus.passages.values())
    lexical = Bm25(passages) if settings.method in ("bm25", "both") else None
    dense = _vectors(stage, corpus, passages) if settings.method in ("dense", "both") else None
    rescorer = _cross_encoder(stage) if settings.cross_encoder else None
    ids = list(corpus.passages)
    for number, start in blocks:
        mined: list[Mined] = []
        for index, ranking, own in _rankings(corpus, start, settings, dense, lexical):
            given = corpus.given[index]
            rows, scores, positive = ranking
            if rescorer is not None:
                rows, scores, positive = _rescore(rescorer, corpus, index, passages, ranking, settings)
                own = _judged(rescorer, corpus, index, passages, given)  # noqa: PLW2901  on the judge's scale too
            places = choose(rows, scores, positive, settings)[: max(0, settings.per_query - len(given))]
            pair = corpus.pairs[index]
            chosen = [*given, *(rows[place] for place in places)]
            scored = [positive, *map(float, own), *(float(scores[place]) for place in places)]
            mined.append(Mined(pair.pair_id, ids[corpus.positive[index]], [ids[row] for row in chosen], scored))
            stage.task.advance()
        _write(stage, number, mined)


Vectors = tuple[list[Any], list[Any]]
Ranking = tuple[NDArray[np.int64], NDArray[np.float32], float]


def _vectors(stage: StageRun, corpus: Corpus, passages: list[str]) -> Vectors:
    """Parts of query and of passage vectors, kept until the stage is finished.

    Passages are read as far as training will read them: what lies beyond could make no negative harder, and costs most.
    """
    recipe = stage.recipe
    model, revision = models.miner(recipe, stage.places, stage.inputs.get("model"))
    scratch = ArtifactWriter(stage.out.scratch("vectors"))
    with (
        models.load_encoder(
            model, recipe.execution, revision=revision, max_seq_length=recipe.train.max_passage_tokens
        ) as encoder,
        stage.task.reporter.task("encode", "texts") as task,
    ):
        task.expect(len(corpus.pairs) + len(passages))
        prompts = encoder.spec.prompts
        queries = models.encode_in_parts(
            encoder, [pair.query for pair in corpus.pairs], scratch, "queries", task, prompt=prompts["query"]
        )
        documents = models.encode_in_parts(encoder, passages, scratch, "passages", task, prompt=prompts["document"])
    return queries, documents


def _rankings(
    corpus: Corpus, start: int, settings: Negatives, dense: Vectors | None, lexical: Bm25 | None
) -> Iterator[tuple[int, Ranking, Sequence[float]]]:
    """Ranked candidates of each pair of a block, false negatives taken out, and the scores of its given negatives.

    With both miners the lists are joined and ranked by the dense score, so that one threshold fits all.
    """
    pairs = corpus.pairs[start : start + QUERIES_A_BLOCK]
    positives = corpus.positive[start : start + len(pairs)]
    # the positive and its look-alikes take ranks too; some spare ones keep the list long enough after the mask
    depth = settings.rank_to + 10
    words = lexical.search([pair.query for pair in pairs], depth) if lexical else None
    if dense is None:
        assert lexical is not None and words is not None  # noqa: S101, PT018  our own branches above
        for place, pair in enumerate(pairs):
            own = lexical.score_of(pair.query, int(positives[place]))
            given = [lexical.score_of(pair.query, int(row)) for row in corpus.given[start + place]]
            yield start + place, _masked(corpus, start + place, words[0][place], words[1][place], own), given
        return
    queries = topk.vectors_at(dense[0], np.arange(start, start + len(pairs)))
    own_scores = np.einsum("nd,nd->n", queries, topk.vectors_at(dense[1], positives))
    rows, scores = topk.search(queries, dense[1], depth)
    for place in range(len(pairs)):
        found, values = rows[place], scores[place]
        if words is not None:
            extra = np.setdiff1d(words[0][place], found)
            found = np.concatenate([found, extra])
            values = np.concatenate([values, topk.vectors_at(dense[1], extra) @ queries[place]])
            order = np.lexsort((found, -values))
            found, values = found[order], values[order]
        rows_given = corpus.given[start + place]
        given = topk.vectors_at(dense[1], rows_given) @ queries[place] if len(rows_given) else []
        yield start + place, _masked(corpus, start + place, found, values, float(own_scores[place])), given


def _masked(
    corpus: Corpus, index: int, rows: NDArray[np.int64], scores: NDArray[np.float32], positive: float
) -> Ranking:
    fine = allowed(corpus, index, rows)
    return rows[fine], scores[fine], positive


def _local_judge(settings: Negatives) -> Path | None:
    """The cross-encoder's folder where it is one: its contents then tell it from another, not its place."""
    folder = Path(settings.cross_encoder or "").expanduser()
    return folder if settings.cross_encoder and folder.is_dir() else None


def _cross_encoder(stage: StageRun) -> Callable[[list[tuple[str, str]]], NDArray[np.float64]]:
    """Scores of (query, passage) pairs between 0 and 1, so that "95% of the positive's" means something."""
    settings, device = stage.recipe.negatives, stage.recipe.execution.device
    library, torch = require("sentence_transformers"), require("torch")
    on_disk = _local_judge(settings)
    model = library.CrossEncoder(
        str(on_disk or settings.cross_encoder),
        revision=settings.cross_encoder_revision,
        device=None if device == "auto" else device,
        model_kwargs={"use_safetensors": True},
        local_files_only=on_disk is not None,  # otherwise the hub is asked about a folder's name
        trust_remote_code=False,
    )

    def scores(pairs: list[tuple[str, str]]) -> NDArray[np.float64]:
        # a sigmoid of our own: a model of one output may come with it or without
        found = model.predict(pairs, activation_fn=torch.nn.Sigmoid(), show_progress_bar=False)
        return np.asarray(found, dtype=np.float64).reshape(-1)

    return scores


def _rescore(
    judge: Callable[[list[tuple[str, str]]], NDArray[np.float64]],
    corpus: Corpus,
    index: int,
    passages: list[str],
    ranking: Ranking,
    settings: Negatives,
) -> Ranking:
    """Candidates that fit by the first score, ranked again by the cross-encoder's."""
    rows, scores, positive = ranking
    wide = settings.model_copy(update={"per_query": settings.per_query * _RESCORED})
    rows = rows[choose(rows, scores, positive, wide)]
    query = corpus.pairs[index].query
    texts = [passages[int(corpus.positive[index])], *(passages[row] for row in rows)]
    judged = judge([(query, text) for text in texts])
    order = np.argsort(-judged[1:], kind="stable")
    return rows[order], judged[1:][order].astype(np.float32), float(judged[0])


def _judged(
    judge: Callable[[list[tuple[str, str]]], NDArray[np.float64]],
    corpus: Corpus,
    index: int,
    passages: list[str],
    rows: NDArray[np.int64],
) -> Sequence[float]:
    """Scores of a pair's given negatives by the cross-encoder."""
    query = corpus.pairs[index].query
    return judge([(query, passages[row]) for row in rows]).tolist() if len(rows) else []


def _as_given(pair: Pair) -> Mined:
    """What a pair brings along, with no scores: nothing was mined."""
    return Mined(pair.pair_id, content_id(pair.passage), [content_id(text) for text in pair.negatives], [])


def _write(stage: StageRun, index: int, mined: list[Mined]) -> None:
    stage.out.write_part("mined", index, "parquet", lambda path: write_parquet(path, mined, Mined))


STAGE = Stage("negatives", 3, "hard negatives of each pair", config, run)

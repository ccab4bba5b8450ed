"""The settings of a recipe: one typed section per stage, and ``execution`` apart because it never changes a result."""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from medembed.recipes.execution import Execution
from medembed.recipes.llm import Llm
from medembed.recipes.section import Count, Positive, Ratio, Section
from medembed.recipes.source_settings import NoteSource, PairSource
from medembed.recipes.train_settings import Train
from medembed.recipes.words import Card, Words

ExtractiveKind = Literal[
    "title", "heading", "question", "term", "lead", "cropped", "keyword", "acronym", "claim", "asked"
]


class Base(Section):
    """The model that training starts from, and the prompts put before queries and documents.

    Attributes:
        model: A registered name, a hub id, a folder, or ``recipe:NAME``: the model that another recipe publishes.
        revision: Commit of a hub model, or hash of published weights.
        query_prompt: Words before each query; left out, as the model itself declares.
        document_prompt: Words before each document; left out, as the model itself declares.
    """

    model: str = "mini"
    revision: str | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None


class Notes(Section):
    """Cleaning and cutting: windows of ``min_words`` to ``max_words`` that end where sentences end.

    Attributes:
        min_words: Shorter windows are left out.
        max_words: Longest window, cut where a sentence ends.
    """

    sources: dict[str, NoteSource] = {}
    min_words: Positive = 20
    max_words: Positive = 180

    @model_validator(mode="after")
    def _window_is_possible(self) -> "Notes":
        if self.min_words >= self.max_words:
            raise ValueError(f"min_words ({self.min_words}) must be below max_words ({self.max_words})")
        return self


class Extractive(Section):
    """Pairs by rule, without a language model. A note gives at most ``per_note`` of each kind.

    Attributes:
        kinds: Rules that make queries of a note.
        per_note: Pairs of each kind that a note gives at most.
    """

    kinds: tuple[ExtractiveKind, ...] = ("title", "heading", "question", "term", "lead", "cropped")
    per_note: Positive = 1


class Pairs(Section):
    """The writer of pairs, and pairs that exist already.

    Attributes:
        writer: By rule, by vLLM in this process, by an endpoint, or nobody.
    """

    writer: Literal["extractive", "vllm_local", "openai_endpoint", "none"] = "extractive"
    extractive: Extractive = Extractive()
    llm: Llm = Llm()
    sources: dict[str, PairSource] = {}

    @property
    def asks_model(self) -> bool:
        """Tell whether a language model writes. If so, each reply is worth keeping at once."""
        return self.writer in ("vllm_local", "openai_endpoint")


class Filters(Section):
    """Thresholds for dropping pairs. ``round_trip_top_k = 0`` and ``near_duplicates = 1`` switch a check off.

    Attributes:
        near_duplicates: Share of words from which two pairs count as one; 1 switches it off.
        min_relevance: Lowest grade that the writer gave to a pair that is kept.
        round_trip_top_k: Rank at which the model must find the passage for its query; 0 switches it off.
    """

    near_duplicates: Ratio = 0.9
    min_relevance: Count = 3
    round_trip_top_k: Count = 0


class Negatives(Section):
    """Hard negatives: the best ``rank_to`` candidates, none scoring above ``max_score_ratio`` of its positive.

    Attributes:
        method: Who finds candidates: vectors, BM25, both, or nobody.
        per_query: Hard negatives of a query.
        rank_to: Candidates looked at for each query.
        max_score_ratio: A candidate above this share of the positive's score may be an answer, and is left out.
        cross_encoder: Model that scores candidates again.
        cross_encoder_revision: Its commit.
        rounds: Rounds of mining and training; each mines with the model of the one before.
    """

    method: Literal["dense", "bm25", "both", "none"] = "dense"
    per_query: Positive = 4
    rank_to: Positive = 40
    max_score_ratio: Annotated[float, Field(gt=0.0, le=1.0)] = 0.95
    cross_encoder: str | None = None
    cross_encoder_revision: str | None = None
    rounds: Positive = 1

    @model_validator(mode="after")
    def _ranks_hold_enough(self) -> "Negatives":
        if self.rank_to < self.per_query:
            raise ValueError(f"ranks 1 to {self.rank_to} cannot hold per_query = {self.per_query} negatives")
        return self


class Triplets(Section):
    """The training rows: caps per source, and the share of documents kept apart to watch the loss.

    Attributes:
        caps: Rows of a source at most.
        draw: Another number draws other rows under the caps.
        held_out: Share of documents kept apart to watch the loss.
    """

    caps: dict[str, Count] = {}
    draw: Count = 0
    held_out: Annotated[float, Field(ge=0.0, le=0.5)] = 0.02


class Later(Section):
    """Settings that hold from the second round of mining and training on, in place of the first round's.

    Attributes:
        negatives: Settings of mining.
        triplets: Settings of the rows.
        train: Settings of training.
    """

    negatives: dict[str, Any] = {}
    triplets: dict[str, Any] = {}
    train: dict[str, Any] = {}


class Merge(Section):
    """Interpolation of base and tuned weights.

    A ratio of 1 is the tuned model. The best on the development sets is kept.

    Attributes:
        ratios: Shares of the tuned weights to try.
        average_rounds: Whether the mean of every round's tuned weights is taken in place of the last round's.
        runs: Times that the last round is trained, each with another seed. The mean of their weights is taken (Wortsman et al. 2022,
            arXiv:2203.05482).
        anchor: Model whose weights are mixed in; left out, the base. In a chain of recipes an earlier model may lose less.
        anchor_revision: Commit of an anchor on the hub, or hash of published weights.
    """

    ratios: tuple[Ratio, ...] = (0.3, 0.5, 0.7, 1.0)
    average_rounds: bool = False
    runs: Positive = 1
    anchor: str | None = None
    anchor_revision: str | None = None

    @model_validator(mode="after")
    def _keeps_something_tuned(self) -> "Merge":
        if self.anchor is not None and 0.0 in self.ratios:
            raise ValueError("merge.anchor with a ratio of 0 would publish the anchor itself: name ratios above 0")
        return self


class Score(Section):
    """The measure at the end.

    Attributes:
        must_rise: Whether the run fails when the mean over the development sets is not above the base's.
        max_seq_length: Tokens read of each text; left out, as the model says.
    """

    must_rise: bool = False
    max_seq_length: Positive | None = None


class Publish(Section):
    """The folder that others load.

    Attributes:
        name: Name of the model and of its folder.
        onnx: Whether an ONNX file is written as well.
        short_dims: Dimensions for which directions are learnt in which cut vectors lose least. Dense models.
        max_seq_length: Tokens that it reads unless told otherwise; left out, as its base.
        license: License of the weights.
    """

    name: str = "medembed-custom"
    onnx: bool = False
    short_dims: tuple[Positive, ...] = ()
    max_seq_length: Positive | None = None
    license: str = "apache-2.0"


class Development(Section):
    """A retrieval set to choose on, never to train on: a BEIR folder (corpus, queries, qrels).

    Attributes:
        path: The folder.
        sha256: Hash that it must have.
        origin: Where it comes from, for the card.
        license: Under which license.
        max_queries: Queries at most, drawn by hash.
        max_documents: Documents at most: what the kept queries need is kept, and others are drawn by hash.
    """

    path: str
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    origin: str = ""
    license: str = ""
    max_queries: Positive | None = None
    max_documents: Positive | None = None


class Recipe(Section):
    """A whole recipe. ``scale`` shrinks the data of a run, so that a path can be proved in minutes.

    Attributes:
        name: Name of the recipe, and of its folder of results.
        description: What it makes, for the card.
        hardware: What it was made for, for the list of recipes.
        seed: Of every draw.
        scale: Share of the data that a run takes.
    """

    name: Annotated[str, Field(pattern="^[a-z0-9][a-z0-9._-]*$")]
    description: str = ""
    hardware: str = ""
    seed: int = 13
    scale: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    words: Words = Words()
    card: Card = Card()
    base: Base = Base()
    notes: Notes = Notes()
    pairs: Pairs = Pairs()
    filters: Filters = Filters()
    negatives: Negatives = Negatives()
    triplets: Triplets = Triplets()
    train: Train = Train()
    merge: Merge = Merge()
    score: Score = Score()
    publish: Publish = Publish()
    later: Later = Later()
    development: dict[str, Development] = {}
    execution: Execution = Execution()

    def of_round(self, number: int) -> "Recipe":
        """The recipe as one round of mining and training reads it: ``later`` holds from the second round on."""
        if number == 1:
            return self
        return self.model_copy(
            update={name: _changed(getattr(self, name), name, given) for name, given in self.later if given}
        )

    @model_validator(mode="after")
    def _later_rounds_fit(self) -> "Recipe":
        self.of_round(2)  # a setting that no later round could read is refused before the first begins
        return self

    @model_validator(mode="after")
    def _has_something_to_do(self) -> "Recipe":
        if not self.notes.sources and not self.pairs.sources:
            raise ValueError("no data: add [notes.sources.NAME] or [pairs.sources.NAME]")
        if self.pairs.writer == "none" and not self.pairs.sources:
            raise ValueError("pairs.writer = 'none' needs at least one [pairs.sources.NAME]")
        if self.train.trainable == "projection" and self.merge.ratios != (1.0,):
            raise ValueError("trainable = 'projection' leaves nothing to interpolate: say merge.ratios = [1.0]")
        if len(self.merge.ratios) > 1 and not self.development:
            raise ValueError("choosing between merge.ratios needs at least one [development.NAME] set")
        return self


def _changed(section: Section, name: str, given: dict[str, Any]) -> Section:
    """A section with what ``later`` says on top of it, checked whole."""
    try:
        return type(section).model_validate(section.model_dump() | given)
    except ValidationError as error:
        # told where the user wrote it
        details = [{**told, "loc": ("later", name, *told["loc"])} for told in error.errors()]
        raise ValidationError.from_exception_data("Recipe", details) from None  # type: ignore[arg-type]

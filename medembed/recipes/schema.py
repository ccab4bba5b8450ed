"""The settings of a recipe: one typed section per stage, and ``execution`` apart because it never changes a result."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from medembed.recipes.llm import Llm
from medembed.recipes.section import Count, Positive, Ratio, Section
from medembed.recipes.vllm_options import VllmOptions
from medembed.recipes.words import Card, Words
from medembed.rows.dialect import Dialect

Grouping = Literal["none", "document", "neighbors"]
ExtractiveKind = Literal[
    "title", "heading", "question", "term", "lead", "cropped", "keyword", "acronym", "claim", "asked"
]


class Base(Section):
    """The model that training starts from, and the prompts put before queries and documents.

    ``model`` is a registered name, a hub id, a folder, or ``recipe:NAME``: the model that another recipe publishes.
    """

    model: str = "mini"
    revision: str | None = None
    query_prompt: str | None = None  # None: as the model itself declares
    document_prompt: str | None = None


class Source(Section):
    """One file, folder or hub dataset of text, with where it came from and under which license."""

    format: Literal["jsonl", "csv", "parquet", "text", "articles", "hub", "beir"]
    path: str | None = None
    url: str | None = None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    dataset: str | None = None
    revision: str | None = None
    config: str | None = None
    split: str = "train"
    limit: Positive | None = None
    delimiter: str | None = None  # of csv; None: as medembed.rows.dialect finds it out
    quote: str = '"'  # of csv; "none" where quotes are ordinary characters
    header: bool = True  # of csv; without, columns are named "1", "2" and so on
    encoding: str = "utf-8"
    origin: str = ""
    license: str = ""
    attribution: str = ""

    @property
    def dialect(self) -> Dialect:
        """How its files are written, where they are text."""
        quote = None if self.quote == "none" else self.quote
        return Dialect(self.delimiter, quote, self.encoding, self.header, of_recipe=True)

    @model_validator(mode="after")
    def _dialect_means_something(self) -> "Source":
        if self.dialect.of_tables() and self.format != "csv":
            raise ValueError(
                f"delimiter, quote and header are for format 'csv', and this is '{self.format}': leave them out"
            )
        if self.dialect.encoding != "utf-8" and self.format in ("parquet", "hub", "beir"):
            raise ValueError(f"encoding is for files of text, and this is '{self.format}': leave it out")
        return self

    @model_validator(mode="after")
    def _names_its_data(self) -> "Source":
        if self.format == "hub":
            if not (self.dataset and self.revision):
                raise ValueError("format 'hub' needs dataset and revision (best a commit: then the data cannot change)")
        elif not self.path:
            raise ValueError(f"format '{self.format}' needs path")
        return self

    def read_with(self, columns: set[str]) -> dict[str, Any]:
        """What decides its rows beside its content, for fingerprints. A dialect enters where it is not the usual one."""
        told = self.model_dump(mode="json", include={"format", "limit", *columns})
        return told | self.model_dump(
            mode="json", include={"delimiter", "quote", "header", "encoding"}, exclude_defaults=True
        )


class NoteSource(Source):
    """Notes or articles. ``text`` and ``id`` name the columns (CSV, JSONL, Parquet, hub)."""

    text: str = "text"
    id: str | None = None
    title: str | None = None


class PairSource(Source):
    """Ready pairs: ``query`` and ``positive`` columns, and one that names the row's own source, where there is one.

    Attributes:
        positive: A text or a list of texts; each makes a pair with the query.
        negatives: Column or columns of passages that are no answer, each a text or a list of texts. Rows of the same query and
            positive are one row with the negatives of all. FlagEmbedding: ``positive = "pos"``, ``negatives = "neg"``.
    """

    query: str = "query"
    positive: str = "positive"
    negatives: str | tuple[str, ...] = ()
    source: str | None = "source"
    id: str | None = "doc_id"

    @property
    def negative_columns(self) -> tuple[str, ...]:
        """The columns of negatives."""
        return (self.negatives,) if isinstance(self.negatives, str) else self.negatives


class Notes(Section):
    """Cleaning and cutting: windows of ``min_words`` to ``max_words`` that end where sentences end."""

    sources: dict[str, NoteSource] = {}
    min_words: Positive = 20
    max_words: Positive = 180

    @model_validator(mode="after")
    def _window_is_possible(self) -> "Notes":
        if self.min_words >= self.max_words:
            raise ValueError(f"min_words ({self.min_words}) must be below max_words ({self.max_words})")
        return self


class Extractive(Section):
    """Pairs by rule, without a language model. A note gives at most ``per_note`` of each kind."""

    kinds: tuple[ExtractiveKind, ...] = ("title", "heading", "question", "term", "lead", "cropped")
    per_note: Positive = 1


class Pairs(Section):
    """The writer of pairs, and pairs that exist already."""

    writer: Literal["extractive", "vllm_local", "openai_endpoint", "none"] = "extractive"
    extractive: Extractive = Extractive()
    llm: Llm = Llm()
    sources: dict[str, PairSource] = {}

    @property
    def asks_model(self) -> bool:
        """Tell whether a language model writes. If so, each reply is worth keeping at once."""
        return self.writer in ("vllm_local", "openai_endpoint")


class Filters(Section):
    """Thresholds for dropping pairs. ``round_trip_top_k = 0`` and ``near_duplicates = 1`` switch a check off."""

    near_duplicates: Ratio = 0.9
    min_relevance: Count = 3
    round_trip_top_k: Count = 0


class Negatives(Section):
    """Hard negatives: the best ``rank_to`` candidates, none scoring above ``max_score_ratio`` of its positive."""

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


class LaterTriplets(Section):
    """Settings that hold from the second round of mining and training on."""

    caps: dict[str, Count] | None = None
    draw: Count | None = None


class Triplets(Section):
    """The training rows: caps per source, and the share of documents kept apart to watch the loss."""

    caps: dict[str, Count] = {}
    draw: Count = 0  # other numbers, other rows under the caps
    held_out: Annotated[float, Field(ge=0.0, le=0.5)] = 0.02
    later: LaterTriplets = LaterTriplets()


class Teacher(Section):
    """The model that a batch's order is learnt from.

    Its scores are mean MaxSim and, where asked for, a share of the cosine and of BM25 (1 for a query's best).
    """

    model: str  # a late-interaction model; a dense one too where cosine is above 0, as the bundled model's folder is
    cosine: Annotated[float, Field(ge=0.0)] = 0.0
    bm25: Annotated[float, Field(ge=0.0)] = 0.0
    temperature: Annotated[float, Field(gt=0.0)] = 0.03
    # how far it reads passages; None: as the model itself says
    max_seq_length: Positive | None = None


class Contrasts(Section):
    """Contrasts that a rule makes: a query, a passage that fits and one that differs in a single respect, beside each batch of rows.

    Attributes:
        sources: Notes whose sentences are changed by rule, and put before frames. Without any, frames alone are used.
        batch_size: Contrasts beside each batch; 0 for none.
        weight: What their loss counts beside the rows' loss.
        temperature: Of their cosines.
        kept: What the distance from the vectors of the model that training starts from counts, so that what it knows stays.
    """

    sources: dict[str, NoteSource] = {}
    batch_size: Count = 0
    weight: Annotated[float, Field(gt=0.0)] = 1.0
    temperature: Annotated[float, Field(gt=0.0)] = 0.05
    kept: Annotated[float, Field(ge=0.0)] = 0.0


class Train(Section):
    """Contrastive training on sentence-transformers' trainers."""

    architecture: Literal["dense", "colbert"] = "dense"
    # colbert: "projection" leaves the encoder as it is and computes its token states once
    trainable: Literal["all", "projection"] = "all"
    # with a frozen encoder: begin as the first principal directions of its token states
    projection: Literal["random", "principal"] = "random"
    # colbert: it gets no vectors
    skip_punctuation: bool = False
    loss: Literal["mnr", "cached_mnr", "cached_gist", "margin_mse", "kl", "batch_kl"] = "mnr"
    teacher: Teacher | None = None  # for batch_kl
    contrasts: Contrasts = Contrasts()
    symmetric: bool = False
    guide: str | None = None
    matryoshka_dims: tuple[Positive, ...] = ()
    # batch_kl: shorter vectors in directions learnt from the weights that the run starts from, not their first components
    matryoshka_directions: bool = False
    temperature: Annotated[float, Field(gt=0.0)] = 0.05
    negatives_per_query: Count = 1
    batch_size: Positive = 64
    micro_batch_tokens: Count = 2048  # padded tokens computed at once; 0 computes each batch as it comes
    learning_rate: Annotated[float, Field(gt=0.0)] = 2e-5
    epochs: Annotated[float, Field(gt=0.0)] = 1.0
    max_steps: Count = 0  # 0: as many as the epochs give
    max_query_tokens: Positive = 64
    max_passage_tokens: Positive = 160
    precision: Literal["auto", "bf16", "fp32"] = "auto"  # "auto": bf16 where the device multiplies it natively
    grouping: Grouping = "none"  # rows of a document, or each other's mined negatives, share a batch
    group_size: Positive = 8
    evaluations: Count = 4
    start_from: Literal["base", "previous_round"] = "base"
    lora_rank: Count = 0  # low-rank adapters instead of full tuning, merged when saved; 0 switches them off

    @model_validator(mode="after")
    def _loss_has_what_it_needs(self) -> "Train":
        if self.loss == "cached_gist" and self.guide is None:
            raise ValueError("loss 'cached_gist' needs guide, the model that tells false negatives")
        if self.loss in ("margin_mse", "kl") and self.negatives_per_query == 0:
            raise ValueError(f"loss '{self.loss}' needs negatives_per_query of at least 1")
        if self.loss in ("margin_mse", "kl") and self.matryoshka_dims:
            raise ValueError(f"loss '{self.loss}' cannot be combined with matryoshka_dims")
        if (self.loss == "batch_kl") != (self.teacher is not None):
            raise ValueError("loss 'batch_kl' needs teacher.model, and no other loss reads one")
        if self.loss == "batch_kl" and (self.grouping == "none" or self.negatives_per_query or self.symmetric):
            raise ValueError("loss 'batch_kl' needs grouping, negatives_per_query = 0 and symmetric = false")
        dims = self.matryoshka_dims
        falling = len(dims) > 1 and list(dims) == sorted(set(dims), reverse=True)
        if self.matryoshka_directions and (self.loss != "batch_kl" or not falling):
            raise ValueError(
                "matryoshka_directions needs loss 'batch_kl' and at least two matryoshka_dims, from the whole vector's down"
            )
        if self.architecture == "colbert" and (self.matryoshka_dims or self.loss in ("cached_gist", "batch_kl")):
            raise ValueError(
                "architecture 'colbert' takes loss 'mnr', 'cached_mnr', 'margin_mse' or 'kl', and no matryoshka_dims"
            )
        return self

    @model_validator(mode="after")
    def _contrasts_fit(self) -> "Train":
        if self.contrasts.batch_size and self.architecture != "dense":
            raise ValueError("train.contrasts are for architecture 'dense': leave batch_size at 0")
        if self.contrasts.sources and not self.contrasts.batch_size:
            raise ValueError("train.contrasts.sources are read for contrasts only: say batch_size above 0")
        return self

    @model_validator(mode="after")
    def _late_interaction_has_what_it_needs(self) -> "Train":
        if self.architecture != "colbert" and (self.trainable == "projection" or self.skip_punctuation):
            raise ValueError("trainable = 'projection' and skip_punctuation need architecture 'colbert'")
        if self.trainable == "projection" and self.lora_rank:
            raise ValueError("trainable = 'projection' freezes the encoder that lora_rank would tune: leave one out")
        if self.projection == "principal" and self.trainable != "projection":
            raise ValueError("projection = 'principal' needs trainable = 'projection', which computes the states")
        return self


class Merge(Section):
    """Interpolation of base and tuned weights.

    A ratio of 1 is the tuned model. The best on the development sets is kept.
    """

    ratios: tuple[Ratio, ...] = (0.3, 0.5, 0.7, 1.0)
    average_rounds: bool = False  # take the mean of every round's tuned weights instead of the last round's
    # whose weights are mixed in; None: the base's. In a chain of recipes an earlier model than the base may lose less
    anchor: str | None = None
    anchor_revision: str | None = None  # commit of an anchor on the hub

    @model_validator(mode="after")
    def _keeps_something_tuned(self) -> "Merge":
        if self.anchor is not None and 0.0 in self.ratios:
            raise ValueError("merge.anchor with a ratio of 0 would publish the anchor itself: name ratios above 0")
        return self


class Score(Section):
    """The measure at the end."""

    must_rise: bool = False  # fail when the mean over the development sets is not above the base's
    max_seq_length: Positive | None = None


class Publish(Section):
    """The folder that others load."""

    name: str = "medembed-custom"
    onnx: bool = False
    # dense models: directions are learnt in which vectors cut to these dimensions lose least
    short_dims: tuple[Positive, ...] = ()
    # tokens it reads unless told otherwise; None: as its base
    max_seq_length: Positive | None = None
    license: str = "apache-2.0"


class Development(Section):
    """A retrieval set to choose on, never to train on: a BEIR folder (corpus, queries, qrels)."""

    path: str
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    origin: str = ""
    license: str = ""
    max_queries: Positive | None = None
    max_documents: Positive | None = None  # what the kept queries need is kept, and others drawn by hash


class Execution(Section):
    """Places and speed: nothing in here changes a result or enters a fingerprint.

    A recipe may come from anybody. So its file sets only what is named in `FILE_MAY_SET`, which is speed. Addresses, names of
    secrets and places are the choice of whoever starts the run. A setting added later is closed to files until it is named.
    """

    FILE_MAY_SET: ClassVar[frozenset[str]] = frozenset(
        {
            "device",
            "threads",
            "concurrency",
            "timeout_s",
            "retries",
            "patience_s",
            "tensor_parallel",
            "llm_batch",
            "vllm_options",
            "ray_workers",
            "lock_wait_s",
            "save_every_steps",
            "progress",
            "hourly_price",
            "llm_tokens_per_s",
            "train_pairs_per_s",
        }
    )

    work: Path = Path("work")
    data: Path | None = None
    out: Path | None = None
    models: Path | None = None  # folders of models that recipes made before, to be used again instead of being made
    device: str = "auto"
    threads: Positive | None = None
    endpoint: str = "http://127.0.0.1:8000/v1"
    api_key_env: Annotated[str, Field(pattern="^[A-Za-z_][A-Za-z0-9_]*$")] | None = None  # None: no key is sent
    concurrency: Annotated[int, Field(ge=1, le=1024)] = 64  # at most; a server that bears less is asked for less
    timeout_s: Annotated[float, Field(gt=0.0, le=86_400.0)] = 120.0
    retries: Annotated[int, Field(ge=0, le=100)] = 6
    patience_s: Annotated[float, Field(gt=0.0, le=86_400.0)] = 600.0  # how long a server may take no request
    tensor_parallel: Positive = 1
    llm_batch: Positive = 256
    vllm_options: VllmOptions = VllmOptions()
    ray: str | None = None  # pairs are written by Ray actors: "local", "auto" or a cluster's address
    ray_workers: Annotated[int, Field(ge=1, le=10_000)] = (
        2  # each with a writer, concurrency and, for vllm_local, tensor_parallel GPUs of its own
    )
    lock_wait_s: Annotated[float, Field(ge=0.0)] = 0.0
    report_to: str = "none"
    save_every_steps: Positive = 200
    push_to_hub: str | None = None
    progress: bool = True
    hourly_price: Annotated[float, Field(ge=0.0)] = 0.0
    llm_tokens_per_s: Annotated[float, Field(gt=0.0)] = 1500.0
    train_pairs_per_s: Annotated[float, Field(gt=0.0)] = 30.0


class Recipe(Section):
    """A whole recipe. ``scale`` shrinks the data of a run, so that a path can be proved in minutes."""

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
    development: dict[str, Development] = {}
    execution: Execution = Execution()

    def of_round(self, number: int) -> "Recipe":
        """The recipe as one round of mining and training reads it.

        ``triplets.later`` holds from the second round on.
        """
        changes = {key: value for key, value in self.triplets.later if value is not None} if number > 1 else {}
        triplets = self.triplets.model_copy(update=changes | {"later": LaterTriplets()})
        return self.model_copy(update={"triplets": triplets})

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

"""The settings of training: loss, batches, teacher and contrasts."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from medembed.recipes.section import Count, Positive, Section
from medembed.recipes.source_settings import NoteSource

Grouping = Literal["none", "document", "neighbors"]


class Teacher(Section):
    """The model that a batch's order is learnt from.

    Its scores are a sum: mean MaxSim, the cosine, and BM25 (1 for a query's best), each times its share.

    Attributes:
        model: A late-interaction model where ``maxsim`` is above 0, a dense one where ``cosine`` is; the bundled model's folder is both.
            Left out, the model that the round starts from, whose token states are compared as they are.
        maxsim: Share of mean MaxSim.
        cosine: Share of the cosine.
        bm25: Share of BM25.
        temperature: Of its scores, before they become shares.
        max_seq_length: Tokens of a passage that it reads; left out, as it says itself.
    """

    model: str | None = None
    maxsim: Annotated[float, Field(ge=0.0)] = 1.0
    cosine: Annotated[float, Field(ge=0.0)] = 0.0
    bm25: Annotated[float, Field(ge=0.0)] = 0.0
    temperature: Annotated[float, Field(gt=0.0)] = 0.03
    max_seq_length: Positive | None = None

    @model_validator(mode="after")
    def _model_is_asked(self) -> "Teacher":
        if self.model is None and self.max_seq_length is not None:
            raise ValueError(
                "teacher.max_seq_length is of a teacher of its own: name its model, or say train.max_passage_tokens"
            )
        if self.maxsim == self.cosine == 0:
            raise ValueError("teacher.model is read for MaxSim or for the cosine: say maxsim or cosine above 0")
        return self


class Contrasts(Section):
    """Contrasts that a rule makes, beside each batch of rows: questions, and passages that differ in what they assert.

    A late-interaction model reads as many, as rows of a source of their own; ``weight``, ``temperature`` and ``kept`` are not read.

    Attributes:
        sources: Notes whose sentences are changed by rule, and put before frames. Without any, frames alone are used.
        names: Lists of words that rows add to: the queries of such a source, as ontology terms are, become findings or conditions.
        batch_size: Questions beside each batch; 0 for none. Each claim is made in several wordings.
        weight: What their loss counts beside the rows' loss.
        temperature: Of their cosines.
        kept: What the distance from the vectors of the model that training starts from counts, so that what it knows stays.
    """

    sources: dict[str, NoteSource] = {}
    names: dict[Literal["findings", "conditions", "procedures"], str] = {}
    batch_size: Count = 0
    weight: Annotated[float, Field(gt=0.0)] = 1.0
    temperature: Annotated[float, Field(gt=0.0)] = 0.05
    kept: Annotated[float, Field(ge=0.0)] = 0.0


class Train(Section):
    """Contrastive training on sentence-transformers' trainers.

    Attributes:
        architecture: One vector for a text, or one for each token.
        trainable: ``projection`` leaves the encoder of a late-interaction model as it is, and computes its token states once.
        projection: How a projection over a frozen encoder begins: at random, or as the first principal directions of its token
            states.
        skip_punctuation: Whether punctuation gets no vector in late interaction.
        loss: What is minimized.
        symmetric: Whether passages also find their queries.
        guide: Model that tells false negatives, for ``cached_gist``.
        matryoshka_dims: Dimensions that vectors may be cut to later.
        matryoshka_directions: Whether shorter vectors take directions learnt from the weights that the run starts from, not
            their first components.
        temperature: Of the cosines in the loss.
        negatives_per_query: Mined negatives beside each positive.
        batch_size: Rows of a batch.
        micro_batch_tokens: Padded tokens computed at once; 0 computes each batch as it comes.
        learning_rate: The highest rate of the schedule.
        epochs: Times that all rows are read.
        max_steps: Batches at most; 0 for as many as the epochs give.
        max_query_tokens: Tokens of a query that are read.
        max_passage_tokens: Tokens of a passage that are read.
        precision: Number format; ``auto`` takes bf16 where the device multiplies it natively.
        grouping: What shares a batch: rows at random, rows of a document, or each other's mined negatives.
        group_size: Rows of such a group.
        evaluations: Times that the loss on held-out documents is looked at.
        start_from: Whether a later round begins at the base, or where the one before has ended.
        lora_rank: Rank of adapters in place of full tuning, merged when saved; 0 switches them off.
    """

    architecture: Literal["dense", "colbert"] = "dense"
    trainable: Literal["all", "projection"] = "all"
    projection: Literal["random", "principal"] = "random"
    skip_punctuation: bool = False
    loss: Literal["mnr", "cached_mnr", "cached_gist", "margin_mse", "kl", "batch_kl"] = "mnr"
    teacher: Teacher | None = None  # for batch_kl
    contrasts: Contrasts = Contrasts()
    symmetric: bool = False
    guide: str | None = None
    matryoshka_dims: tuple[Positive, ...] = ()
    matryoshka_directions: bool = False
    temperature: Annotated[float, Field(gt=0.0)] = 0.05
    negatives_per_query: Count = 1
    batch_size: Positive = 64
    micro_batch_tokens: Count = 2048
    learning_rate: Annotated[float, Field(gt=0.0)] = 2e-5
    epochs: Annotated[float, Field(gt=0.0)] = 1.0
    max_steps: Count = 0
    max_query_tokens: Positive = 64
    max_passage_tokens: Positive = 160
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    grouping: Grouping = "none"
    group_size: Positive = 8
    evaluations: Count = 4
    start_from: Literal["base", "previous_round"] = "base"
    lora_rank: Count = 0

    @model_validator(mode="after")
    def _loss_has_what_it_needs(self) -> "Train":
        if self.loss == "cached_gist" and self.guide is None:
            raise ValueError("loss 'cached_gist' needs guide, the model that tells false negatives")
        if self.loss in ("margin_mse", "kl") and self.negatives_per_query == 0:
            raise ValueError(f"loss '{self.loss}' needs negatives_per_query of at least 1")
        if self.loss in ("margin_mse", "kl") and self.matryoshka_dims:
            raise ValueError(f"loss '{self.loss}' cannot be combined with matryoshka_dims")
        if (self.loss == "batch_kl") != (self.teacher is not None):
            raise ValueError("loss 'batch_kl' needs a teacher, and no other loss reads one")
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
        late = self.architecture == "colbert"
        if self.contrasts.batch_size and late and self.loss not in ("mnr", "cached_mnr"):
            raise ValueError("architecture 'colbert' learns train.contrasts by loss 'mnr' or 'cached_mnr'")
        if self.contrasts.kept and late:
            raise ValueError("train.contrasts.kept is for architecture 'dense': leave it at 0")
        if (self.contrasts.sources or self.contrasts.names) and not self.contrasts.batch_size:
            raise ValueError("train.contrasts.sources and names are read for contrasts only: say batch_size above 0")
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

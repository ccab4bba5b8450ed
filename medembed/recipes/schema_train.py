"""What a recipe may say about training: the section ``[train]``."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from medembed.recipes.section import UNSET, Count, Positive, Ratio, Section

Grouping = Literal["none", "document", "neighbours"]


class LaterTrain(Section):
    """What is otherwise from the second round of mining and training on."""

    learning_rate: Annotated[float, Field(gt=0.0)] | None = None
    max_passage_tokens: Positive | None = None
    grouping: Grouping | None = None
    ungrouped: tuple[str, ...] | None = None


class Lora(Section):
    """Low-rank adapters instead of full tuning; ``rank = 0`` switches them off."""

    rank: Count = 0
    alpha: Positive = 32
    dropout: Ratio = 0.0


class Teacher(Section):
    """Whose scores of a batch's passages are learnt: mean MaxSim, a share of the cosine and of BM25 (1 for a query's best)."""

    model: str  # a late-interaction model; a dense one too where cosine is above 0, as the bundled model's folder is
    cosine: Annotated[float, Field(ge=0.0)] = 0.0
    bm25: Annotated[float, Field(ge=0.0)] = 0.0
    temperature: Annotated[float, Field(gt=0.0)] = 0.03
    # how far it reads passages; None: as the model itself says
    max_seq_length: Annotated[Positive | None, Field(exclude_if=lambda value: value is None)] = None


class Train(Section):
    """Contrastive training on sentence-transformers' trainers."""

    architecture: Literal["dense", "colbert"] = "dense"
    # colbert: "projection" leaves the encoder as it is and computes its token states once
    trainable: Annotated[Literal["all", "projection"], Field(exclude_if=lambda value: value == "all")] = "all"
    # with a frozen encoder: begin as the first principal directions of its token states
    projection: Annotated[Literal["random", "principal"], Field(exclude_if=lambda value: value == "random")] = "random"
    # colbert: it gets no vectors
    skip_punctuation: Annotated[bool, Field(exclude_if=lambda value: not value)] = False
    loss: Literal["mnr", "cached_mnr", "cached_gist", "margin_mse", "kl", "batch_kl"] = "mnr"
    teacher: Annotated[Teacher | None, Field(exclude_if=lambda value: value is None)] = None  # for batch_kl
    symmetric: bool = False
    guide: str | None = None
    matryoshka_dims: tuple[Positive, ...] = ()
    # batch_kl: shorter vectors in directions learnt from the weights that the run starts from, not their first components
    matryoshka_directions: Annotated[bool, Field(exclude_if=lambda value: not value)] = False
    temperature: Annotated[float, Field(gt=0.0)] = 0.05
    negatives_per_query: Count = 1
    batch_size: Positive = 64
    micro_batch_tokens: Count = 2048  # padded tokens computed at once; 0 computes each batch as it comes
    learning_rate: Annotated[float, Field(gt=0.0)] = 2e-5
    epochs: Annotated[float, Field(gt=0.0)] = 1.0
    max_steps: Positive | None = None
    warmup: Ratio = 0.1
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = "cosine"
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.01
    dropout: Ratio = 0.0
    max_query_tokens: Positive = 64
    max_passage_tokens: Positive = 160
    precision: Literal["auto", "bf16", "fp32"] = "auto"  # "auto": bf16 where the device multiplies it natively
    homogeneous_batches: bool = True
    grouping: Grouping = "none"  # rows of a document, or each other's mined negatives, share a batch
    group_size: Positive = 8
    ungrouped: tuple[str, ...] = ()  # sources whose rows are batched at random all the same, e.g. "*:title"
    evaluations: Count = 4
    watch: tuple[str, ...] = ()  # development sets measured while training; empty for all
    start_from: Literal["base", "previous_round"] = "base"
    lora: Lora = Lora()
    later: Annotated[LaterTrain, Field(**UNSET)] = LaterTrain()

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
    def _late_interaction_has_what_it_needs(self) -> "Train":
        if self.architecture != "colbert" and (self.trainable == "projection" or self.skip_punctuation):
            raise ValueError("trainable = 'projection' and skip_punctuation need architecture 'colbert'")
        if self.trainable == "projection" and self.lora.rank:
            raise ValueError("trainable = 'projection' freezes the encoder that lora.rank would tune: leave one out")
        if self.projection == "principal" and self.trainable != "projection":
            raise ValueError("projection = 'principal' needs trainable = 'projection', which computes the states")
        return self

"""Bodies of requests and answers, as their interfaces have them. The OpenAPI document is made of these."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from medembed.clinical.asked import Assertion
from medembed.corpus.hybrid import Hybrid
from medembed.corpus.search import ScanKind
from medembed.runtime.tokenizer import Overlong
from medembed.search.shares import FIRST_SHARE

WHY_NO_IDS = "token ids of another model's vocabulary mean nothing here: send the texts (LangChain: check_embedding_ctx_length=False)"


def _no_token_ids(value: object) -> object:
    first = value[0] if isinstance(value, list) and value else None
    if isinstance(first, int) or (isinstance(first, list) and first and isinstance(first[0], int)):
        raise ValueError(WHY_NO_IDS)
    return value


class Body(BaseModel):
    """A body of a request. A field that is not named here is refused, since it would do nothing."""

    model_config = ConfigDict(extra="forbid", strict=True)


Texts = Annotated[str | list[str], BeforeValidator(_no_token_ids)]
"""One text or several."""

Values = Annotated[str, Field(min_length=1)] | Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]
Scope = Annotated[
    dict[str, Values] | Literal["all"] | None,
    Field(
        description="Columns and values that every row found has; a key may be bound to name them. A corpus that is divided needs one; "
        "all is for keys that are bound to none."
    ),
]
Cutting = Annotated[
    Overlong | None, Field(description="Texts above the model's limit; the server's own way when left out.")
]


class Usage(BaseModel):
    """What a request took, and what the model did not read of it."""

    prompt_tokens: int
    total_tokens: int
    truncated_texts: int
    truncated_tokens: int


class Told(BaseModel):
    """An error."""

    message: str
    type: str
    code: int


class Failure(BaseModel):
    """The body of an error, with its message where OpenAI's clients and where Cohere's look for it."""

    error: Told
    message: str


class EmbeddingsBody(Body):
    """OpenAI's request for embeddings."""

    input: Texts
    model: str | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int | None, Field(ge=1)] = None
    user: Annotated[str | None, Field(description="Accepted and not kept.")] = None
    input_type: Annotated[
        Literal["query", "document"] | None, Field(description="Whose prompt is put before each text.")
    ] = None
    overlong: Cutting = None


class Embedding(BaseModel):
    """One vector."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class Embeddings(BaseModel):
    """OpenAI's answer with embeddings."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: Usage


class Document(BaseModel):
    """A document with its text in a field."""

    model_config = ConfigDict(extra="ignore")

    text: str


class RerankBody(Body):
    """Cohere's and Jina's request for a ranking."""

    query: str
    documents: list[str | Document]
    model: str | None = None
    top_n: Annotated[int | None, Field(ge=1)] = None
    return_documents: bool = False
    overlong: Cutting = None


class RankedDocument(BaseModel):
    """A document's place."""

    index: int
    relevance_score: float
    document: Document | None = None


class Ranking(BaseModel):
    """An answer with a ranking."""

    id: str
    model: str
    results: list[RankedDocument]
    usage: Usage
    meta: dict[str, Any]


class TeiEmbedBody(Body):
    """A request for vectors as text-embeddings-inference has it."""

    inputs: Texts
    truncate: Annotated[bool | None, Field(description="False refuses long texts, true cuts them.")] = None
    truncation_direction: Annotated[Literal["Right", "right"], Field(description="Texts are cut at their end.")] = (
        "Right"
    )
    normalize: Literal[True] | None = None
    prompt_name: str | None = None
    dimensions: Annotated[int | None, Field(ge=1)] = None


class TeiRerankBody(Body):
    """A request for a ranking as text-embeddings-inference has it."""

    query: str
    texts: list[str]
    truncate: bool | None = None
    truncation_direction: Literal["Right", "right"] = "Right"
    raw_scores: Annotated[bool, Field(description="Scores are sums of cosines either way.")] = False
    return_text: bool = False


class TeiRank(BaseModel):
    """A text's place."""

    index: int
    score: float
    text: str | None = None


class TeiInfo(BaseModel):
    """The model and the limits, as text-embeddings-inference tells them."""

    model_id: str
    model_sha: str
    model_dtype: str
    model_type: dict[str, Any]
    max_concurrent_requests: int
    max_input_length: int
    max_batch_tokens: int
    max_client_batch_size: int
    tokenization_workers: int
    version: str


class HybridBody(Body):
    """Fusion with BM25."""

    weight: Annotated[float, Field(ge=0, le=100, description="What a point of BM25 counts.")] = Hybrid.weight
    depth: Annotated[int, Field(ge=1, le=10_000)] = Hybrid.depth


class RerankSettings(Body):
    """The new order that late interaction gives the best rows."""

    depth: Annotated[int, Field(ge=1, le=1000)] = 100
    first_share: Annotated[
        float | None,
        Field(ge=0, le=1, description=f"What the first order counts in the new one; {FIRST_SHARE} if hybrid."),
    ] = None


class SearchBody(Body):
    """A request for rows of a corpus."""

    query: (
        Annotated[str, Field(min_length=1)] | Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]
    )
    corpus: str | None = None
    k: Annotated[int, Field(ge=1)] = 10
    where: Annotated[list[str], Field(description="Conditions such as ward=icu or year>=2024; all must hold.")] = []
    filter: Annotated[dict[str, Any] | None, Field(description="Values by column; a list means any of it.")] = None
    scope: Scope = None
    scan: ScanKind = "auto"
    hybrid: Annotated[
        bool | HybridBody | None,
        Field(description="Add a little of BM25; false takes vectors alone. Left out: where the corpus stores texts."),
    ] = None
    rerank: bool | RerankSettings = False
    assertion: Annotated[
        Assertion | None,
        Field(description="What rows have to assert of the query's words; read from the query when left out."),
    ] = None
    group_by: Annotated[
        str | None, Field(description="Kept column: the best row of each of its values alone, the others counted.")
    ] = None
    context: Annotated[
        int | None, Field(ge=1, le=10, description="Passages of the note before and after each one found.")
    ] = None
    explain: Annotated[bool, Field(description="Tell the words that carried each score.")] = False
    return_text: bool = True


class Part(BaseModel):
    """A part of a hit's text that speaks of the query's words, and does not simply say that they hold."""

    kind: str
    text: str | None
    start: int
    end: int


class Neighbor(BaseModel):
    """A passage beside one that was found."""

    id: str
    text: str | None
    start: int
    end: int


class Around(BaseModel):
    """Passages of the same note, before and after."""

    before: list[Neighbor]
    after: list[Neighbor]


class Word(BaseModel):
    """A word of a text, and its part in the score."""

    text: str | None
    start: int
    end: int
    share: float


class FoundRow(BaseModel):
    """A row that was found, with what was asked for."""

    id: str
    score: float
    text: str | None
    source: str
    line: int
    kept: dict[str, Any]
    asserts: list[Part]
    others: int
    also_in: list[str]
    around: Around | None = None
    carried: list[Word] | None = None


class Found(BaseModel):
    """The rows of one query."""

    hits: list[FoundRow]


class SearchAnswer(BaseModel):
    """An answer with rows, a list for each query."""

    corpus: str
    results: list[Found]
    usage: Usage


class ModelCard(BaseModel):
    """A model that is served."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class Models(BaseModel):
    """The models and corpora that a key reaches."""

    object: Literal["list"]
    data: list[ModelCard]
    corpora: list[str]

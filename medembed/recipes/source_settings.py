"""The settings of a recipe's data: where texts and pairs lie, and how they are written."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from medembed.recipes.section import Positive, Section
from medembed.rows.dialect import Dialect


class Source(Section):
    """One file, folder or hub dataset of text, with where it came from and under which license.

    Attributes:
        format: The kind of data.
        path: File, folder or glob, beside the recipe or below ``execution.data``.
        url: Where ``medembed recipes download`` fetches it.
        sha256: Hash that the file must have.
        dataset: Name of a hub dataset.
        revision: Its commit.
        config: Its configuration.
        split: Its split.
        limit: Rows to read at most.
        delimiter: Of CSV; left out, it is found out.
        quote: Of CSV; ``none`` where quotes are ordinary characters.
        header: Whether the first row of CSV names the columns; without, they are named ``1``, ``2`` and so on.
        encoding: Of files of text.
        origin: Where the data come from, for the card.
        license: Under which license, for the card.
        attribution: Whom the license asks to be named.
    """

    format: Literal["jsonl", "csv", "parquet", "text", "articles", "hub", "beir"]
    path: str | None = None
    url: str | None = None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    dataset: str | None = None
    revision: str | None = None
    config: str | None = None
    split: str = "train"
    limit: Positive | None = None
    delimiter: str | None = None
    quote: str = '"'
    header: bool = True
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
    """Notes or articles. ``text`` and ``id`` name the columns (CSV, JSONL, Parquet, hub).

    Attributes:
        text: Column of the text.
        id: Column of the id; left out, rows are counted.
        title: Column of the title.
    """

    text: str = "text"
    id: str | None = None
    title: str | None = None


class PairSource(Source):
    """Ready pairs: ``query`` and ``positive`` columns, and one that names the row's own source, where there is one.

    Attributes:
        query: Column of the query.
        positive: A text or a list of texts; each makes a pair with the query.
        negatives: Column or columns of passages that are no answer, each a text or a list of texts. Rows of the same query and
            positive are one row with the negatives of all. FlagEmbedding: ``positive = "pos"``, ``negatives = "neg"``.
        source: Column that names the row's own source, where there is one.
        id: Column of the document's id: passages of one document are no negatives of each other.
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

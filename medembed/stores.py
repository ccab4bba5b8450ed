"""A guard for vector stores of others: the fingerprint of a model written beside its vectors, and checked before they are used.

Stores compare dimensions at most, and many models have 384. No store's package is imported here: each function takes the object
that the caller has open, or the path of a file.
"""

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from medembed import border
from medembed.errors import SettingError, StoreModelError
from medembed.model import MedEmbed
from medembed.runtime import identity
from medembed.storage.durable import write_text_whole
from medembed.vectors import VectorKind

KEY = "medembed"
"""The name under which a stamp stands in a store's metadata. Its value is JSON in a string."""

MOST_CHARACTERS = 4096
_COMMENT = re.compile(rf"^{KEY}: (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Stamp:
    """The model of a store's vectors.

    Attributes:
        fingerprint: As :attr:`medembed.MedEmbed.fingerprint`, of the stored kind.
        model: Name of the model, for messages; of a folder its last part.
        dimension: Length of a vector.
        vectors: Kind in which the vectors are stored.
    """

    fingerprint: str
    model: str
    dimension: int
    vectors: VectorKind

    def __str__(self) -> str:
        """The model in the words of a message."""
        return f"{self.model!r}, {self.dimension} dimensions, {self.vectors}, fingerprint {self.fingerprint}"


def stamp_of(model: MedEmbed, vectors: VectorKind = "float32") -> Stamp:
    """The stamp of vectors that a model makes.

    Args:
        model: The model.
        vectors: Kind in which they are stored.

    Raises:
        SettingError: An unknown kind.
        VectorError: int8 or uint8 vectors of a model that has no ranges for this dimension.
    """
    if vectors not in get_args(VectorKind):
        raise SettingError(f"vectors={vectors!r}: choose one of {', '.join(get_args(VectorKind))}")
    ranges = model.vector_ranges if vectors in ("int8", "uint8") else None
    mark = identity.of_kind(model.fingerprint, vectors, ranges)
    return Stamp(mark, Path(model.name).name if Path(model.name).is_dir() else model.name, model.dimension, vectors)


@dataclass(frozen=True)
class Guard:
    """The place of a stamp in one store. Made by the functions of this module, one for each kind of store.

    Attributes:
        name: The store, for messages.
        read: Gives the stamp's text, or None where there is none.
        write: Puts the stamp's text there, in place of an earlier one.
    """

    name: str
    read: Callable[[], str | None]
    write: Callable[[str], object]

    def stamp(self, model: MedEmbed, vectors: VectorKind = "float32", *, replace: bool = False) -> Stamp:
        """Write the model's stamp into the store. A store that has the same stamp already is left alone.

        Args:
            model: The model whose vectors the store holds, or will hold.
            vectors: Kind in which they are stored.
            replace: Whether the stamp of another model is replaced: for a store that was emptied and filled anew.

        Raises:
            StoreModelError: The store has the stamp of another model, or one that cannot be read.
            SettingError: An unknown kind.
            VectorError: int8 or uint8 vectors of a model that has no ranges for this dimension.
        """
        fresh = stamp_of(model, vectors)
        found = None if replace else self.found()
        if found is not None and found.fingerprint != fresh.fingerprint:
            raise StoreModelError(
                f"{self.name} holds vectors of {found}, and cannot be stamped for {fresh}: write these into another store, or empty it, "
                "fill it with this model and call stamp(model, replace=True)"
            )
        if found is None:
            self.write(json.dumps(asdict(fresh)))
        return fresh

    def check(self, model: MedEmbed, vectors: VectorKind = "float32") -> Stamp:
        """Compare the store's stamp with a model, before vectors are added or searched.

        Args:
            model: The model that is about to be used.
            vectors: Kind in which the store's vectors are held.

        Returns:
            The stamp, which is the model's.

        Raises:
            StoreModelError: The store has no stamp, the stamp of another model, or one that cannot be read.
            SettingError: An unknown kind.
            VectorError: int8 or uint8 vectors of a model that has no ranges for this dimension.
        """
        wanted, found = stamp_of(model, vectors), self.found()
        if found is None:
            raise StoreModelError(
                f"{self.name} has no stamp, so nothing says which model made its vectors; this is {wanted}. If they are of this model, "
                "say so once with stamp(model); otherwise fill the store anew"
            )
        if found.fingerprint != wanted.fingerprint:
            raise StoreModelError(
                f"{self.name} holds vectors of {found}, but this is {wanted}: open that model with the settings that filled the store, "
                "or embed its texts again with this one and call stamp(model, replace=True)"
            )
        return found

    def found(self) -> Stamp | None:
        """The store's stamp, or None.

        Raises:
            StoreModelError: It cannot be read.
        """
        text = self.read()
        return None if text is None else _parsed(text, self.name)


def _parsed(text: str, name: str) -> Stamp:
    def unreadable(words: str) -> StoreModelError:
        return StoreModelError(f"{words}: write it again with stamp(model, replace=True)")

    told = border.parse_json(text, source=f"the stamp of {name}", error=unreadable, most=MOST_CHARACTERS)
    kinds: dict[str, type] = {"fingerprint": str, "model": str, "dimension": int, "vectors": str}
    if not isinstance(told, dict) or {key: type(value) for key, value in told.items()} != kinds:
        raise unreadable(f"the stamp of {name} should hold {', '.join(kinds)}")
    return Stamp(**told)


def chroma(collection: Any) -> Guard:
    """Guard of a Chroma collection. The stamp stands in its metadata.

    Args:
        collection: A ``chromadb.Collection``. Settings of its index that stand in the metadata (``hnsw:…``) are kept by Chroma in
            the collection's configuration, which is where it reads them; it takes no metadata that holds them.
    """

    def write(text: str) -> None:
        kept = {key: value for key, value in (collection.metadata or {}).items() if not key.startswith("hnsw:")}
        collection.modify(metadata={**kept, KEY: text})

    return Guard(
        f"the Chroma collection {collection.name!r}", lambda: _text((collection.metadata or {}).get(KEY)), write
    )


def qdrant(client: Any, collection: str) -> Guard:
    """Guard of a Qdrant collection. The stamp stands in its metadata, which servers have from 1.16 on.

    Args:
        client: A ``qdrant_client.QdrantClient``.
        collection: Name of the collection, which exists.
    """
    return Guard(
        f"the Qdrant collection {collection!r}",
        lambda: _text((client.get_collection(collection).config.metadata or {}).get(KEY)),
        lambda text: client.update_collection(collection, metadata={KEY: text}),
    )


def lancedb(table: Any, column: str = "vector") -> Guard:
    """Guard of a LanceDB table. The stamp stands in the metadata of the column with the vectors.

    Args:
        table: A ``lancedb.table.Table``, from release 0.33.1 on.
        column: The column with the vectors.
    """
    return Guard(
        f"the column {column!r} of the LanceDB table {table.name!r}",
        lambda: _text((table.schema.field(column).metadata or {}).get(KEY.encode())),
        lambda text: table.update_field_metadata({"path": column, "metadata": {KEY: text}}),
    )


def pgvector(connection: Any, table: str, column: str = "embedding") -> Guard:
    """Guard of a PostgreSQL table with pgvector. The stamp is a line of the column's comment.

    Args:
        connection: A connection of psycopg 3 or psycopg2. Nothing is committed: the stamp belongs to the caller's transaction.
        table: Name of the table, with its schema where needed; it is no SQL, so no quotes.
        column: The column with the vectors.
    """

    def fetch(query: str, values: tuple[str, ...]) -> str | None:
        with connection.cursor() as cursor:
            cursor.execute(query, values)
            row = cursor.fetchone()
        return None if row is None or row[0] is None else str(row[0])

    # names go through PostgreSQL's own quoting: a name with capitals or a quote stays a name
    place = "array_to_string(array(select quote_ident(part) from unnest(string_to_array(%s, '.')) as part), '.')"

    def comment() -> str | None:
        return fetch(
            f"select col_description(attrelid, attnum) from pg_attribute where attrelid = ({place})::regclass and attname = %s",  # noqa: S608
            (table, column),
        )

    def read() -> str | None:
        line = _COMMENT.search(comment() or "")
        return line[1] if line else None

    def write(text: str) -> None:
        others = _COMMENT.sub("", comment() or "").strip("\n")
        told = f"{others}\n{KEY}: {text}".lstrip("\n")
        command = fetch(
            f"select format('comment on column %%s.%%I is %%L', {place}, %s::text, %s::text)",
            (table, column, told),
        )
        with connection.cursor() as cursor:
            cursor.execute(command)

    return Guard(f"the column {column!r} of the PostgreSQL table {table!r}", read, write)


def faiss(path: str | Path) -> Guard:
    """Guard of a FAISS index in a file. The stamp stands in a file beside it, as an index has no metadata.

    Args:
        path: The index's file; the stamp's is called as it, and ``.medembed.json``.
    """
    beside = Path(path).with_name(f"{Path(path).name}.{KEY}.json")

    def read() -> str | None:
        try:
            return border.read_bytes(beside, most=MOST_CHARACTERS, error=StoreModelError).decode(errors="replace")
        except FileNotFoundError:
            return None

    return Guard(f"the FAISS index {path}", read, lambda text: write_text_whole(beside, text))


def _text(value: object) -> str | None:
    """Metadata as text; what is none is a stamp that cannot be read."""
    if value is None:
        return None
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)

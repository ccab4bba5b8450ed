"""Columns that rows must have.

One that no row has is an error after the first rows, not at the end of a long run. So is an input that holds other things only.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from medembed.errors import InputFileError
from medembed.rows import names
from medembed.rows.source import Source

# Objects may leave out fields that are empty, so a single row does not tell.
ROWS_THAT_TELL = 1000
# kinds of things that are counted, and told when nothing else was there
MOST_KINDS, KINDS_TOLD = 500, 8


class Wanted:
    """The columns that a reader of rows needs.

    Args:
        columns: Each with what to do where it is missing, for instance ``"name the column with --text-column"``.
        anywhere: Columns that need not stand in every file, where a file's rows need not all have the same.
        n_rows: How many rows tell that a column is missing.
    """

    def __init__(
        self, columns: Mapping[str, str], anywhere: Sequence[str] = (), *, n_rows: int = ROWS_THAT_TELL
    ) -> None:
        """Begin with no row seen."""
        self._n_tell = n_rows
        self._columns = dict(columns)
        self._anywhere = set(anywhere)
        self._never = set(anywhere)
        self._missing: set[str] = set()
        self._n_rows, self._n_all = 0, 0
        self._fields: list[str] = []
        self._source: Source | None = None
        self._passed: Counter[str] = Counter()
        self._expected, self._met = "", False

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return list(self._columns)

    def in_header(self, source: Source, header: Sequence[str]) -> None:
        """Check a file whose rows all have the same columns.

        Raises:
            InputFileError: A column is missing, or stands there twice.
        """
        for name in self._columns:
            if header.count(name) > 1:
                raise InputFileError(
                    f"{source.name}: the column {name!r} is there {header.count(name)} times: rename all but one"
                )
            if name not in header:
                raise self._error(source, name, f"no column {name!r}", header)
        self._never.clear()

    def begin(self) -> None:
        """Begin with a file whose rows have fields of their own."""
        self._missing, self._n_rows = set(self._columns) - self._anywhere, 0

    def in_row(self, source: Source, values: Mapping[str, Any]) -> None:
        """Note the fields of a row.

        Raises:
            InputFileError: None of the first rows has a column.
        """
        if not self._missing and not self._never:
            return
        self._n_rows += 1
        self._n_all += 1
        if len(self._fields) < names.SHOWN:
            self._fields += [name for name in values if name not in self._fields]
        self._source = source
        self._missing.difference_update(values)
        self._never.difference_update(values)
        if self._missing and self._n_rows >= self._n_tell:
            self.end(source)
        if self._never and self._n_all >= self._n_tell:
            self.end_of_all()

    def pass_over(self, kind: str, expected: str) -> None:
        """Note a thing of a kind that makes no row, and what would have made one."""
        known = kind in self._passed or len(self._passed) < MOST_KINDS
        self._passed[kind if known else "of other kinds"] += 1
        self._expected = expected

    def meet(self) -> None:
        """Note that a thing of an expected kind was there, whether or not it could be used."""
        self._met = True

    def end(self, source: Source) -> None:
        """End a file.

        Raises:
            InputFileError: No row of it has a column.
        """
        if self._missing and self._n_rows:
            self._raise(source, self._missing, self._n_rows)

    def end_of_all(self) -> None:
        """End the last file.

        Raises:
            InputFileError: No row of any file has a column, or all that was there was passed over.
        """
        if self._passed and not self._met:
            most = self._passed.most_common(KINDS_TOLD)
            told = ", ".join(f"{count:,} {kind}" for kind, count in most)
            more = f" and {len(self._passed) - KINDS_TOLD} kinds more" if len(self._passed) > KINDS_TOLD else ""
            raise InputFileError(
                f"no row in these inputs: they hold {told}{more}, and no {self._expected}: add the files that hold some"
            )
        if self._never and self._n_all and self._source is not None:
            self._raise(self._source, self._never, self._n_all)

    def _raise(self, source: Source, missing: set[str], n_rows: int) -> None:
        name = next(column for column in self._columns if column in missing)
        rows = "its first row has no" if n_rows == 1 else f"none of its first {n_rows} rows has a"
        raise self._error(source, name, f"{rows} field {name!r}", self._fields)

    def _error(self, source: Source, name: str, problem: str, there: Sequence[str]) -> InputFileError:
        hint = _hint(source, there)
        return InputFileError(f"{source.name}: {problem}, but {names.shown(there)}: {self._columns[name]}{hint}")


def _hint(source: Source, header: Sequence[str]) -> str:
    """A hint at another cause: another delimiter, or no header."""
    if source.format not in ("csv", "tsv"):
        return ""
    if len(header) == 1:
        for sign, called in ((";", "';'"), ("\t", "tab"), ("|", "'|'"), (",", "','")):
            if sign in header[0]:
                return f". Its first line holds {'tabs' if called == 'tab' else called}: {source.dialect.told('delimiter', called)}"
    if not names.look_like_names(header):
        return (
            f". If the first row is data already, {source.dialect.told('no-header')} names the columns 1, 2 and so on"
        )
    return ""

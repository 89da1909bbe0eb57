"""Delimited text (CSV) as a table.

Cells are read as text and typed column by column. A reader that guesses types loses what the target
may need: `NA` as a class label, leading zeros of codes, duplicate column names, and rows that are
too short.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from hpo.errors import DataError, counted
from pipelines.table.formats.numbers import THOUSANDS
from serving.columns import MAX_EXACT
from serving.values import MISSING_TOKENS

DELIMITERS = (",", ";", "\t", "|")
SNIFFED_BYTES = 1 << 16
SAMPLED_ROWS = 1000
BLOCK_BYTES = 1 << 24
_SAID = re.compile(rb'"?sep=([,;\t|])"?\r?\n')  # the first line of some files for Excel
MAX_TITLE = 20  # line in which a header may stand below a title
SHOWN_BYTES = 60
MIN_SWALLOWED = 2  # fewer lines in a narrow table may be text with a delimiter in it


@dataclass
class Cells:
    """The cells of a table as text.

    Attributes:
        names: of the columns.
        columns: their cells; `typed` empties it.
    """

    names: list[str]
    columns: list[pa.ChunkedArray]


def parse_csv(uri: str, raw: bytes) -> Cells:
    """Parse the text of a table; the delimiter is inferred.

    Args:
        uri: of the table, for messages.
        raw: UTF-8 text without a byte order mark.

    Raises:
        DataError: if the text is empty, or is not one table.
    """
    if raw.isspace():
        raise DataError(f"{uri} is empty; a table needs a header line and rows")
    if raw[:1] in (b"\r", b"\n"):
        raw = raw.lstrip(b"\r\n")
    if b"\n" not in raw and b"\r" not in raw:
        raw += b"\n"  # pyarrow rejects a header that ends with the file
    said = _SAID.match(raw)
    raw = raw[said.end() :] if said else raw
    text = _DelimitedText(uri, raw, said[1].decode() if said else _delimiter(raw))
    names = text.header()
    return Cells(names, text.cells(len(names)).columns)


def typed(cells: Cells) -> pd.DataFrame:
    """The table with the types of its columns; the cells of one are freed before the next."""
    columns = []
    while cells.columns:
        columns.append(_typed(cells.columns.pop()))
    table = pa.table(columns[::-1], names=[str(i) for i in range(len(columns))])
    del columns
    frame: pd.DataFrame = table.to_pandas(self_destruct=True, split_blocks=True)
    return frame.set_axis(cells.names, axis="columns")


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its type if there is none."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


@dataclass(frozen=True)
class _DelimitedText:
    uri: str
    raw: bytes
    delimiter: str

    def header(self) -> list[str]:
        """The column names.

        Raises:
            DataError: if they are not UTF-8 text.
        """
        stream = io.BytesIO(self.raw)
        lines = io.TextIOWrapper(stream, encoding="utf-8", errors="replace", newline="")
        names = next(filter(None, csv.reader(lines, delimiter=self.delimiter)))
        if any("\ufffd" in name for name in names) and (mistake := self._undecodable()):
            raise DataError(mistake)
        return names

    def cells(self, n_columns: int) -> pa.Table:
        """All cells as text; an empty cell is missing.

        Columns are named by position, because names are not checked for duplicates yet.
        """
        positions = [f"f{i}" for i in range(n_columns)]
        try:
            cells = pyarrow.csv.read_csv(
                pa.BufferReader(self.raw),
                pyarrow.csv.ReadOptions(
                    block_size=BLOCK_BYTES, column_names=positions, skip_rows_after_names=1
                ),
                parse_options=pyarrow.csv.ParseOptions(
                    delimiter=self.delimiter, newlines_in_values=b'"' in self.raw
                ),
                convert_options=pyarrow.csv.ConvertOptions(
                    column_types=dict.fromkeys(positions, pa.string()),
                    null_values=[""],
                    strings_can_be_null=True,
                ),
            )
        except pa.ArrowInvalid as error:
            raise DataError(self._mistake(n_columns, error)) from None
        if self._has_open_quotes():
            self._check_quotes(n_columns)
        self._check_headers(cells)
        return cells

    def _check_headers(self, cells: pa.Table) -> None:
        """Check that no row repeats the header, as in files that were joined.

        Raises:
            DataError: naming the lines of those that do.
        """
        repeated = np.ones(len(cells), dtype=bool)
        for name, column in zip(self.header(), cells.columns, strict=True):
            same = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(column), name.strip()), not name)
            repeated &= same.to_numpy()
            if not repeated.any():
                return
        lines = self._lines_of(np.flatnonzero(repeated))
        raise DataError(
            f"{self.uri} repeats its header in {counted(len(lines), 'line')}: "
            f"{', '.join(map(str, lines[:5]))}{', …' if len(lines) > 5 else ''}; remove "
            f"{'it' if len(lines) == 1 else 'them'}"
        )

    def _lines_of(self, rows: npt.NDArray[np.int64]) -> list[int]:
        """The line in which each row ends; blank lines are no rows."""
        text = io.StringIO(self.raw.decode("utf-8"), newline="")
        reader = csv.reader(text, delimiter=self.delimiter)
        ends = [reader.line_num for fields in reader if fields]
        return [ends[row + 1] for row in rows]

    def _has_open_quotes(self) -> bool:
        """Whether a line ends inside of a quoted value."""
        text, is_odd = np.frombuffer(self.raw, dtype=np.uint8), 0
        for start in range(0, len(text) if b'"' in self.raw else 0, BLOCK_BYTES):
            block = text[start : start + BLOCK_BYTES]
            count = np.cumsum(block == ord('"'), dtype=np.uint8) + np.uint8(is_odd)
            if (count[block == ord("\n")] % 2).any():
                return True
            is_odd = int(count[-1]) % 2
        return bool(is_odd)

    def _mistake(self, n_columns: int, error: Exception) -> str:
        """The message for text that pyarrow cannot parse.

        Raises:
            DataError: for a stray quote.
        """
        if undecodable := self._undecodable():
            return undecodable
        if self._has_open_quotes():  # of which a wrong number of fields may be the consequence
            self._check_quotes(n_columns)
        text = self.raw.decode("utf-8")
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=self.delimiter)
        widths = ((reader.line_num, len(fields)) for fields in reader if fields)
        wrong = [(line, width) for line, width in widths if width != n_columns]
        if not wrong:
            return f"{self.uri} cannot be read as CSV: {first_line(error)}"
        line, width = wrong[0]
        if before := self._before_header(n_columns):
            return (
                f"{self.uri} begins with {counted(before, 'line')} before its header, such as "
                f"{self._first_line!r}; remove {'it' if before == 1 else 'them'}"
            )
        return (
            f"{self.uri} has {counted(len(wrong), 'row')} with too many or too few fields; each "
            f"must have {n_columns} as the header, but line {line} has {width}; correct these "
            f"rows, and quote values that hold {self.delimiter!r}"
        )

    @property
    def _first_line(self) -> str:
        return self.raw[:SHOWN_BYTES].decode("utf-8", errors="replace").splitlines()[0]

    def _before_header(self, n_columns: int) -> int:
        """How many lines with a title or comments come before a wider header; 0 if none do."""
        text = io.StringIO(self.raw.decode("utf-8"), newline="")
        reader = csv.reader(text, delimiter=self.delimiter)
        widths = [(reader.line_num, len(fields)) for fields in reader if fields]
        usual = Counter(width for _, width in widths).most_common(1)[0][0]
        header = next(line for line, width in widths if width == usual)
        return header - 1 if n_columns < usual and header <= MAX_TITLE else 0

    def _undecodable(self) -> str:
        """The message for text that is not UTF-8; empty if it is."""
        try:
            self.raw.decode("utf-8")
        except UnicodeDecodeError as error:
            line = self.raw.count(b"\n", 0, error.start) + 1
            return (
                f"{self.uri} is not UTF-8 text: line {line} holds the byte "
                f"0x{self.raw[error.start]:02x}; save the file as UTF-8"
            )
        return ""

    def _check_quotes(self, n_columns: int) -> None:
        """Check the quoted values that go over several lines.

        A stray quote makes one value of all lines up to the next quote.

        Raises:
            DataError: if one does not end, goes on after its end, or holds whole rows.
        """
        text = io.StringIO(self.raw.decode("utf-8"), newline="")
        reader = csv.reader(text, delimiter=self.delimiter, strict=True)
        start = 1
        try:
            for fields in reader:
                if reader.line_num > start and self._holds_rows(fields, n_columns):
                    raise DataError(
                        f"{self.uri}: a quoted value that begins in line {start} goes on to line "
                        f"{reader.line_num} and holds whole rows; remove the stray quote, or write "
                        "it twice and quote the value"
                    )
                start = reader.line_num + 1
        except csv.Error as error:
            wrong = "does not end" if "unexpected end" in str(error) else "goes on after its end"
            raise DataError(
                f"{self.uri}: a quoted value that begins in line {start} {wrong} (line "
                f"{reader.line_num}); close it, or remove the stray quote"
            ) from None

    def _holds_rows(self, fields: list[str], n_columns: int) -> bool:
        """Whether all further lines of a value have as many fields as the table has columns."""
        for value in fields:
            further = value.splitlines()[1:]
            few = len(further) < MIN_SWALLOWED and n_columns <= MIN_SWALLOWED
            if further and not few:
                widths = {line.count(self.delimiter) + 1 for line in further}
                if widths == {n_columns}:
                    return True
        return False


def _delimiter(raw: bytes) -> str:
    """The delimiter that cuts the most lines into as many fields as the header, at least two."""
    text = raw[:SNIFFED_BYTES].decode("utf-8", errors="replace")
    lines = [line for line in text.splitlines() if line.strip()]
    if len(raw) > SNIFFED_BYTES and len(lines) > 1:
        lines.pop()  # it may be cut
    return max(DELIMITERS, key=lambda delimiter: _fit(lines, delimiter))


def _fit(lines: list[str], delimiter: str) -> tuple[int, int]:
    """The number of lines as wide as the header, and its width; 0 unless it is cut at all."""
    widths = [len(fields) for fields in csv.reader(lines, delimiter=delimiter)]
    if not widths or widths[0] < 2:
        return 0, 0
    return widths.count(widths[0]), widths[0]


def _typed(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column as int64, float64 or bool; as stripped text if it is none of these."""
    numbers = _as_numbers(cells)
    if numbers is not None:
        return numbers
    texts = _stripped(cells)
    typed = _as_booleans(texts)
    if typed is None:
        missing = pc.is_in(texts, pa.array(sorted(MISSING_TOKENS), texts.type))
        present = pc.if_else(missing, pa.scalar(None, texts.type), texts)
        typed = _as_numbers(present)
    return texts if typed is None else typed


def _stripped(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    stripped = pc.utf8_trim_whitespace(cells)
    return pc.if_else(pc.equal(stripped, ""), pa.scalar(None, cells.type), stripped)


def _as_numbers(cells: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """The numbers; None if a cell is no number, or a code with leading zeros."""
    if cells.null_count == len(cells):
        return None
    for kind in (pa.int64(), pa.float64()):
        try:
            pc.cast(cells.slice(0, SAMPLED_ROWS), kind)  # fails early for most texts
            values = pc.cast(cells, kind)
        except pa.ArrowInvalid:
            continue
        may_be_codes = kind == pa.int64() or not _any(pc.match_substring(cells, "."))
        if may_be_codes and _any(pc.match_substring_regex(cells, "^[+-]?0[0-9xX]")):
            return None
        if kind == pa.float64() and _may_be_thousands(cells):
            return None
        if (kind == pa.float64() or cells.null_count) and _loses_digits(cells, values):
            return None  # a float has fewer digits
        return values
    return None


def _loses_digits(cells: pa.ChunkedArray, values: pa.ChunkedArray) -> bool:
    """Whether whole numbers differ in digits that a float, as pandas makes of gaps, cannot hold."""
    span = pc.min_max(values).as_py()
    if max(-span["min"], span["max"]) < MAX_EXACT:
        return False
    if not bool(pc.all(pc.match_substring_regex(cells, "^[+-]?[0-9]+$")).as_py()):
        return False
    floats = pc.cast(values, pa.float64(), safe=False)
    return bool(pc.count_distinct(cells).as_py() > pc.count_distinct(floats).as_py())


def _may_be_thousands(cells: pa.ChunkedArray) -> bool:
    """Whether "1.234" stands beside "999", and no cell has another number of decimals."""
    for some in (cells.slice(0, SAMPLED_ROWS), cells):
        with_point = pc.match_substring(some, ".")
        if _any(pc.and_(with_point, pc.invert(pc.match_substring_regex(some, THOUSANDS)))):
            return False
    return not bool(pc.all(with_point).as_py()) and _any(with_point)


def _as_booleans(cells: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Whether each cell is "true"; None if a cell is neither "true" nor "false"."""
    if not _all_boolean(pc.utf8_lower(cells.slice(0, SAMPLED_ROWS))):
        return None
    lowered = pc.utf8_lower(cells)
    return pc.equal(lowered, "true") if _all_boolean(lowered) else None


def _all_boolean(lowered: pa.ChunkedArray) -> bool:
    if lowered.null_count == len(lowered):
        return False
    booleans = pa.array(["true", "false"], lowered.type)
    return not _any(pc.invert(pc.is_in(lowered.drop_null(), booleans)))


def _any(mask: Any) -> bool:
    return bool(pc.any(mask).as_py())

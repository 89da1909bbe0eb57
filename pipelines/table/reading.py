"""Reading a table from anywhere: CSV (compressed too), Parquet or Feather, from a path or any fsspec URI.

A file is what its first bytes say, whatever it is called. CSV cells are read as text and typed
column by column, because a reader that guesses loses what the target may need: ``NA`` as a class
label, leading zeros of codes, which columns had the same name, and rows that are too short.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import hashlib
import io
import lzma
import zipfile
import zlib
from collections import Counter
from pathlib import PurePosixPath
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.feather

from hpo.errors import DataError, closest
from pipelines.files.uris import safe
from serving.values import MISSING_TOKENS

DELIMITERS = (",", ";", "\t", "|")
SNIFFED_BYTES = 1 << 16
SAMPLED_ROWS = 1000
BLOCK_BYTES = 1 << 24
DIGEST_BYTES = 16

# What installs the library for a store of objects in buckets.
BUCKETS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"} | dict.fromkeys(
    ("az", "abfs", "abfss"), "azure"
)
_NOT_TABLES = {
    b"%PDF": "a PDF document",
    b"SQLite format 3": "an SQLite database",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy array",
    b"\x80\x04": "a pickle",
    b"\x80\x05": "a pickle",
    b"\xd0\xcf\x11\xe0": "an old Excel or Office document",
    b"<": "HTML or XML",
    b"{": "JSON",
    b"[": "JSON",
}


def load_table(uri: str) -> pd.DataFrame:
    """Return the table behind a local path or a URI.

    Column names become texts without surrounding white space, and so do text cells. Numbers,
    true/false and texts are told apart; empty cells are missing; a column of digits with leading
    zeros stays text. Texts like "NA" are missing among numbers, but stay as they are among texts:
    there they may be labels. Raises ``DataError`` when there is no file, no table in it, or not one
    clear reading of it.
    """
    raw = _read(uri)
    uri = safe(uri)  # from here on it is only shown
    raw = _unpacked(uri, raw)
    if not raw:
        raise DataError(f"{uri} is empty; a table needs a header line and rows")
    try:
        frame = _parsed(uri, raw)
    except pa.ArrowException as error:
        raise DataError(f"{uri} cannot be read as a table: {_first_line(error)}") from None
    if not len(frame):
        raise DataError(f"{uri} holds a header ({len(frame.columns)} columns) but no rows")
    return with_text_names(frame, uri)


def with_text_names(frame: pd.DataFrame, source: str = "the table") -> pd.DataFrame:
    """Return the table with stripped text column names; ``DataError`` when two are the same."""
    names = [str(name).strip() for name in frame.columns]
    doubled = [name for name, count in Counter(names).items() if count > 1]
    if doubled:
        headless = all(_is_number(name) for name in names)
        hint = (
            "; the first line looks like data: add a header line"
            if headless
            else "; rename or remove one"
        )
        raise DataError(
            f"{source} has more than one column called {', '.join(map(repr, doubled[:5]))}{hint}"
        )
    return frame.set_axis(names, axis="columns")


def digest(frame: pd.DataFrame) -> str:
    """Return 32 hex digits that stand for names, order, types and values; the same in every process.

    An integer column gives the same digest whatever its width, so that a table keeps its digest as
    CSV or Parquet.
    """
    total = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for position, name in enumerate(frame.columns):
        total.update(repr(name).encode())
        total.update(_column_digest(frame.iloc[:, position]))
    return total.hexdigest()


def _column_digest(series: pd.Series) -> bytes:
    part = hashlib.blake2b(digest_size=DIGEST_BYTES)
    dtype = series.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in "iufbmM":
        wide = series.to_numpy()
        if dtype.kind in "iuf":
            wide = wide.astype({"i": np.int64, "u": np.uint64, "f": np.float64}[dtype.kind])
        part.update(wide.dtype.str.encode())
        part.update(np.ascontiguousarray(wide).tobytes())
        return part.digest()
    values = series.astype(object)
    try:
        codes, uniques = pd.factorize(values)
    except TypeError:  # nested cells
        codes, uniques = pd.factorize(values.map(repr))
    part.update(b"O")
    part.update(codes.astype(np.int64).tobytes())
    for value in uniques:
        text = repr(value).encode()
        part.update(len(text).to_bytes(8, "little") + text)
    return part.digest()


# --- bytes ---------------------------------------------------------------------------------------


def _read(uri: str) -> bytes:
    shown = safe(uri)
    try:
        with fsspec.open(uri, "rb", compression=None) as stream:
            content: bytes = stream.read()
    except FileNotFoundError:
        raise DataError(f"there is no file {shown}{_closest_file(uri)}") from None
    except IsADirectoryError:
        raise DataError(f"{shown} is a folder; give one table file") from None
    except ImportError as error:
        raise DataError(missing_library(shown, error)) from None
    except Exception as error:  # each remote file system has errors of its own
        raise DataError(f"{shown} cannot be opened: {safe(_first_line(error))}") from None
    return content


def missing_library(uri: str, error: ImportError) -> str:
    """The message for a URI whose file system needs a library that is not there, with the line that installs it."""
    protocol = uri.partition("://")[0]
    extra = BUCKETS.get(protocol)
    remedy = f'pip install "mlflow-warmstart[{extra}]"' if extra else "install that library"
    return f"{uri} needs a library for {protocol}:// that is not installed ({_first_line(error)}); {remedy}"


def _closest_file(uri: str) -> str:
    try:
        filesystem, path = fsspec.core.url_to_fs(uri)
        folder, _, name = path.rpartition("/")
        names = [PurePosixPath(entry).name for entry in filesystem.ls(folder or "/", detail=False)]
    except (OSError, ValueError):
        return "; its folder does not exist either"
    except Exception:  # as above; this is only for a hint
        return ""
    return (
        closest(name, names)
        or f"; the folder {safe(folder) or '/'} holds {len(names)} other file(s)"
    )


def _unpacked(uri: str, raw: bytes) -> bytes:
    try:
        if raw.startswith(b"\x1f\x8b"):
            return gzip.decompress(raw)
        if raw.startswith(b"BZh"):
            return bz2.decompress(raw)
        if raw.startswith(b"\xfd7zXZ\x00"):
            return lzma.decompress(raw)
        if raw.startswith(b"\x28\xb5\x2f\xfd"):
            return bytes(pa.input_stream(io.BytesIO(raw), compression="zstd").read())
        if raw.startswith(b"PK\x03\x04"):
            return _unzipped(uri, raw)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{uri} is damaged: it cannot be decompressed ({_first_line(error)}); copy it again"
        ) from None
    return raw


def _unzipped(uri: str, raw: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        names = [
            name for name in archive.namelist() if not name.endswith("/") and "__MACOSX" not in name
        ]
        if "[Content_Types].xml" in names:
            raise DataError(
                f"{uri} is an Excel or Office document; save the sheet as CSV or Parquet"
            )
        if len(names) != 1:
            shown = ", ".join(names[:5])
            raise DataError(
                f"{uri} holds {len(names)} files ({shown}); a zip archive must hold just the table"
            )
        return archive.read(names[0])


# --- formats -------------------------------------------------------------------------------------


def _parsed(uri: str, raw: bytes) -> pd.DataFrame:
    if raw.startswith(b"PAR1"):
        return _with_index_as_columns(pd.read_parquet(io.BytesIO(raw)))
    if raw.startswith((b"ARROW1", b"FEA1")):
        return _with_index_as_columns(pyarrow.feather.read_feather(io.BytesIO(raw)))
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raw = raw.decode("utf-16").encode()
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    for magic, what in _NOT_TABLES.items():
        if raw.startswith(magic):
            raise DataError(f"{uri} is {what}, not a table; give CSV, Parquet or Feather")
    if b"\x00" in raw[:SNIFFED_BYTES]:
        raise DataError(
            f"{uri} is binary, but neither Parquet nor Feather; give CSV, Parquet or Feather"
        )
    return _parsed_csv(uri, raw)


def _with_index_as_columns(frame: pd.DataFrame) -> pd.DataFrame:
    return frame if isinstance(frame.index, pd.RangeIndex) else frame.reset_index()


def _parsed_csv(uri: str, raw: bytes) -> pd.DataFrame:
    if raw.isspace():
        raise DataError(f"{uri} is empty; a table needs a header line and rows")
    if raw[:1] in (b"\r", b"\n"):
        raw = raw.lstrip(b"\r\n")
    if b"\n" not in raw and b"\r" not in raw:
        raw += b"\n"  # pyarrow does not take a header that ends with the file
    delimiter = _delimiter(uri, raw)
    names = _header(raw, delimiter)
    positions = [
        f"f{i}" for i in range(len(names))
    ]  # names may be doubled, so columns go by position until checked
    read_options = pyarrow.csv.ReadOptions(
        block_size=BLOCK_BYTES, column_names=positions, skip_rows_after_names=1
    )
    convert_options = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(positions, pa.string()),
        null_values=[""],
        strings_can_be_null=True,
    )
    parse_options = pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=b'"' in raw)
    try:
        cells = pyarrow.csv.read_csv(
            pa.BufferReader(raw),
            read_options,
            parse_options=parse_options,
            convert_options=convert_options,
        )
    except pa.ArrowInvalid as error:
        raise DataError(_csv_mistake(uri, raw, delimiter, len(names), error)) from None
    if raw.count(b'"') % 2:
        _check_quotes(uri, raw, delimiter)
    typed = [_typed(cells.column(i), decimal_comma=delimiter == ";") for i in range(len(names))]
    del cells
    frame: pd.DataFrame = pa.table(typed, names=positions).to_pandas()
    return frame.set_axis(names, axis="columns")


def _delimiter(uri: str, raw: bytes) -> str:
    """Return the delimiter that cuts the most lines into as many fields as the header, and at least two."""
    text = raw[:SNIFFED_BYTES].decode("utf-8", errors="replace")
    lines = [line for line in text.splitlines() if line.strip()]
    lines = (
        lines[: max(1, len(lines) - 1)] if len(raw) > SNIFFED_BYTES else lines
    )  # the last one may be cut
    scores: dict[str, tuple[int, int]] = {}
    for delimiter in DELIMITERS:
        widths = [len(fields) for fields in csv.reader(lines, delimiter=delimiter)]
        if widths and widths[0] > 1:
            scores[delimiter] = (sum(width == widths[0] for width in widths), widths[0])
    return max(scores, key=lambda delimiter: scores[delimiter]) if scores else ","


def _header(raw: bytes, delimiter: str) -> list[str]:
    lines = io.TextIOWrapper(io.BytesIO(raw), encoding="utf-8", errors="replace", newline="")
    names = next(fields for fields in csv.reader(lines, delimiter=delimiter) if fields)
    return [name.strip() or f"Unnamed: {i}" for i, name in enumerate(names)]


def _csv_mistake(uri: str, raw: bytes, delimiter: str, n_columns: int, error: Exception) -> str:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as undecodable:
        line = raw.count(b"\n", 0, undecodable.start) + 1
        byte = raw[undecodable.start]
        return f"{uri} is not UTF-8 text: line {line} holds the byte 0x{byte:02x}; save the file as UTF-8"
    wrong: list[tuple[int, int]] = []
    lines = csv.reader(io.StringIO(raw.decode("utf-8"), newline=""), delimiter=delimiter)
    for fields in lines:
        if fields and len(fields) != n_columns:
            wrong.append((lines.line_num, len(fields)))
    if not wrong:
        return f"{uri} cannot be read as CSV: {_first_line(error)}"
    line, width = wrong[0]
    return (
        f"{uri} has {len(wrong):,} row(s) with too many or too few fields; each must have {n_columns} as the header, "
        f"but line {line} has {width}; mend these rows, quote values that hold {delimiter!r}"
    )


def _check_quotes(uri: str, raw: bytes, delimiter: str) -> None:
    lines = csv.reader(
        io.StringIO(raw.decode("utf-8"), newline=""), delimiter=delimiter, strict=True
    )
    start = 1
    try:
        for _ in lines:
            start = lines.line_num + 1
    except csv.Error:
        raise DataError(
            f"{uri}: a quoted value that begins in line {start} does not end; close it"
        ) from None


def _typed(cells: pa.ChunkedArray, decimal_comma: bool) -> pa.ChunkedArray:
    """Return a column of texts as int64, float64, bool or, when it is none of these, stripped texts."""
    found = _as_number(cells)
    if found is None:
        cells = _stripped(cells)
        found = _as_bool(cells)
    if found is None:
        tokens = pa.array(sorted(MISSING_TOKENS), cells.type)
        candidates = pc.if_else(pc.is_in(cells, tokens), pa.scalar(None, cells.type), cells)
        found = _as_number(candidates)
        if found is None and decimal_comma:
            found = _as_number(
                pc.replace_substring_regex(candidates, r"^([+-]?\d+),(\d+)$", r"\1.\2")
            )
    return cells if found is None else found


def _stripped(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    stripped = pc.utf8_trim_whitespace(cells)
    return pc.if_else(pc.equal(stripped, ""), pa.scalar(None, cells.type), stripped)


def _as_number(cells: pa.ChunkedArray) -> pa.ChunkedArray | None:
    if cells.null_count == len(cells):
        return None
    for kind in (pa.int64(), pa.float64()):
        try:
            pc.cast(cells.slice(0, SAMPLED_ROWS), kind)  # most texts give themselves away at once
            values = pc.cast(cells, kind)
        except pa.ArrowInvalid:
            continue
        is_code = kind == pa.int64() or not _any(pc.match_substring(cells, "."))
        return (
            None if is_code and _any(pc.match_substring_regex(cells, "^[+-]?0[0-9xX]")) else values
        )
    return None


def _as_bool(cells: pa.ChunkedArray) -> pa.ChunkedArray | None:
    lowered = pc.utf8_lower(cells.slice(0, SAMPLED_ROWS))
    if not _all_boolean(lowered):
        return None
    lowered = pc.utf8_lower(cells)
    return pc.equal(lowered, "true") if _all_boolean(lowered) else None


def _all_boolean(lowered: pa.ChunkedArray) -> bool:
    wanted = pa.array(["true", "false"], lowered.type)
    return lowered.null_count < len(lowered) and not _any(
        pc.invert(pc.is_in(lowered.drop_null(), wanted))
    )


def _any(mask: Any) -> bool:
    return bool(pc.any(mask).as_py())


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__

"""Reading a table from a path or any fsspec URI: CSV (also compressed), Parquet or Feather.

The format is recognised by the first bytes of the file, whatever its name.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import socket
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path, PurePosixPath
from threading import Thread
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather

from hpo.errors import DataError, closest, counted
from pipelines.files.uris import missing_library, safe
from pipelines.table.delimited import SNIFFED_BYTES, Cells, first_line, parse_csv, typed
from serving.names import normal_name, normal_names

if TYPE_CHECKING:
    from pipelines.table.source import Place

DIGEST_BYTES = 16
# How libraries say that a host name has no address.
_NO_ADDRESS = (
    "Name or service not known",
    "name resolution",
    "nodename nor servname",
    "getaddrinfo",
)
SPELLING = "spelling"
AHEAD_BYTES = 1 << 24  # of a file that is worth a thread
MAX_NULS = 0.01  # of the first bytes; more are not those of damaged text
_OF_TEXT = frozenset([0, *b"\t\n\r\x0b\x0c", *range(32, 256)])

_WIDEST = {"i": np.dtype(np.int64), "u": np.dtype(np.uint64), "f": np.dtype(np.float64)}
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


def read_table(place: Place, ahead: Ahead | None = None) -> pd.DataFrame:
    """A table that is in memory, was read `ahead`, or is read by `load_table`."""
    taken = None if ahead is None else ahead.take()
    if taken is not None:
        return taken
    return place if isinstance(place, pd.DataFrame) else load_table(str(place))


class Ahead:
    """A large file of this machine that a thread reads while the driver does something else.

    A context manager: its end waits for the thread, because one that runs when Python ends may
    end the process with an error.

    Args:
        place: of a table; only a large local file is read ahead.
    """

    def __init__(self, place: object) -> None:
        self._place = place
        self._future: Future[pd.DataFrame] = Future()
        self._thread = Thread(target=self._read, name="reads-ahead", daemon=True)
        path = Path(place).expanduser() if isinstance(place, str | Path) else None
        if path is not None and path.is_file() and path.stat().st_size >= AHEAD_BYTES:
            self._thread.start()

    def take(self) -> pd.DataFrame | None:
        """The table, once; None if it is not read ahead, or was taken.

        Raises:
            DataError: as `load_table`.
        """
        if self._thread.ident is None:
            return None
        self._thread.join()
        future, self._future = self._future, Future()
        return future.result() if future.done() else None

    def __enter__(self) -> Self:
        """The reader."""
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for the thread, and release the table."""
        if self._thread.ident is not None:
            self._thread.join()
        self._future = Future()

    def _read(self) -> None:
        try:
            self._future.set_result(load_table(str(self._place)))
        except Exception as error:  # raised where the table is taken
            self._future.set_exception(error)


def load_table(uri: str) -> pd.DataFrame:
    """Read the table at a local path or a URI.

    Column names and text cells are stripped of white space. Numbers, booleans and texts are
    recognised; empty cells are missing; a column of digits with leading zeros stays text. Texts
    like "NA" are missing in a column of numbers, but not among other texts, where they may be
    labels. The index of a Parquet or Feather file is the index of the table, and no column.

    Raises:
        DataError: if there is no file, or it cannot be read as one table.
    """
    shown = safe(uri)
    try:
        parsed = _parsed(shown, _unpacked(shown, _read(uri)))  # the text of the file is freed here
    except pa.ArrowException as error:
        raise DataError(f"{shown} cannot be read as a table: {first_line(error)}") from None
    frame = typed(parsed) if isinstance(parsed, Cells) else parsed
    pa.default_memory_pool().release_unused()  # else it keeps what parsing took
    if not len(frame):
        raise DataError(
            f"{shown} holds a header ({counted(len(frame.columns), 'column')}) but no rows"
        )
    return with_text_names(frame, shown)


def with_text_names(frame: pd.DataFrame, source: str = "the table") -> pd.DataFrame:
    """The table with column names in their normal form.

    How the others were spelled is kept in `attrs`, for the signature of a logged model.

    Raises:
        DataError: if two names are equal then.
    """
    names = normal_names(frame.columns)
    doubled = [name for name, count in Counter(names).items() if count > 1]
    if doubled:
        shown = ", ".join(map(repr, doubled[:5]))
        headless = all(map(_is_number, names))
        hint = "the first line looks like data: add a header line"
        raise DataError(
            f"{source} has more than one column called {shown}; "
            f"{hint if headless else 'rename or remove one'}"
        )
    named = frame.set_axis(names, axis="columns")
    changed = {name: old for name, old in zip(names, frame.columns, strict=True) if name != old}
    if known := spelling(frame) | changed:  # attributes are copied with each column
        named.attrs[SPELLING] = known
    return named


def spelling(frame: pd.DataFrame) -> dict[str, Any]:
    """How the table spelled the names that are not in their normal form, by normal name."""
    return dict(frame.attrs.get(SPELLING, {}))


def without_index(frame: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The table with its rows numbered, because an index is no column, and a note on what it lost.

    Row numbers are not worth a note.
    """
    index = frame.index
    names = [normal_name(name) for name in index.names if name is not None]
    if not names and isinstance(index, pd.RangeIndex):
        return frame.reset_index(drop=True), ()
    shown = f"the index {', '.join(map(repr, names))}" if names else "an index without a name"
    note = f"{shown} is not used, it is no column; reset_index() makes it one"
    return frame.reset_index(drop=True), (note,)


def digest(frame: pd.DataFrame) -> str:
    """32 hex digits that identify the names, order, types and values of the columns.

    The width of an integer type does not matter, so that a table has the same digest as CSV and as
    Parquet.
    """
    total = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for position, name in enumerate(frame.columns):
        total.update(repr(name).encode())
        total.update(_column_digest(frame.iloc[:, position]))
    return total.hexdigest()


def _column_digest(series: pd.Series) -> bytes:
    dtype = series.dtype
    part = hashlib.blake2b(digest_size=DIGEST_BYTES)
    if isinstance(dtype, np.dtype) and dtype.kind in "iufbmM":
        values = series.to_numpy()
        wide = values.astype(_WIDEST.get(dtype.kind, dtype), copy=False)
        part.update(wide.dtype.str.encode())
        part.update(np.ascontiguousarray(wide).tobytes())
        return part.digest()
    objects = series.astype(object)
    try:
        codes, uniques = pd.factorize(objects)
    except TypeError:  # nested cells
        codes, uniques = pd.factorize(objects.map(repr))
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
    except FileNotFoundError as error:
        if mistake := _unreachable(uri, error):
            raise DataError(mistake) from None
        raise DataError(f"there is no file {shown}{_closest_file(uri)}") from None
    except IsADirectoryError:
        raise DataError(f"{shown} is a folder; give one table file") from None
    except ImportError as error:
        raise DataError(missing_library(shown, error)) from None
    except Exception as error:  # every remote file system has its own errors
        mistake = _unreachable(uri, error)
        reason = mistake or f"{shown} cannot be opened: {safe(first_line(error))}"
        raise DataError(reason) from None
    return content


def _unreachable(uri: str, error: BaseException | None) -> str:
    """The message for an error that a host is unknown or does not answer; empty for another one.

    Libraries raise errors of their own, which these caused.
    """
    place = urlsplit(uri)
    begin = f"{safe(uri)} cannot be opened: the host {place.hostname or uri!r}"
    while error is not None:
        if isinstance(error, socket.gaierror) or any(t in str(error) for t in _NO_ADDRESS):
            return f"{begin} is not known; check its name and the network"
        if isinstance(error, ConnectionRefusedError):
            return f"{begin} refuses the connection; check the port, and that its server runs"
        error = error.__cause__ or error.__context__
    return ""


def _closest_file(uri: str) -> str:
    try:
        filesystem, path = fsspec.core.url_to_fs(uri)
        folder, _, name = path.rpartition("/")
        names = [PurePosixPath(entry).name for entry in filesystem.ls(folder or "/", detail=False)]
    except (OSError, ValueError):
        return "; its folder does not exist either"
    except Exception:  # as in _read; the hint is optional
        return ""
    return (
        closest(name, names)
        or f"; the folder {safe(folder) or '/'} holds {len(names)} other file(s)"
    )


def _unpacked(uri: str, raw: bytes) -> bytes:
    try:
        for magic, decompress in _COMPRESSIONS.items():
            if raw.startswith(magic):
                return decompress(raw)
        if raw.startswith(b"PK\x03\x04"):
            return _unzipped(uri, raw)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{uri} is damaged: it cannot be decompressed ({first_line(error)}); copy it again"
        ) from None
    return raw


def _unzstd(raw: bytes) -> bytes:
    return bytes(pa.input_stream(io.BytesIO(raw), compression="zstd").read())


_COMPRESSIONS: Mapping[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": gzip.decompress,
    b"BZh": bz2.decompress,
    b"\xfd7zXZ\x00": lzma.decompress,
    b"\x28\xb5\x2f\xfd": _unzstd,
}


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
                f"{uri} holds {counted(len(names), 'file')} ({shown}); a zip archive must hold "
                "just the table"
            )
        return archive.read(names[0])


# --- formats -------------------------------------------------------------------------------------


def _parsed(uri: str, raw: bytes) -> pd.DataFrame | Cells:
    if not raw:
        raise DataError(f"{uri} is empty; a table needs a header line and rows")
    if raw.startswith(b"PAR1"):
        return pd.read_parquet(io.BytesIO(raw))
    if raw.startswith((b"ARROW1", b"FEA1")):
        feather: pd.DataFrame = pyarrow.feather.read_feather(io.BytesIO(raw))
        return feather
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raw = raw.decode("utf-16").encode()
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    for magic, content in _NOT_TABLES.items():
        if raw.startswith(magic):
            raise DataError(f"{uri} is {content}, not a table; give CSV, Parquet or Feather")
    _check_text(uri, raw)
    return parse_csv(uri, raw)


def _check_text(uri: str, raw: bytes) -> None:
    """Check that a file holds text; readers of CSV differ in what they do at a NUL byte.

    Raises:
        DataError: if it is binary, or naming the line of the first NUL byte.
    """
    first = raw.find(b"\x00")
    if first < 0:
        return
    head = raw[:SNIFFED_BYTES]
    if not set(head) <= _OF_TEXT or head.count(b"\x00") > MAX_NULS * len(head):
        raise DataError(
            f"{uri} is binary, but neither Parquet nor Feather; give CSV as UTF-8 text, Parquet or "
            "Feather"
        )
    count, line = raw.count(b"\x00"), raw.count(b"\n", 0, first) + 1
    raise DataError(
        f"{uri} holds {counted(count, 'NUL byte')}, the first in line {line:,}, which no text has; "
        "the file may be damaged: copy it again, or remove the bytes"
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

import bz2
import gzip
import io
import lzma
import socket
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.errors import DataError
from pipelines.table import delimited, reading
from pipelines.table.reading import (
    Ahead,
    digest,
    load_table,
    read_table,
    with_text_names,
    without_index,
)

ROOT = Path(__file__).parents[3]

CSV = b"n,name,y\n1,ann,0.5\n2,bob,1.5\n"


def load(tmp_path: Path, content: bytes, name: str = "t.csv") -> pd.DataFrame:
    (tmp_path / name).write_bytes(content)
    return load_table(str(tmp_path / name))


def zipped(path: Path) -> bytes:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("inner.csv", CSV)
    return path.read_bytes()


def zstd() -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(CSV)
    return bytes(sink.getvalue().to_pybytes())


def test_every_format_gives_the_same_table(tmp_path: Path) -> None:
    expected = load(tmp_path, CSV)
    packed = {"a.gz": gzip.compress(CSV), "a.bz2": bz2.compress(CSV), "a.xz": lzma.compress(CSV)}
    packed |= {
        "a.zst": zstd(),
        "a.zip": zipped(tmp_path / "z.zip"),
        "no-extension": gzip.compress(CSV),
    }
    packed |= {
        "a.tsv": CSV.replace(b",", b"\t"),
        "b.csv": CSV.replace(b",", b";"),
        "c.csv": CSV.replace(b",", b"|"),
    }
    packed |= {
        "crlf.csv": CSV.replace(b"\n", b"\r\n"),
        "bom.csv": b"\xef\xbb\xbf" + CSV,
        "blank.csv": b"\n\n" + CSV,
    }
    packed |= {"utf16.csv": CSV.decode().encode("utf-16")}
    for name, content in packed.items():
        pd.testing.assert_frame_equal(load(tmp_path, content, name), expected)
    for suffix in ("parquet", "feather"):
        getattr(expected, f"to_{suffix}")(tmp_path / f"t.{suffix}")
        found = load_table(str(tmp_path / f"t.{suffix}"))
        pd.testing.assert_frame_equal(found, expected)
        assert digest(found) == digest(expected)


def test_uris_and_paths(tmp_path: Path) -> None:
    expected = load(tmp_path, CSV)
    with fsspec.open("memory://tables/t.csv", "wb") as stream:
        stream.write(CSV)
    pd.testing.assert_frame_equal(load_table("memory://tables/t.csv"), expected)
    pd.testing.assert_frame_equal(load_table(f"file://{tmp_path}/t.csv"), expected)


def test_cells_keep_what_a_guessing_reader_loses(tmp_path: Path) -> None:
    frame = load(
        tmp_path,
        b"zip,label,flag,number,huge,text\n"
        b'00123,NA,True,1,10000000000000000000000000," a ""b"", c"\n'
        b'10001,None,false, NA,2,"two\nlines"\n,nan,TRUE,?,,\n',
    )
    assert frame["zip"].tolist()[:2] == ["00123", "10001"]
    assert frame["label"].tolist() == ["NA", "None", "nan"]
    assert frame["flag"].tolist() == [True, False, True]
    assert frame["number"].dtype == np.float64
    assert frame["number"].isna().tolist() == [False, True, True]
    assert frame["huge"].iloc[0] == 1e25
    assert frame["text"].tolist()[:2] == ['a "b", c', "two\nlines"]
    assert frame.isna().sum().to_dict() == {
        "zip": 1,
        "label": 0,
        "flag": 0,
        "number": 2,
        "huge": 1,
        "text": 1,
    }


def test_cells_and_names_have_no_blanks_around(tmp_path: Path) -> None:
    frame = load(tmp_path, b"a ; b\n1.5;x\n -2; y\n")
    assert frame["a"].tolist() == [1.5, -2.0]
    assert frame["b"].tolist() == ["x", "y"]


def test_hexadecimal_texts_are_no_numbers(tmp_path: Path) -> None:
    assert load(tmp_path, b"a,b\n0x1F,1\n0x2A,2\n")["a"].tolist() == ["0x1F", "0x2A"]


def test_a_column_without_name_gets_one(tmp_path: Path) -> None:
    assert list(load(tmp_path, b",a\n0,5\n1,6\n").columns) == ["Unnamed: 0", "a"]


def test_an_index_that_was_written_twice_has_the_names_that_pandas_gives(tmp_path: Path) -> None:
    text = pd.DataFrame({"a": [5, 6]}).to_csv()
    for _ in range(2):
        text = pd.read_csv(io.StringIO(text)).to_csv()
    names = list(load(tmp_path, text.encode()).columns)
    assert names == list(pd.read_csv(io.StringIO(text)).columns)
    assert names == ["Unnamed: 0.2", "Unnamed: 0.1", "Unnamed: 0", "a"]


def test_a_first_line_may_say_the_delimiter(tmp_path: Path) -> None:
    assert load(tmp_path, b"sep=;\na;b\n1,5;2\n2,5;3\n")["b"].tolist() == [2, 3]


def test_thousands_with_a_point_are_no_decimals(tmp_path: Path) -> None:
    assert load(tmp_path, b"a\n1.234\n999\n")["a"].tolist() == ["1.234", "999"]
    assert load(tmp_path, b"a\n1.234\n0.999\n")["a"].tolist() == [1.234, 0.999]


@pytest.mark.parametrize("suffix", ["parquet", "feather"])
def test_an_index_is_no_column(tmp_path: Path, suffix: str) -> None:
    frame = pd.DataFrame({"a": [1, 2]}, index=pd.Index([7, 8], name="key"))
    pa.feather.write_feather(pa.Table.from_pandas(frame), tmp_path / "t.feather")
    frame.to_parquet(tmp_path / "t.parquet")
    found, notes = without_index(load_table(str(tmp_path / f"t.{suffix}")))
    assert list(found.columns) == ["a"]
    assert list(found.index) == [0, 1]
    assert notes == ("the index 'key' is not used, it is no column; reset_index() makes it one",)
    assert "an index without a name" in without_index(frame.rename_axis(None))[1][0]
    assert without_index(frame.reset_index())[1] == ()


def test_names_have_one_normal_form(tmp_path: Path) -> None:
    content = "\ufeff id , Gro\u0308ße,3\n1,2,3\n".encode()
    assert list(load(tmp_path, content).columns) == ["id", "Größe", "3"]
    frame = pd.DataFrame([[1, 2, 3]], columns=[b"id ", "Gro\u0308ße", 3])
    assert list(with_text_names(frame).columns) == ["id", "Größe", "3"]
    with pytest.raises(DataError, match="more than one column called '3'"):
        with_text_names(pd.DataFrame([[1, 2]], columns=[3, " 3"]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n \n", "is empty"),
        (b"a,b\n", "header .2 columns. but no rows"),
        (b"hello", "header .1 column. but no rows"),
        (b'{"a": 1}', "is JSON, not a table"),
        (b"<html></html>", "is HTML or XML, not a table"),
        (b"%PDF-1.7", "PDF"),
        (b"\x80\x05.", "is a pickle, not a table"),
        (b"abc\x00\x01,1", "is binary"),
        ("a,b\n1,2\n".encode("utf-16-le"), "is binary"),
        (b"a,b\n" + 30 * b"1,2\n" + b"3\x00,4\n", "holds 1 NUL byte, the first in line 32"),
        (b"a,b\n" + 30_000 * b"1,2\n" + b"3\x00\x00,4\n", "2 NUL bytes, .* line 30,002"),
        (b"a,b,a\n1,2,3\n", "more than one column called 'a'"),
        (b"1,2,2\n3,4,5\n", "looks like data: add a header"),
        (b"a,b\n1,2\n3\n4,5,6\n", "2 rows .*line 3 has 1"),
        (
            b"# of 2024\na,b\n1,2\n3,4\n",
            "begins with 1 line before its header, such as '# of 2024'",
        ),
        (b"Sales\n\na,b\n1,2\n3,4\n", "begins with 2 lines before its header, such as 'Sales'"),
        (b"a,b\n1,2\n\n a ,b\n3,4\n", "repeats its header in 1 line: 4; remove it"),
        (b'a,b\n1,"2\n3,4\n', "begins in line 2 does not end"),
        ("a,b\n1,é\n".encode("latin-1"), "line 2 holds the byte 0xe9"),
        ("a,é\n1,2\n".encode("latin-1"), "line 1 holds the byte 0xe9"),
        (gzip.compress(CSV, mtime=0)[:-9], "is damaged"),
        (b"\x28\xb5\x2f\xfd123", "is damaged"),
        (b"PK\x03\x04123", "is damaged"),
        (b"PAR1" + bytes(50), "cannot be read as a table"),
        (b"ARROW1" + bytes(50), "cannot be read as a table"),
    ],
)
def test_what_is_no_table_is_one_clear_error(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(tmp_path, content)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['"abc,1,x', "abc,2,y", '"abc,3,z', "d,4,w"], "begins in line 2 goes on after its end"),
        (["a,1,x", 'b,2,"y', "c,3,z", 'd,4,w"', "e,5,v"], "line 3 goes on to line 5 and holds"),
        (["a,1,x", 'b,2,"y', "c,3,z"], "line 3 does not end"),
    ],
)
def test_a_stray_quote_is_an_error_with_its_line(
    tmp_path: Path, lines: list[str], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        load(tmp_path, "\n".join(["t,b,y", *lines, ""]).encode())


def test_quotes_that_are_text_are_kept(tmp_path: Path) -> None:
    rows = b't,b\n5" pipe,1\n"two\nlines, one comma",2\n"a ""b"" c",3\n'
    found = load(tmp_path, rows)["t"].tolist()
    assert found == ['5" pipe', "two\nlines, one comma", 'a "b" c']


def test_archives_hold_one_table(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("a.csv", CSV)
        archive.writestr("b.csv", CSV)
    with pytest.raises(DataError, match=r"holds 2 files \(a.csv, b.csv\)"):
        load_table(str(tmp_path / "two.zip"))
    with zipfile.ZipFile(tmp_path / "x.xlsx", "w") as archive:
        archive.writestr("[Content_Types].xml", "")
    with pytest.raises(DataError, match="Excel"):
        load_table(str(tmp_path / "x.xlsx"))


def test_a_missing_file_names_the_closest(tmp_path: Path) -> None:
    (tmp_path / "adult.csv").write_bytes(CSV)
    with pytest.raises(DataError, match="did you mean 'adult.csv'"):
        load_table(str(tmp_path / "adlt.csv"))
    with pytest.raises(DataError, match="folder does not exist"):
        load_table(str(tmp_path / "nowhere" / "adult.csv"))
    with pytest.raises(DataError, match="is a folder"):
        load_table(str(tmp_path))


def test_protocols(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(DataError, match=r"mlflow-warmstart\[gcs\]"):
        load_table("gs://bucket/table.csv")
    with pytest.raises(DataError, match="cannot be opened"):
        load_table("nonsense://table.csv")


def test_the_digest_sees_values_names_order_and_types() -> None:
    frame = pd.DataFrame({"a": [1, 2, None], "b": ["x", "y", None]})
    others = [
        frame.rename(columns={"a": "c"}),
        frame[["b", "a"]],
        frame.iloc[::-1],
        frame.assign(a=[1, 2, 3]),
        frame.assign(b=pd.Series(["x", "yy", None])),
        frame.assign(b=pd.Series([None, "y", "x"])),
    ]
    assert len({digest(other) for other in [frame, *others]}) == 1 + len(others)
    assert digest(frame.copy()) == digest(frame)
    assert digest(pd.DataFrame({"a": np.array([1, 2], np.int8)})) == digest(
        pd.DataFrame({"a": [1, 2]})
    )


def test_the_digest_is_the_same_in_another_process() -> None:
    code = (
        "import pandas as pd; from pipelines.table.reading import digest;"
        "print(digest(pd.DataFrame({'a': [1.5, None], 'b': ['x', None], 'c': [True, False]})))"
    )
    here = digest(pd.DataFrame({"a": [1.5, None], "b": ["x", None], "c": [True, False]}))
    there = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert there.stdout.strip() == here


def test_a_server_that_does_not_run_is_said_to_refuse() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(DataError, match=r"the host '127.0.0.1' refuses the connection; check the"):
        load_table(f"http://127.0.0.1:{port}/t.csv")


@given(st.lists(st.sampled_from(['"', "\n", "a", ","]), max_size=40), st.integers(1, 9))
def test_a_line_that_ends_inside_of_quotes_is_found_in_blocks(parts: list[str], block: int) -> None:
    raw = "".join(parts).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delimited, "BLOCK_BYTES", block)
        found = delimited._DelimitedText("t.csv", raw, ",")._has_open_quotes()
    assert found == any(line.count(b'"') % 2 for line in raw.split(b"\n"))


def test_a_large_file_is_read_ahead_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(CSV)
    with Ahead(path) as small:
        assert small.take() is None
    monkeypatch.setattr(reading, "AHEAD_BYTES", 1)
    expected = read_table(path)
    with Ahead(str(path)) as ahead:
        pd.testing.assert_frame_equal(read_table("elsewhere", ahead), expected)
        assert ahead.take() is None
    with Ahead(expected) as in_memory:
        assert in_memory.take() is None


def test_a_mistake_in_a_file_that_is_read_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "AHEAD_BYTES", 1)
    path = tmp_path / "t.csv"
    path.write_text("a,a\n1,2\n")
    with Ahead(path) as ahead, pytest.raises(DataError, match="more than one column"):
        read_table(path, ahead)
    with Ahead(path):
        pass

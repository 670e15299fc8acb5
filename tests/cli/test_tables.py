"""Tables as spreadsheets, pandas and R write them: numbers are data, and only data."""

from __future__ import annotations

import contextlib
import gzip
import warnings

import numpy as np
import pytest

from fastgen.cli import data, tables


def read(tmp_path, text, name="table.csv", **options):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return tables.read(str(path), **options)


A = [[1.5, 2], [3, 4.25], [5, 6], [7, 8.5]]
BODY = ["1.5,2", "3,4.25", "5,6", "7,8.5"]


def rows(names, header=None):
    lines = [f"{name},{line}" for name, line in zip(names, BODY, strict=True)]
    return "\n".join(lines if header is None else [header, *lines]) + "\n"


@pytest.mark.parametrize(
    ("text", "warned"),
    [
        (rows([0, 1, 2, 3], ",a,b"), False),  # pandas' to_csv
        (rows([12, 7, 101, 3], ",a,b"), False),  # the same after a split or a sort
        (rows(['"1"', '"2"', '"3"', '"4"'], '"","a","b"'), False),  # R's write.csv
        (rows(['"1"', '"2"', '"3"', '"4"'], '"a","b"'), False),  # R's write.table
        (rows([1, 2, 3, 4], "x,a,b"), True),
        (rows([3, 1, 2, 0], "x,a,b"), True),
        (rows([672, 7157, 1956, 4609], "entrez_id,a,b"), True),
        (rows([672, 7157, 1956, 4609], "Unnamed: 0,a,b"), True),
        (rows(["1_1", "10_5", "2_7", "3_1"], "cell,a,b"), False),
        (rows(["1_1", "10_5", "2_7", "3_1"], "x,a,b"), False),
        ("# made by hand\n#id,a,b\n" + rows(["w", "x", "y", "z"]), False),
        ("# made by hand\n" + rows(["w", "x", "y", "z"], "id,a,b"), False),
        (rows(["w", "x", "y", "z"], "id,a,b").replace(",", ";").replace(".", ","), False),
        (rows(["w", "x", "y", "z"], "id,a,b").replace(",", "\t").replace(".", ","), False),
        (rows(["w", "x", "y", "z"], '"a" "b"').replace(",", " "), False),  # write.table, sep=" "
        (rows(["w;1", "x;2", "y;3", "z;4"], "id,a,b"), False),
        (rows(['"w, 1"', '"x"', '"y"', '"z"'], "id,a,b"), False),
        (rows(["w", "x", "y", "z"], "id,a,b").replace("\n", ",\n"), False),  # a last comma
        (rows(["w", "x", "y", "z"], "id,a,b").encode("utf-16"), False),
        (gzip.compress(rows(["w", "x", "y", "z"], "id,a,b").encode(), mtime=0), False),
    ],
)
def test_first_columns_that_name_rows_are_no_data(tmp_path, text, warned):
    expects = pytest.warns(UserWarning, match="taken for their names")
    with expects if warned else contextlib.nullcontext():
        found = read(tmp_path, text)
    np.testing.assert_array_equal(found.rows, A)
    assert found.columns == ["a", "b"]
    assert len(set(found.names)) == 4


def test_counted_rows_without_header(tmp_path):
    with pytest.warns(UserWarning, match="the first column holds a number of its own"):
        found = read(tmp_path, rows([0, 1, 2, 3]))
    np.testing.assert_array_equal(found.rows, A)
    assert found.names == ["0", "1", "2", "3"]
    assert found.columns == ["0", "1"]


def test_unlike_integers_are_warned_of(tmp_path):
    text = rows([19, 45, 33, 71], "age,a,b")
    with pytest.warns(UserWarning, match="taken for data; pass --ignore age"):
        assert read(tmp_path, text).columns == ["age", "a", "b"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(tmp_path, text, columns=["age", "b"]).columns == ["age", "b"]
        assert read(tmp_path, text, ignore=["age"]).columns == ["a", "b"]
        # counts beside counts
        counts = read(tmp_path, "p,q\n19,3\n45,4\n33,1\n")
        np.testing.assert_array_equal(counts.rows, [[19, 3], [45, 4], [33, 1]])
        # two rows are counted by chance
        assert read(tmp_path, "p,q\n0,3\n1,4\n").columns == ["p", "q"]


def test_a_column_that_was_asked_for_is_data(tmp_path):
    found = read(tmp_path, rows([1, 2, 3, 4], "x,a,b"), columns=["x", "a"])
    np.testing.assert_array_equal(found.rows, [[1, 1.5], [2, 3], [3, 5], [4, 7]])
    assert found.names == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("gene,2001,2002\na,1,2.5\nb,3,4\n", ["2001", "2002"]),
        (",0,1,2\n0,.5,2.5,1\n1,3,4,1.5\n", ["0", "1", "2"]),
        ("0,1,2\n.5,2.5,1\n3,4,1.5\n", ["0", "1", "2"]),
        ("x,1,2,3\na,.5,2.5,1\nb,3,4,1.5\n", ["1", "2", "3"]),
        (",0.5,4\na,1,2\nb,3,4\n", ["0.5", "4"]),
        ("#CHROM\t10\t20\na\t1\t2.5\nb\t3\t4\n", ["10", "20"]),
    ],
)
def test_headers_of_numbers(tmp_path, text, columns):
    found = read(tmp_path, text)
    assert found.columns == columns
    assert len(found.rows) == 2


def test_headers_of_numbers_may_be_rows(tmp_path):
    with pytest.raises(ValueError, match=r"line 1: place, 2001, 2002 may be a header of numbers"):
        read(tmp_path, "place,2001,2002\na,1,2.5\nb,3,4\n")
    with pytest.raises(ValueError, match="may be a header of numbers"):
        read(tmp_path, "2001,2002\n1.5,2.5\n3,4.5\n")
    plain = read(tmp_path, "5,2\n1.5,2.5\n3,4.5\n")
    assert len(plain.rows) == 3


def test_text_columns_are_asked_about(tmp_path):
    text = "gene,chrom,a,b\nx,chr0,1.5,2\ny,chr1,3,4.25\n"
    with pytest.raises(ValueError, match=r"'chr0' in line 2, column 2 \(chrom\).*--ignore chrom"):
        read(tmp_path, text)
    for options in ({"ignore": ["chrom"]}, {"columns": ["a", "b"]}):
        found = read(tmp_path, text, **options)
        np.testing.assert_array_equal(found.rows, A[:2])
        assert (found.names, found.columns) == (["x", "y"], ["a", "b"])
    assert read(tmp_path, text, columns=["b", "a"]).columns == ["b", "a"]
    with pytest.raises(ValueError, match=r"ignore: table .* has no column 'chrm'.*'chrom'\?"):
        read(tmp_path, text, ignore=["chrm"])
    with pytest.raises(ValueError, match="no column of numbers"):
        read(tmp_path, text, ignore=["chrom", "a", "b"])
    with pytest.raises(ValueError, match="has 2 columns 'a'"):
        read(tmp_path, "a,a\n1,2\n", columns=["a"])


def test_commas_of_thousands_are_asked_about(tmp_path):
    with pytest.raises(ValueError, match=r"'1,234': the comma may be"):
        read(tmp_path, "a\tb\n1,234\t5\n2,345\t6\n", "table.tsv")
    with pytest.raises(ValueError, match=r"'1,5' beside '2.5'"):
        read(tmp_path, "a;b\n1,5;2.5\n")


def test_identifiers_are_no_numbers(tmp_path):
    with pytest.raises(ValueError, match="got '10_5' in line 3, column 2"):
        read(tmp_path, "id,p,q\nx,1,2\ny,10_5,3\nz,1_1,4\n")


def test_damaged_archives(tmp_path):
    whole = gzip.compress(b"a,b\n1,2\n" * 9)
    for content in (whole[:-9], whole[:12] + b"?" * 9):
        with pytest.raises(ValueError, match=r"t\.csv\.gz' is damaged"):
            read(tmp_path, content, "t.csv.gz")


def test_sweep_reads_the_same_tables(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("gene,chrom,a,b\nx,chr0,1.5,2\ny,chr1,3,4.25\n")
    found = data.load(str(path), ignore=["chrom"])
    np.testing.assert_array_equal(found, A[:2])
    with pytest.raises(ValueError, match="--ignore needs a table, got --data digits"):
        data.load("digits", ignore=["chrom"])

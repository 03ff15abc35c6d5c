"""Tables of one's own: what is recognized, and what is refused with its line and column."""

import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddnmf_np.data import tables
from ddnmf_np.data.datasets import hold_out, load
from ddnmf_np.data.tables import HEAD, read_table
from ddnmf_np.errors import BackendError, DataError, OptionError, UsageError

NAN = float("nan")


def write(folder, content, name="mine.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def same(table, x, features=None, rows=None, labels=None):
    np.testing.assert_array_equal(table.x, x)
    assert (table.features, table.rows) == (features, rows)
    assert (None if table.labels is None else table.labels.tolist()) == labels


# -- what is recognized ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a,b\n1,2\n3,4\n", {"features": ("a", "b")}),
        ("a,b\r\n1,2\r\n3,4", {"features": ("a", "b")}),
        ("a,b\r1,2\r3,4\r", {"features": ("a", "b")}),
        ("1,2\n3,4\n", {}),
        ("\n1,2\n\n3,4\n\n", {}),
        ("a;b\n1;2\n3;4\n", {"features": ("a", "b")}),
        ("sep=;\na;b\n1;2\n3;4\n", {"features": ("a", "b")}),
        ("a|b\n1|2\n3|4\n", {"features": ("a", "b")}),
        ("a\tb\n1\t2\n3\t4\n", {"features": ("a", "b")}),
        ("a b\n1 2\n3 4\n", {"features": ("a", "b")}),
        ("  1.0   2\n  3.0   4\n", {}),
        ('"a, A",b\n"1",2\n3,"4"\n', {"features": ("a, A", "b")}),
        ("a, b\n1, 2\n3, 4\n", {"features": ("a", "b")}),
        ("1990,b\n1,2\n3,4\n", {"features": ("1990", "b")}),
        (",a,b\n0,1,2\n1,3,4\n", {"features": ("a", "b"), "rows": ("0", "1")}),
        ("name,a,b\nx y,1,2\nz,3,4\n", {"features": ("a", "b"), "rows": ("x y", "z")}),
        ("id,a,b\n7,1,2\n9,3,4\n", {"features": ("a", "b"), "rows": ("7", "9")}),
        ("x,1,2\ny,3,4\n", {"rows": ("x", "y")}),
        ("a b\nx 1 2\ny 3 4\n", {"features": ("a", "b"), "rows": ("x", "y")}),  # R's write.table
        ("a,b\n1e0,2.0\n+3,4.\n", {"features": ("a", "b")}),
    ],
)
def test_text(tmp_path, text, expected):
    same(read_table(write(tmp_path, text)), [[1, 2], [3, 4]], **expected)


@pytest.mark.parametrize("shift", ["", ","])
def test_numbered_columns_of_pandas_are_a_header(tmp_path, shift):
    frame = pd.DataFrame(np.arange(6.0).reshape(2, 3))
    frame.to_csv(tmp_path / "x.csv", index=bool(shift))
    found = read_table(tmp_path / "x.csv")
    same(found, frame, ("0", "1", "2"), ("0", "1") if shift else None)


def test_a_column_called_id_whose_values_repeat_is_a_feature(tmp_path):
    same(read_table(write(tmp_path, "id,a\n1,2\n1,3\n")), [[1, 2], [1, 3]], ("id", "a"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings(tmp_path, encoding):
    path = write(tmp_path, "größe,b\n1,2\n".encode(encoding))
    same(read_table(path), [[1, 2]], ("größe", "b"))


@pytest.mark.parametrize("cell", ["", "NA", "nan", "NaN", "null", "?", "#N/A", " "])
def test_missing_cells_are_nan(tmp_path, cell):
    same(read_table(write(tmp_path, f"a,b,c\n1,{cell},3\n4,5,6\n")), [[1, NAN, 3], [4, 5, 6]],
         ("a", "b", "c"))  # fmt: skip
    same(read_table(write(tmp_path, f"1,{cell},3\n4,5,6\n")), [[1, NAN, 3], [4, 5, 6]])


def test_truth_values_are_0_and_1(tmp_path):
    same(read_table(write(tmp_path, "a,b\n1,True\n2,FALSE\n")), [[1, 1], [2, 0]], ("a", "b"))


@pytest.mark.parametrize(
    ("text", "x"),
    [
        ("a;b\n1,5;2\n0,25;1e-3\n", [[1.5, 2], [0.25, 1e-3]]),
        ("1,5;2,5\n3;4\n", [[1.5, 2.5], [3, 4]]),
        ("a\tb\n1,5\t2\n", [[1.5, 2]]),
        ("a;b\n1,234;2\n", [[1.234, 2]]),
    ],
)
def test_decimal_commas(tmp_path, text, x):
    found = read_table(write(tmp_path, text))
    np.testing.assert_array_equal(found.x, x)
    assert "decimal commas" in found.notes[0]


def test_more_rows_than_are_looked_at_first(tmp_path):
    x = np.random.default_rng(0).random((2 * HEAD + 7, 3)).round(3)
    np.savetxt(tmp_path / "x.csv", x, delimiter=",", fmt="%.3f")
    same(read_table(tmp_path / "x.csv"), x)
    np.savetxt(tmp_path / "x.txt", x)  # NumPy's own default, with spaces
    same(read_table(tmp_path / "x.txt"), x)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(st.floats(0, 1e30) | st.just(NAN), min_size=3, max_size=3), min_size=2, max_size=9
    ),
    st.sampled_from([",", ";", "\t", "|"]),
    st.booleans(),
)
def test_what_pandas_writes_is_read_as_the_same(tmp_path_factory, rows, separator, index):
    frame = pd.DataFrame(rows, columns=["a", 'b "x"', "c, d"])
    path = tmp_path_factory.mktemp("t") / "x.csv"
    frame.to_csv(path, sep=separator, index=index)
    if frame.isna().all(axis=None):
        return
    found = read_table(path)
    np.testing.assert_array_equal(found.x, frame.to_numpy())
    assert found.features == tuple(frame.columns)


# -- columns that the user names ---------------------------------------------------------------


def test_labels_and_columns_to_leave_out(tmp_path):
    path = write(tmp_path, "a,kind,b,place\n1,x,2,here\n3,y,4,there\n")
    same(read_table(path, labels="kind", ignore=("place",)), [[1, 2], [3, 4]], ("a", "b"),
         labels=["x", "y"])  # fmt: skip
    same(read_table(path, features=("b", "a")), [[2, 1], [4, 3]], ("b", "a"))
    path = write(tmp_path, "1,2,x\n3,4,y\n")
    same(read_table(path, labels="2"), [[1, 2], [3, 4]], labels=["x", "y"])
    same(read_table(path, ignore=("2",)), [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({}, DataError, r"column 'kind' is text \('x' in line 2\); use it as labels \(--labels "
         r"'kind'\), leave it out \(--ignore 'kind'\), or make columns of 0 and 1"),
        ({"ignore": ("kin",)}, UsageError, r"has no column 'kin'; did you mean 'kind'\?"),
        ({"features": ("a", "c")}, DataError, "has no column 'c', which is a feature of the model"),
        ({"features": ("kind",)}, DataError, "column 'kind' is text"),
        ({"labels": "kind", "ignore": ("a",)}, DataError, "has no column of numbers"),
    ],
)  # fmt: skip
def test_columns_that_cannot_be_used(tmp_path, options, error, text):
    with pytest.raises(error, match=text):
        read_table(write(tmp_path, "a,kind\n1,x\n1,x\n"), **options)


# -- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("\ufeff", "is empty"),
        ("a,b\n", "has a header and no rows"),
        ("a,b\n1,2\n3,x\n4,5\n", r"line 3, column 'b': 'x' is not a number"),
        ("1,2\n3,x\n4,5\n", r"line 2, column '1': 'x' is not a number"),
        ("a,b\n1,2\n3,4\n5\n", "line 4 has 1 cells, and the first 2"),
        ("a,b\n1,2\n3,4\n5,6,7\n", "line 4 has 3 cells, and the first 2"),
        ('a,b\n1,2\n3,"4\n5,6\n', r"line 3 cannot be read \(unexpected end of data\); look for a"),
        ('a,b\n1,2\n3,"4"5\n5,6\n', "line 3 cannot be read"),
        ("a,b\n1,2\n3,1_000\n", "'1_000' is not a number"),
        ("a,b\n1,2\n3,\u0663\n", "is not a number"),
        ("a,b\n1,2\n3,\x004\n", "is not a number"),
        ("a\tb\n1\t2\n1,234\t4\n", "'1,234' is not a number"),
        ('a,b\n1,2\n"1,5",4\n', "'1,5' is not a number"),
        ("a;b\n1,5;2\n1.5;3\n", r"has a comma \('1,5' in line 2\) and a point \('1.5' in line 3\)"),
        ("a,a\n1,2\n", "has two columns 'a'; give each its own name"),
        ("a,b\n1,\xe9\n".encode("latin-1"), "is not text in UTF-8 .*0xe9.*save it as UTF-8"),
        (b"\xff\xfea", "is not text"),
        ("a,b\n1," + "9" * 200_000 + "\n", "field larger than field limit"),
        ("day,b\n2020-01-01,1\n2020-01-01,2\n", "column 'day' is text"),
    ],
)
def test_bad_text(tmp_path, content, text):
    with pytest.raises(DataError, match=f"mine.csv: (?s:.*){text}"):
        read_table(write(tmp_path, content))


def test_long_lines_end_reading(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MAX_LINE", 20)
    with pytest.raises(DataError, match="a line of more than 20 characters"):
        read_table(write(tmp_path, "1,2\n" + "1," * 30))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | st.text('0123456789.,;\t\n" -aeN\r', max_size=60))
def test_any_content_is_a_table_or_a_data_error(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    try:
        found = read_table(path)
    except DataError:
        return
    assert found.x.ndim == 2
    assert found.x.size
    assert found.features is None or len(found.features) == found.x.shape[1]


# -- Parquet -----------------------------------------------------------------------------------


@pytest.fixture
def frame():
    return pd.DataFrame(
        {"a": [1, 2], "b": [0.5, NAN], "c": [True, False], "kind": pd.Categorical(["x", "y"])}
    )


def test_parquet(tmp_path, frame):
    path = tmp_path / "x.parquet"
    frame.to_parquet(path)
    with pytest.raises(DataError, match=r"column 'kind' is text \('x' in the first rows"):
        read_table(path)
    x, names = [[1, 0.5, 1], [2, NAN, 0]], ("a", "b", "c")
    same(read_table(path, labels="kind"), x, names, labels=["x", "y"])
    frame.drop(columns="kind").set_index(pd.Index(["p", "q"], name="who")).to_parquet(path)
    same(read_table(path), x, names, rows=("p", "q"))
    frame["day"] = pd.to_datetime("2020-01-01")
    frame.to_parquet(path)
    with pytest.raises(DataError, match=r"column 'day' is text.*type timestamp"):
        read_table(path, labels="kind")


def test_damaged_parquet_is_a_data_error(tmp_path, frame):
    path = tmp_path / "x.parquet"
    frame.drop(columns="kind").to_parquet(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for k in range(40):
        damaged = bytearray(whole[: rng.integers(len(whole))] if k % 2 else whole)
        for place in rng.integers(len(damaged), size=3) if damaged else ():
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            read_table(path)
        except (DataError, MemoryError):
            continue


def test_parquet_without_its_library(tmp_path, frame, monkeypatch):
    frame.to_parquet(tmp_path / "x.parquet")
    for name in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BackendError, match=r"needs pyarrow.*pip install 'ddnmf-np\[parquet\]'"):
        read_table(tmp_path / "x.parquet")


# -- a table as a data set ---------------------------------------------------------------------


def test_a_table_is_a_data_set(tmp_path):
    path = write(tmp_path, "who,a,b,kind\np,1,2,y\nq,3,4,x\nr,5,6,y\n")
    data = load(str(path), labels="kind")
    assert data.x_train.dtype == np.float32
    assert data.feature_names == ("a", "b")
    assert data.row_names == ("p", "q", "r")
    assert data.class_names == ("x", "y")
    assert data.y_train.tolist() == [1, 0, 1]
    assert data.named(data.y_train).tolist() == ["y", "x", "y"]
    assert data.notes == (
        "a header, comma-separated",
        "column 'who' names the rows",
        "column 'kind' has the labels",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n3,-1\n", r"Negative values in .*at row 1, column 1 \('b'\)"),
        ("a,b\n1,2\n3,\n", r"nan at row 1, column 1 \('b'\); .*\(--missing nan\)"),
        ("a,b\n1,2\n3,inf\n", r"inf at row 1, column 1 \('b'\)"),
        ("a,b\n1,2\n3,1e300\n", r"inf at row 1, column 1 \('b'\)"),
    ],
)
def test_values_that_a_model_cannot_use_are_named(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        load(write(tmp_path, text))


def test_missing_cells_may_be_missing_entries(tmp_path):
    x = load(write(tmp_path, "a,b\n1,\n3,4\n"), missing="nan").x_train
    np.testing.assert_array_equal(x, [[1, NAN], [3, 4]])


@pytest.mark.parametrize(("names", "shape"), [("pixel", (8, 8)), ("gene", None)])
def test_tables_of_numbered_columns_may_be_images(tmp_path, names, shape):
    columns = [f"pixel{k}" if names == "pixel" or k else "age" for k in range(64)]
    pd.DataFrame(np.ones((2, 64)), columns=columns).to_csv(tmp_path / "x.csv", index=False)
    assert load(tmp_path / "x.csv").image_shape == shape


def test_labels_that_are_neither_a_column_nor_a_file(tmp_path):
    path = write(tmp_path, "a,kind\n1,x\n2,y\n")
    with pytest.raises(OptionError, match=r"labels is 'kid', neither a column of .* nor a file"):
        load(path, labels="kid", ignore=("kind",))


@pytest.mark.parametrize(
    ("content", "labels", "classes"),
    [
        ("kind\nb\na\nb\n", [1, 0, 1], ("a", "b")),
        ("b\na\nb\n", [1, 0, 1], ("a", "b")),
        ("7\n5.0\n7\n", [7, 5, 7], None),
        ("label\n7\n5\n7\n", [7, 5, 7], None),
        ('"b, c"\na\n"b, c"\n', [1, 0, 1], ("a", "b, c")),
    ],
)
def test_text_files_of_labels(tmp_path, content, labels, classes):
    np.save(tmp_path / "x.npy", np.ones((3, 2)))
    data = load(tmp_path / "x.npy", labels=write(tmp_path, content, "y.txt"))
    assert data.y_train.tolist() == labels
    assert data.class_names == classes


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("a\nb\n", r"has shape \(2,\)"),
        ("a\nb\nc\nd\ne\n", r"has shape \(5,\)"),
        ("a,1\nb,2\nc,3\n", "has 2 cells in a line"),
        ('a\n""\nb\n', "the label of row 1 is missing"),
    ],
)
def test_bad_files_of_labels_are_named(tmp_path, content, text):
    np.save(tmp_path / "x.npy", np.ones((3, 2)))
    with pytest.raises(DataError, match=rf"y\.txt.*{text}"):
        load(tmp_path / "x.npy", labels=write(tmp_path, content, "y.txt"))


# -- rows that are held out --------------------------------------------------------------------


def test_held_out_rows_are_the_others_and_depend_on_the_seed_alone(tmp_path):
    frame = pd.DataFrame({"a": range(50), "b": 1, "kind": [f"k{k}" for k in range(50)]})
    frame.index = [f"r{k}" for k in range(50)]
    frame.to_csv(tmp_path / "x.csv")
    whole = load(tmp_path / "x.csv", labels="kind")
    data = hold_out(whole, 0.2, seed=3)
    assert (len(data.x_train), len(data.x_test)) == (40, 10)
    assert sorted([*data.x_train[:, 0], *data.x_test[:, 0]]) == list(range(50))
    for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test)):
        assert data.named(y).tolist() == [f"k{k:.0f}" for k in x[:, 0]]
    assert data.row_names == tuple(f"r{k:.0f}" for k in data.x_train[:, 0])
    again, other = hold_out(whole, 0.2, seed=3), hold_out(whole, 0.2, seed=4)
    np.testing.assert_array_equal(data.x_test, again.x_test)
    assert (data.x_test != other.x_test).any()
    assert hold_out(whole, 0.0, seed=3) is whole
    assert len(hold_out(whole, 0.999, seed=3).x_train) == 1

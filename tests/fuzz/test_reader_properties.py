"""Files that were damaged or made to do harm: the package's own errors, and bounded memory."""

import gzip
import io
import json
import pickle
import re
import struct
import subprocess
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest
from fuzz_targets import CORPUS, TARGETS, described, description, small_checkpoint
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ddnmf_np.config import MAX_CONFIG, configure, read_config
from ddnmf_np.data.datasets import load
from ddnmf_np.data.idx import read_idx
from ddnmf_np.errors import CheckpointError, DataError, UsageError
from ddnmf_np.runs.checkpoint import load_checkpoint
from ddnmf_np.system import archives
from ddnmf_np.system import json_text as jsontext
from ddnmf_np.system.archives import ArchiveError, NpzArchive, read_npy
from ddnmf_np.train import main as train

BINARY = ("idx", "npy", "npz", "checkpoint")
SEEDS = {
    "idx": ("images", "images-gzip", "floats"),
    "npy": ("f4", "fortran", "bool"),
    "npz": ("samples", "compressed"),
    "checkpoint": ("saved",),
    "meta": ("good",),
    "config": ("all-options", "flat"),
    "record": ("codes-small", "embedding-small"),
}

SLACK = 4 * 2**20
"""What a reader may hold beside what the file itself holds: its pieces are of a MB."""


def seed(reader, name):
    return (CORPUS / reader / name).read_bytes()


def peak_of(read, *arguments, refused):
    """Return the most memory that a refused read held, and why it was refused."""
    tracemalloc.start()
    try:
        with pytest.raises(refused) as caught:
            read(*arguments)
        return tracemalloc.get_traced_memory()[1], str(caught.value)
    finally:
        tracemalloc.stop()


# -- damage ------------------------------------------------------------------------------------

EDITS = st.lists(
    st.tuples(
        st.sampled_from(("flip", "put", "cut", "insert", "repeat")),
        st.floats(0, 1),
        st.one_of(
            st.binary(min_size=1, max_size=9),
            st.sampled_from((b"\xff" * 4, b"\xff" * 8, bytes(4), b"\0\0\0\x10", b"9" * 400)),
        ),
    ),
    min_size=1,
    max_size=4,
)


def edited(data, edits):
    data = bytearray(data)
    for what, where, text in edits:
        place = round(where * len(data))
        if what == "flip" and place < len(data):
            data[place] ^= 1 << (text[0] % 8)
        elif what == "put":
            data[place : place + len(text)] = text
        elif what == "cut":
            del data[place : place + 16 * len(text)]
        elif what == "insert":
            data[place:place] = text
        elif what == "repeat":
            data[place:place] = data[: 64 * len(text)]
    return bytes(data)


@pytest.mark.parametrize("reader", TARGETS)
@settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
@given(edits=EDITS, data=st.data())
def test_edited_files(reader, edits, data):
    """Whatever is done to a good file, it is refused, or read as what it says (see the targets)."""
    name = data.draw(st.sampled_from(SEEDS[reader]))
    TARGETS[reader](edited(seed(reader, name), edits))


@pytest.mark.parametrize("reader", BINARY)
def test_cut_at_every_byte(reader):
    read = {"idx": read_idx, "npy": read_npy, "npz": whole_archive, "checkpoint": load_checkpoint}
    for name in SEEDS[reader]:
        whole = seed(reader, name)
        read[reader](whole)
        step = 1 if len(whole) < 4000 else 23
        for length in [*range(0, len(whole), step), len(whole) - 1]:
            with pytest.raises((DataError, CheckpointError)):
                read[reader](whole[:length])


@pytest.mark.parametrize("reader", ["meta", "config", "record"])
def test_text_that_is_cut_at_every_byte(reader):
    for name in SEEDS[reader]:
        whole = seed(reader, name)
        for length in range(0, len(whole), 1 if reader == "record" else 13):
            TARGETS[reader](whole[:length])


@pytest.mark.parametrize("reader", ["idx", "npy", "npz"])
def test_every_bit_flipped(reader):
    whole = seed(reader, SEEDS[reader][0])
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << (bit % 8)
        TARGETS[reader](bytes(damaged))


def whole_archive(source):
    with NpzArchive(source) as archive:
        return {key: archive.read(key) for key in archive.keys}


# -- claims ------------------------------------------------------------------------------------


def npy_of(shape, content=b"", descr="'<f8'", version=(1, 0)):
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    kind = "<H" if version[0] == 1 else "<I"
    return b"\x93NUMPY" + bytes(version) + struct.pack(kind, len(text)) + text + content


def zip_of(parts, method=zipfile.ZIP_DEFLATED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in parts:
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return stream.getvalue()


@pytest.mark.parametrize("shape", ["(1152921504606846976,)", "(2**60,)", "(1000000000, 1000)",
                                   "(100000000,)", "(0, 1152921504606846976, 99)", "(-1,)",
                                   f"({'1, ' * 64})", f"({'9' * 4000},)"])  # fmt: skip
def test_header_s_claim_is_not_believed(shape):
    """For a file alone, a part stored as it is, a part compressed, and a part of a checkpoint."""
    data = npy_of(shape, bytes(800))
    readers = [(read_npy, data)]
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        readers.append((whole_archive, zip_of([("x.npy", data)], method)))
    for read, content in readers:
        peak, message = peak_of(read, content, refused=ArchiveError)
        assert peak < SLACK
        assert "shape" in message or "header" in message
        assert len(message) < 1000
    peak, _ = peak_of(load_checkpoint, zip_of([("meta.npy", data)]), refused=CheckpointError)
    assert peak < SLACK


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_length_of_a_header_is_not_believed(version):
    data = bytearray(npy_of("(1,)", bytes(8), version=version))
    data[8 : 10 if version[0] == 1 else 12] = b"\xff" * (2 if version[0] == 1 else 4)
    peak, message = peak_of(read_npy, bytes(data), refused=ArchiveError)
    assert peak < SLACK
    assert "its header claims" in message


def lying(parts, size):
    """Return an archive whose directory claims that its first part holds so many bytes."""
    whole = bytearray(zip_of(parts))
    entry = whole.index(b"PK\x01\x02")
    struct.pack_into("<I", whole, entry + 24, size)
    return bytes(whole)


def test_directory_s_claim_is_not_believed():
    part = npy_of("(500000000,)", bytes(1000))
    peak, message = peak_of(
        whole_archive, lying([("x.npy", part)], 4_000_000_100), refused=ArchiveError
    )
    assert peak < SLACK
    assert "claims 4000000100 bytes; its" in message
    # As much as deflate could make of it, but does not.
    header = npy_of("(10000000,)")
    part = header + np.random.default_rng(0).bytes(100_000)
    claimed = len(header) + 80_000_000
    assert claimed < archives.MAX_RATIO * 100_000
    peak, _ = peak_of(whole_archive, lying([("x.npy", part)], claimed), refused=ArchiveError)
    assert peak < SLACK


def test_more_than_the_bound_is_not_unpacked(monkeypatch):
    monkeypatch.setattr(archives, "MAX_BYTES", 10 * 2**20)
    parts = [(f"{k}.npy", npy_of(f"({2**20},)", bytes(8 * 2**20))) for k in range(2)]
    peak, message = peak_of(whole_archive, zip_of(parts), refused=ArchiveError)
    assert peak < SLACK
    assert f"at most {10 * 2**20} are unpacked" in message
    assert whole_archive(zip_of(parts[:1]))["0"].shape == (2**20,)
    assert len(whole_archive(zip_of(parts, zipfile.ZIP_STORED))) == 2  # the file is as large


@pytest.mark.parametrize("what", ["parts", "directory", "zip64"])
def test_size_of_a_directory_is_not_believed(what):
    whole = bytearray(zip_of([("x.npy", npy_of("(1,)", bytes(8)))]))
    end = whole.rindex(b"PK\5\6")
    if what == "parts":
        struct.pack_into("<2H", whole, end + 8, 65535, 65535)
    elif what == "directory":
        struct.pack_into("<I", whole, end + 12, 2**32 - 2)
    else:
        big = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 2**60, 2**60, 2**60, 0)
        whole[end:end] = big + struct.pack("<4sLQL", b"PK\6\7", 0, end, 1)
    peak, message = peak_of(NpzArchive, bytes(whole), refused=ArchiveError)
    assert peak < SLACK
    assert "claims" in message


def test_archive_of_too_many_parts():
    data = zip_of(((f"{k}.npy", b"") for k in range(archives.MAX_PARTS + 1)), zipfile.ZIP_STORED)
    peak, message = peak_of(NpzArchive, data, refused=ArchiveError)
    assert peak < 2 * len(data)
    assert f"claims {archives.MAX_PARTS + 1} parts; at most {archives.MAX_PARTS}" in message


def test_directory_that_is_longer_than_it_says():
    whole = bytearray(zip_of([("x.npy", npy_of("(1,)", bytes(8)))]))
    struct.pack_into("<2H", whole, whole.rindex(b"PK\5\6") + 8, 2, 2)
    with pytest.raises(ArchiveError, match="its directory has 1 parts and claims 2"):
        NpzArchive(bytes(whole))


def test_part_that_is_encrypted():
    whole = bytearray(zip_of([("x.npy", npy_of("(1,)", bytes(8)))]))
    whole[whole.index(b"PK\1\2") + 8] |= 1
    with pytest.raises(ArchiveError, match=r"part 'x\.npy' is encrypted"):
        NpzArchive(bytes(whole))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_every_flipped_bit_of_a_value_is_found(method):
    values = np.random.default_rng(0).bytes(800)
    whole = zip_of([("x.npy", npy_of("(100,)", values))], method)
    start = whole.index(values[:16]) if method == zipfile.ZIP_STORED else whole.index(b"PK") + 120
    for bit in range(8 * start, 8 * (start + 200), 7):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << (bit % 8)
        with pytest.raises(ArchiveError):
            whole_archive(bytes(damaged))


def test_empty_array_of_a_shape_that_numpy_cannot_hold():
    with pytest.raises(ArchiveError, match="larger than any memory"):
        read_npy(npy_of("(0, 1152921504606846976, 99)"))
    assert read_npy(npy_of("(0, 1152921504606846976)", descr="'|u1'")).size == 0


def test_truth_values_that_are_neither():
    assert read_npy(npy_of("(2,)", b"\0\1", "'|b1'")).tolist() == [False, True]
    with pytest.raises(ArchiveError, match="truth values other than 0 and 1"):
        read_npy(npy_of("(2,)", b"\0\2", "'|b1'"))


def test_one_part_s_bytes_are_not_many_parts():
    """A bomb whose parts lie over each other, each of them the whole file."""
    whole = bytearray(zip_of([("x.npy", npy_of(f"({2**17},)", bytes(2**20)))], zipfile.ZIP_STORED))
    entry, end = whole.index(b"PK\x01\x02"), whole.rindex(b"PK\5\6")
    directory = bytes(whole[entry:end])
    many = b"".join(directory.replace(b"x.npy", b"%05d" % k) for k in range(1000))
    tail = bytearray(whole[end:])
    struct.pack_into("<2HI", tail, 8, 1000, 1000, len(many))
    peak, message = peak_of(NpzArchive, bytes(whole[:entry]) + many + tail, refused=ArchiveError)
    assert peak < len(whole) + SLACK
    assert "its parts claim" in message


def test_gzip_bomb_in_little_memory(tmp_path):
    """256 MB of zeros in a file of 256 kB, read by a process that has 64 MB more than it needs."""
    resource = pytest.importorskip("resource", reason="no limits of memory here")
    assert resource
    bomb = tmp_path / "train-images-idx3-ubyte.gz"
    head = b"\0\0\x08\x03" + struct.pack(">3I", 2**20, 16, 16)
    bomb.write_bytes(gzip.compress(head[:4] + struct.pack(">3I", 10, 4, 4) + bytes(2**28), 1))
    code = (
        "import resource, sys\n"
        "from ddnmf_np.data.datasets import load\n"
        "from ddnmf_np.errors import DataError\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 2**26,) * 2)\n"
        "try:\n"
        "    load(sys.argv[1] + '/')\n"
        "except DataError as error:\n"
        "    print(error)\n"
    )
    if sys.platform != "linux":
        pytest.skip("no /proc")
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert "announces 160 bytes of data, shape (10, 4, 4), but at least 161 follow" in done.stdout


# -- what is not numbers -------------------------------------------------------------------------


class Payload:
    """A pickle that leaves a trace if it is ever loaded."""

    def __init__(self, trace):
        self.trace = str(trace)

    def __reduce__(self):
        return open, (self.trace, "w")


def test_nothing_is_ever_unpickled(tmp_path):
    trace = tmp_path / "trace"
    plain = pickle.dumps(Payload(trace))
    array = io.BytesIO()
    np.save(array, np.array([Payload(trace)], object), allow_pickle=True)
    objects = array.getvalue()
    for content in (
        plain,
        objects,
        npy_of("(1,)", plain, "'|O'"),
        npy_of("()", plain, "'O8'"),
        npy_of("(1,)", plain, "[('a', '|O')]"),
        npy_of("(1,)", plain, "('<f8', '|O')"),
    ):
        for name, data in (
            ("x.npy", content),
            ("x.npz", zip_of([("x.npy", content)])),
            ("y.npz", zip_of([("x", content)], zipfile.ZIP_STORED)),
            ("z.npz", content),
        ):
            (tmp_path / name).write_bytes(data)
            with pytest.raises(DataError, match=re.escape(str(tmp_path / name))):
                load(tmp_path / name)
        for data in (content, zip_of([("meta.npy", content)])):
            with pytest.raises(CheckpointError):
                load_checkpoint(data)
    assert not trace.exists()


@pytest.mark.parametrize("name", ["../x.npy", "/x.npy", "a/../../x.npy", "..\\x.npy", "x\x01.npy",
                                  "./x.npy", "a//x.npy", ""])  # fmt: skip
def test_parts_with_the_names_of_places(tmp_path, monkeypatch, name):
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    data = zip_of([(name, npy_of("(1,)", bytes(8)))], zipfile.ZIP_STORED)
    with pytest.raises(ArchiveError, match="is no name for an array"):
        NpzArchive(data)
    assert [path.name for path in tmp_path.rglob("*")] == ["inner"]


def test_two_parts_of_one_name():
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = zip_of([("x.npy", npy_of("(1,)", bytes(8)))] * 2)
    with pytest.raises(ArchiveError, match="two parts are called 'x'"):
        NpzArchive(data)
    with pytest.raises(ArchiveError, match="two parts are called 'x'"):
        NpzArchive(zip_of([("x.npy", b""), ("x", b"")]))


# -- checkpoints that ask for more than they hold ----------------------------------------------


def changed(**entries):
    meta = json.loads(description())
    options = entries.pop("config", {})
    return json.dumps(meta | entries | {"config": meta["config"] | options}).encode()


@pytest.mark.parametrize(
    "entries",
    [{"config": {"widths": [2**24, 2**24]}}, {"config": {"rank": 2**24}}, {"n_features": 2**60}],
)
def test_model_is_not_made_from_a_claim(entries):
    checkpoint = load_checkpoint(described(changed(**entries)))
    peak, message = peak_of(checkpoint.restore_model, refused=CheckpointError)
    assert peak < SLACK
    assert "the state belongs to another architecture" in message


@pytest.mark.parametrize("entries", [
    {"n_features": True}, {"n_features": 0}, {"n_features": "5"}, {"t": -1}, {"t": 1.0},
    {"history": [1]}, {"history": {}}, {"position": [0, 0]}, {"data_sha256": 1},
    {"position": {"epoch": 1, "batch": 0, "seconds": "long"}}, {"position": {"epoch": 1, "x": 1}},
    {"config": {"rank": 10**400}}, {"config": {"dataset": "\ud800"}}, {"config": {"x" * 9999: 1}},
])  # fmt: skip
def test_description_that_cannot_be(entries):
    with pytest.raises(CheckpointError, match="description cannot be used") as caught:
        load_checkpoint(described(changed(**entries)))
    assert len(str(caught.value)) < 3000
    load_checkpoint(described(changed()))


# -- texts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "reason"), [
    ("rank = 0x" + "f" * 9000, "rank is a int too large to show; expected a whole number"),
    ("rank = " + "9" * 5000, "is not valid TOML: "),
    ("rank = " + "[" * 9000, "is nested too deeply"),
    ("lr = 2020-01-01", "lr is datetime.date(2020, 1, 1); expected a number"),
    ("[model]\nrank = 'ten'", "rank is 'ten'; expected a whole number"),
    ("widths = [1, [2]]", "widths is [2]; expected a whole number"),
    ("dataset = {a = 1}", "unknown"),
    ("activation = 'relo'", "activation is 'relo'; did you mean 'relu'?"),
    ("x" * 9000 + " = 1", "option 'xxx"),
    ("#" * (MAX_CONFIG + 1), f"it is longer than {MAX_CONFIG} bytes"),
])  # fmt: skip
def test_config_names_file_key_and_value(tmp_path, text, reason):
    path = tmp_path / "options.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_config(path)
    message = str(caught.value)
    assert message.startswith(f"config {path}: ")
    assert reason in message
    assert len(message) < 3000


@pytest.mark.parametrize(("line", "reason"), [
    ("lr = -1.0", "lr is -1.0; expected a finite number > 0"),
    ("rank = 0", "rank is 0; expected a whole number from 1 to"),
    ("widths = []", "widths is [], which is empty; give"),
])  # fmt: skip
def test_values_out_of_range_name_their_file(tmp_path, capsys, line, reason):
    path = tmp_path / "options.toml"
    path.write_text(line)
    output = str(tmp_path / "run")
    assert train(["--config", str(path), "--output", output]) == 2
    assert f"error: config {path}: {reason}" in capsys.readouterr().err
    # A flag's value is not the file's.
    path.write_text("rank = 2")
    assert train(["--config", str(path), "--output", output, "--rank", "-3"]) == 2
    assert "error: rank is -3; expected" in capsys.readouterr().err


def test_large_text_is_not_read_whole(tmp_path):
    path = tmp_path / "large"
    with path.open("wb") as stream:
        stream.truncate(2**30)
    peak, message = peak_of(read_config, path, refused=UsageError)
    assert peak < 2**20
    assert str(path) in message
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsontext, "MAX_BYTES", 2**16)
        peak, message = peak_of(jsontext.read, path, refused=ValueError)
    assert peak < 2**20
    assert "longer than 65536 bytes" in message


@given(st.text(min_size=1))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_any_name_of_a_data_set_goes_through_a_file(name):
    config = configure(dataset=name)
    assert configure(**read_config(config.to_toml().encode())) == config


@pytest.mark.parametrize("text", ["[" * 10**5, '{"a":' * 10**5, "9" * 5000, "NaN", "[1e999]",
                                  "-Infinity", b"\xff", "", "{", '"\n"'])  # fmt: skip
def test_json_that_is_none(text):
    with pytest.raises(ValueError, match=r"\S"):
        jsontext.parse(text)


def test_whole_checkpoint_is_read():
    """The test of the tests: what all of the above damages is good."""
    found = load_checkpoint(small_checkpoint())
    assert found.meta["n_features"] == found.restore_model().n_features == 5

"""IDX files: every element type, and every way in which a file can be wrong."""

import gzip
import hashlib
import struct
import tracemalloc

import numpy as np
import pytest

from ddnmf_np.data.idx import read_idx, sha256_of_decompressed
from ddnmf_np.errors import DataError

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_bytes(array):
    header = bytes([0, 0, CODES[array.dtype.str[1:]], array.ndim])
    header += struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


IMAGES = np.arange(2 * 3 * 5, dtype=np.uint8).reshape(2, 3, 5)
CONTENT = idx_bytes(IMAGES)


def peak_bytes(function):
    """Return the most memory that a call that raises DataError held, and its message."""
    tracemalloc.start()
    try:
        with pytest.raises(DataError) as caught:
            function()
        return tracemalloc.get_traced_memory()[1], str(caught.value)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 5), (2, 3, 5, 2), (0, 28, 28)])
@pytest.mark.parametrize("code", CODES)
def test_round_trip(tmp_path, code, shape, compress):
    array = np.random.default_rng(1).uniform(-100, 100, shape).astype(code)
    path = tmp_path / "any-name"  # says nothing about the compression
    path.write_bytes(compress(idx_bytes(array)))

    result = read_idx(path)

    np.testing.assert_array_equal(result, array)
    assert result.dtype == array.dtype  # the native byte order
    assert result.dtype.isnative
    assert result.flags.c_contiguous
    assert result.flags.writeable


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file"),
        (CONTENT[:3], "not an IDX file"),
        (b"\x01" + CONTENT[1:], "not an IDX file"),
        (CONTENT[:2] + b"\x0a" + CONTENT[3:], "not an IDX file"),
        (CONTENT[:3] + b"\x00", "has 0 dimensions"),
        (CONTENT[:3] + b"\x05" + CONTENT[4:], "has 5 dimensions"),
        (CONTENT[:15], "ends inside its header"),
        (CONTENT[:-1], r"announces 30 bytes of data, shape \(2, 3, 5\), but 29 follow"),
        (CONTENT[:16], "announces 30 bytes .* but 0 follow"),
        (CONTENT + b"\x00", "announces 30 bytes .* but at least 31 follow"),
        (CONTENT + bytes(5000), "announces 30 bytes .* but at least 31 follow"),
    ],
)
def test_malformed_file_is_refused(tmp_path, compress, content, message):
    path = tmp_path / "bad"
    path.write_bytes(compress(content))
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


def test_corrupt_gzip_is_refused(tmp_path):
    whole = gzip.compress(CONTENT)
    flipped_checksum = whole[:-8] + bytes([whole[-8] ^ 1]) + whole[-7:]
    bad = [whole[:-1], whole[:-8], whole[:15], whole[:2], flipped_checksum, whole + b"junk"]
    bad += [whole[:12] + b"\xff\xff" + whole[14:], b"\x1f\x8b\x07" + whole[3:]]
    path = tmp_path / "bad.gz"
    for content in bad:
        path.write_bytes(content)
        for read in (read_idx, sha256_of_decompressed):
            with pytest.raises(DataError, match="gzip stream is corrupt") as caught:
                read(path)
            assert str(path) in str(caught.value)


def test_unreadable_path_is_refused(tmp_path):
    for path, reason in ((tmp_path / "none", "No such file"), (tmp_path, "directory")):
        for read in (read_idx, sha256_of_decompressed):
            with pytest.raises(DataError, match=reason) as caught:
                read(path)
            assert str(path) in str(caught.value)


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_claim_of_the_header_is_not_believed(tmp_path, compress):
    path = tmp_path / "huge"
    head = bytes([0, 0, 0x0E, 4])

    path.write_bytes(compress(head + struct.pack(">4I", *[2**32 - 1] * 4) + bytes(100)))
    peak, message = peak_bytes(lambda: read_idx(path))
    assert f"announces {8 * (2**32 - 1) ** 4} bytes" in message
    assert peak < 2**20

    # Below the bound, but not in the file: nothing of that size may be allocated either.
    path.write_bytes(compress(head + struct.pack(">4I", 2**29 - 1, 1, 1, 1) + bytes(100)))
    peak, message = peak_bytes(lambda: read_idx(path))
    assert f"announces {8 * (2**29 - 1)} bytes" in message
    assert "but 100 follow" in message
    assert peak < 4 * 2**20


def test_bound_is_the_callers(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(CONTENT)
    np.testing.assert_array_equal(read_idx(path, max_bytes=30), IMAGES)
    with pytest.raises(DataError, match=r"announces 30 bytes.* at most 29"):
        read_idx(path, max_bytes=29)


def test_gzip_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / "bomb"
    path.write_bytes(gzip.compress(CONTENT + bytes(2**26)))
    peak, message = peak_bytes(lambda: read_idx(path))
    assert "at least 31 follow" in message
    assert peak < 2**20

    peak, message = peak_bytes(lambda: sha256_of_decompressed(path, max_bytes=2**20))
    assert f"more than {2**20} bytes" in message
    assert peak < 4 * 2**20


def test_hash_is_that_of_the_content(tmp_path):
    content = np.random.default_rng(2).bytes(3 * 2**20 + 17)  # several pieces
    expected = hashlib.sha256(content).hexdigest()
    for name, stored in (("a", content), ("b.gz", gzip.compress(content, 1)), ("c", b"")):
        (tmp_path / name).write_bytes(stored)
    assert sha256_of_decompressed(tmp_path / "a", max_bytes=len(content)) == expected
    assert sha256_of_decompressed(tmp_path / "b.gz") == expected
    assert sha256_of_decompressed(tmp_path / "c") == hashlib.sha256(b"").hexdigest()


def test_no_damage_escapes_as_another_error(tmp_path):
    rng = np.random.default_rng(3)
    path = tmp_path / "damaged"
    outcomes = set()
    for compress in (bytes, gzip.compress):
        whole = compress(CONTENT)
        for _ in range(300):
            damaged = bytearray(whole)
            for position in rng.integers(len(whole), size=rng.integers(1, 4)):
                damaged[position] = rng.integers(256)
            path.write_bytes(damaged[: rng.integers(len(whole) // 2, len(whole) + 1)])
            try:
                outcomes.add(type(read_idx(path)))
            except DataError as error:
                outcomes.add(type(error))
    assert outcomes == {np.ndarray, DataError}

"""What is fuzzed: each reader of files that anybody may have made, on the content of one file.

A target returns in peace whatever it is given: the package's own errors are its answer to bad
input, and any other exception is a finding. What is accepted must be what the file says.
"""

import io
import json
import tempfile
import zipfile
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np

from ddnmf_np.config import OPTIONS, configure, read_config
from ddnmf_np.data.datasets import read_npz
from ddnmf_np.data.idx import read_idx, sha256_of_decompressed
from ddnmf_np.errors import CheckpointError, DataError, UsageError
from ddnmf_np.experiments.records import RecordError, check, checksum_of
from ddnmf_np.runs.checkpoint import load_checkpoint, save_checkpoint
from ddnmf_np.system import json_text as jsontext
from ddnmf_np.system.archives import NpzArchive, read_npy

CORPUS = Path(__file__).parent / "corpus"

IDX_BYTES = 2**20
"""What an IDX file may announce here: a compressed one of some kB can hold as much."""


def idx(data):
    """Read an IDX file, compressed or not, and its hash."""
    with suppress(DataError):
        array = read_idx(data, max_bytes=IDX_BYTES)
        assert array.nbytes <= IDX_BYTES
        assert array.dtype.isnative
        sha256_of_decompressed(data, max_bytes=IDX_BYTES)


def npy(data):
    """Read an .npy file; NumPy must find the same in what is accepted."""
    with suppress(DataError):
        array = read_npy(data)
        same = np.load(io.BytesIO(data), allow_pickle=False)
        assert (array.dtype, array.shape) == (same.dtype, same.shape)
        assert array.tobytes() == same.tobytes()


def npz(data):
    """Read all of an archive, and its samples; NumPy must find the same in what is accepted."""
    with suppress(DataError):
        with NpzArchive(data) as archive:
            arrays = {key: archive.read(key) for key in archive.keys}
        with np.load(io.BytesIO(data), allow_pickle=False) as numpy_s:
            assert {key: a.tobytes() for key, a in arrays.items()} == {
                key: numpy_s[key].tobytes() for key in numpy_s.files
            }
    with suppress(DataError):
        assert "x_train" in read_npz(data)


def checkpoint(data):
    """Read a checkpoint."""
    with suppress(CheckpointError):
        assert load_checkpoint(data).config.model.rank >= 1


def meta(data):
    """Read a whole checkpoint with these bytes as its description, and make its model."""
    with suppress(CheckpointError):
        found = load_checkpoint(described(data))
        if found.config.training.batch_size <= 1024 and found.config.execution.backend == "numpy":
            assert found.restore_model().n_features == found.meta["n_features"]


def config(data):
    """Read the options of a run; what is accepted is written and read as the same again."""
    with suppress(UsageError):
        accepted = configure(**read_config(data))
        assert configure(**read_config(accepted.to_toml().encode("utf-8", "surrogatepass"))) == (
            accepted
        )


def record(data):
    """Read the record of an experiment, as it is and with the checksum that its content gives."""
    try:
        found = jsontext.parse(data)
    except ValueError:
        return
    json.dumps(found, allow_nan=False)  # what was read can be written
    with suppress(RecordError):
        check(found)
    if isinstance(found, dict):
        with suppress(RecordError):
            check(found | {"checksum": checksum_of(found)})


TARGETS = {f.__name__: f for f in (idx, npy, npz, checkpoint, meta, config, record)}

TOKENS = {
    "idx": ["\\x00\\x00\\x08\\x03", "\\x00\\x00\\x0d\\x01", "\\xff\\xff\\xff\\xff",
            "\\x1f\\x8b\\x08"],
    "npy": ["\\x93NUMPY", "'descr': ", "'fortran_order': ", "'shape': (", "'|O'", "'<f8'", "'>u2'",
            "True", "False", "1152921504606846976", "-1", "()"],
    "npz": ["PK\\x05\\x06", "PK\\x01\\x02", "PK\\x03\\x04", "PK\\x06\\x06", "PK\\x06\\x07", "x.npy",
            "../", "\\xff\\xff\\xff\\xff"],
    "checkpoint": ["PK\\x05\\x06", "PK\\x01\\x02", "PK\\x03\\x04", "PK\\x06\\x06", "meta.npy"],
    "meta": ["\\\"config\\\"", "\\\"history\\\"", "\\\"position\\\"", "null", "true", "NaN",
             "1e999", "-1", "\\\"widths\\\"", "\\\"rank\\\"", "[", "{", "\\\\ud800"],
    "config": [*(f"{name} = " for name in OPTIONS), "[model]", "[data]", "nan",
               "inf", "0x", "true", "1979-05-27T07:32:00Z", "\\\"\\\"\\\"", "'''", "\\\\u0000"],
    "record": ["\\\"identity\\\"", "\\\"kind\\\"", "\\\"clustering\\\"", "\\\"codes\\\"",
               "\\\"embedding\\\"", "\\\"result\\\"", "NaN", "1e999", "null", "\\\\ud800"],
}  # fmt: skip
"""What a mutation may put in at once, as libFuzzer's dictionaries have it."""


@cache
def small_checkpoint():
    """Return a checkpoint of some kB."""
    options = configure(widths=(3, 2), rank=2, epochs=1, batch_size=4, threads=1)
    trainer = options.make_trainer(
        options.make_model(5), np.random.default_rng(0).random((8, 5), np.float32)
    )
    trainer.train(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint.npz"
        save_checkpoint(path, options, trainer, "0" * 64)
        return path.read_bytes()


@cache
def _parts():
    with zipfile.ZipFile(io.BytesIO(small_checkpoint())) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name != "meta.npy"}


def described(text):
    """Return the small checkpoint with another description."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in _parts().items():
            archive.writestr(name, content)
        part = io.BytesIO()
        np.save(part, np.frombuffer(text, np.uint8))
        archive.writestr("meta.npy", part.getvalue())
    return stream.getvalue()


def description():
    """Return the description in the small checkpoint."""
    with NpzArchive(small_checkpoint()) as archive:
        return archive.read("meta").tobytes()

"""The same samples in every kind of store that can be streamed."""

import numpy as np
from scipy import sparse

from ddnmf_np.data.streaming.rows import Rows
from ddnmf_np.data.streaming.sources import stream


def draw(n=103, width=12, seed=0, dtype="float32"):
    """Return samples in [0, 1), half of them 0."""
    rng = np.random.default_rng(seed)
    return (rng.random((n, width)) * (rng.random((n, width)) < 0.5)).astype(dtype)


def npy(x, folder):
    np.save(folder / "x.npy", x)
    return folder / "x.npy"


def memory_map(x, folder):
    return np.load(npy(x, folder), mmap_mode="r")


def shards(x, folder):
    (folder / "shards").mkdir()
    for number, part in enumerate(np.array_split(x, 4)):
        np.save(folder / "shards" / f"part-{number}.npy", part)
    return folder / "shards"


def hdf5(x, folder):
    import h5py

    with h5py.File(folder / "x.h5", "w") as file:
        file.create_dataset("group/x", data=x, chunks=(16, 5), compression="gzip")
        file["y"] = np.arange(len(x))
    return f"{folder / 'x.h5'}::group/x"


def hdf5_object(x, folder):
    import h5py

    return h5py.File(hdf5(x, folder).partition("::")[0], "r")["group/x"]


def zarr_folder(x, folder):
    import zarr

    array = zarr.create_array(folder / "x.zarr", shape=x.shape, chunks=(16, 5), dtype=x.dtype)
    array[:] = x
    return folder / "x.zarr"


def zarr_object(x, folder):
    import zarr

    return zarr.open(zarr_folder(x, folder), mode="r")


def dask_array(x, folder):
    import dask.array

    return dask.array.from_array(x, chunks=(16, 5))


def csr(x, folder):
    return sparse.csr_array(x)


NEEDS = {"hdf5": "h5py", "hdf5_object": "h5py", "zarr_folder": "zarr", "zarr_object": "zarr",
         "dask_array": "dask.array"}  # fmt: skip
KINDS = [npy, memory_map, shards, hdf5, hdf5_object, zarr_folder, zarr_object, dask_array, csr]
OBJECTS = [hdf5_object, zarr_object, dask_array, csr]
"""Those that the estimator streams without being asked."""


def rows_of(data, *, block_rows=8, window_blocks=3, dtype="float32", **options):
    """Return samples in small blocks and windows, so that small data have many of them."""
    rows = Rows(stream(data), dtype, **options)
    rows.block_rows, rows.window_blocks = block_rows, window_blocks
    return rows

"""Samples that stay where they are, and are read a few consecutive rows at a time.

A source has a shape, a dtype and slices of rows: files of NumPy, HDF5 or Zarr, sparse matrices,
dask arrays. We recognize the objects of other libraries by their attributes, and import a library
only to open a path.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import re
import stat
import sys
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddnmf_np.data.datasets import FILES, archive_errors
from ddnmf_np.data.sparse import check_indices, is_sparse, make_sparse, read_sparse
from ddnmf_np.data.streaming import anndata
from ddnmf_np.errors import DataError, UsageError, printable
from ddnmf_np.system import json_text
from ddnmf_np.system.archives import NpzArchive, read_header
from ddnmf_np.system.files import open_source as open_file
from ddnmf_np.system.needed import needed

Dense = NDArray[Any]

HDF5 = (".h5", ".hdf5", ".h5ad")
"""Ends of the names of HDF5 files; those of AnnData are among them."""


class Source(ABC):
    """Rows that several threads may read; fast in order, slow at random."""

    shape: tuple[int, int]  # samples and features
    dtype: np.dtype[Any]  # of the rows
    image_shape: tuple[int, int] | None = None  # of samples stored as images; `rows` are flat
    chunk_rows: int = 1  # stored, and so read, together; 1 if any run of rows can be read
    name: str  # for messages
    feature_names: tuple[str, ...] | None = None  # where the file has some
    row_names: tuple[str, ...] | None = None  # where the file has some

    @abstractmethod
    def rows(self, start: int, stop: int) -> Dense:
        """Return the dense rows ``start:stop``, in an array that nobody else writes to."""

    def column(self, name: str) -> Dense | None:
        """Return a column of labels that the file has beside the rows, or None."""
        return None

    def number(self, row: int) -> int:
        """Return the number that a row has in the file."""
        return row

    def describe(self, shape: Any, dtype: Any) -> None:
        """Set the attributes that describe the rows, or raise `DataError`."""
        known = [isinstance(size, (int, np.integer)) and size >= 1 for size in shape]  # dask: NaN
        if len(shape) not in (2, 3) or not all(known):
            raise DataError(
                f"{self.name}: has shape {tuple(shape)}; expected (n, D), one row for each sample, "
                "or (n, height, width) of images, with sizes that are known and at least 1"
            )
        self.dtype = np.dtype(dtype)
        if self.dtype.kind not in "buif":
            raise DataError(f"{self.name}: has dtype {dtype}; convert it to real numbers")
        if len(shape) == 3:
            self.image_shape = (int(shape[1]), int(shape[2]))
        self.shape = (int(shape[0]), math.prod(int(size) for size in shape[1:]))


class SlicedSource(Source):
    """An object with ``shape``, ``dtype`` and slices of rows that NumPy can turn into an array.

    For example a memory map, an h5py dataset, a Zarr array, a dask array, a sparse matrix by rows.
    """

    def __init__(self, array: Any, name: str = "X") -> None:
        self.name, self._array = name, array
        if hasattr(array, "tocsr") and array.format != "csr":
            raise DataError(
                f"{name}: is sparse in the format {array.format!r}, whose rows cannot be read one "
                "after the other; convert it with .tocsr()"
            )
        self.describe(array.shape, array.dtype)
        check_indices(array, name)
        first = (getattr(array, "chunks", None) or (1,))[0]
        # dask has the length of each chunk; h5py and Zarr have that of all chunks but the last.
        self.chunk_rows = int(max(first) if isinstance(first, Sequence) else first)

    def rows(self, start: int, stop: int) -> Dense:
        """Return the dense rows ``start:stop``."""
        with _readable(self.name):
            block = self._array[start:stop]
            block = np.asarray(block.toarray() if hasattr(block, "tocsr") else block)
        expected = (stop - start) * self.shape[1]
        if len(block) != stop - start or block.size != expected or block.dtype != self.dtype:
            raise DataError(
                f"{self.name}: gave an array of shape {block.shape} and dtype {block.dtype} for "
                f"rows {start} to {stop - 1}; expected {stop - start} rows of {self.dtype}: the "
                "data have changed since they were opened; start again with data that do not change"
            )
        return block.reshape(stop - start, self.shape[1])


class AnnData(SlicedSource):
    """A matrix in a file of AnnData, with the names and labels of its rows and columns."""

    def __init__(self, array: Any, name: str, obs: Any, var: Any) -> None:
        super().__init__(array, name)
        self._obs = obs
        self.row_names, self.feature_names = (
            names if names is not None and len(names) == size else None
            for names, size in zip(map(anndata.names_of, (obs, var)), self.shape, strict=True)
        )

    def column(self, name: str) -> Dense | None:
        """Return a column of ``obs``, or None."""
        with _readable(self.name):
            return anndata.column_of(self._obs, name)


class NpyFile(Source):
    """Consecutive rows in a file, as in NumPy's .npy files.

    We read the file and do not map it. So its rows do not count as memory of the process, and a
    file that is cut off meanwhile is an error that we can report, not a crash. Place and
    description of the rows are by default those of the header.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        offset: int | None = None,
        shape: tuple[int, ...] | None = None,
        dtype: Any = None,
    ) -> None:
        self.path = Path(path)
        self.name = printable(str(path))
        if offset is None or shape is None:
            with archive_errors(self.name), open_file(self.path) as file:
                header = read_header(file, os.fstat(file.fileno()).st_size)
            shape, dtype, offset = header.shape, header.dtype, header.length
            if header.fortran_order and len(shape) > 1 and shape[1] > 1:
                raise DataError(
                    f"{self.name}: is stored by columns, so that its rows cannot be read one after "
                    "the other; write it with numpy.save(path, numpy.ascontiguousarray(x))"
                )
        self.describe(shape, dtype)
        self._offset, self._row_bytes = offset, self.shape[1] * self.dtype.itemsize
        with _readable(self.name):
            self._stat = _identity(os.stat(self.path))
        size, needed = self._stat[0], offset + self.shape[0] * self._row_bytes
        if size < needed:
            raise DataError(
                f"{self.name}: has {size} bytes, but its header says {needed}, so it is cut off; "
                "write or copy it again"
            )

    def rows(self, start: int, stop: int) -> Dense:
        """Return the dense rows ``start:stop``."""
        block = np.empty((stop - start, self.shape[1]), self.dtype)
        with _readable(self.name), open_file(self.path) as file:
            if _identity(os.fstat(file.fileno())) != self._stat:
                raise DataError(
                    f"{self.name}: was changed after it was opened; start again with data that "
                    "do not change"
                )
            file.seek(self._offset + start * self._row_bytes)
            if file.readinto(block.reshape(-1).view(np.uint8).data) < block.nbytes:
                raise DataError(
                    f"{self.name}: ends within rows {start} to {stop - 1}; write or copy it again"
                )
        if self.dtype.kind == "b" and block.view(np.uint8).max() > 1:
            raise DataError(
                f"{self.name}: has truth values other than 0 and 1 in rows {start} to {stop - 1}; "
                "write it again with numpy.save"
            )
        return block


class Share(Source):
    """Some rows of a source: those that are held out, or the others.

    The held-out rows are at equal distances, so that both parts are read in long runs. ``fraction``
    is in (0, 1), and ``seed`` decides where they begin.
    """

    def __init__(self, source: Source, fraction: float, seed: int, *, held_out: bool) -> None:
        self.name, self._source = source.name, source
        n = source.shape[0]
        count = min(max(1, round(fraction * n)), n - 1)
        # The whole part of (k + shift) count / n grows at the held-out rows, count times in n.
        steps = (np.arange(n + 1, dtype=np.int64) + seed % n) * count // n
        self.index = np.flatnonzero((np.diff(steps) > 0) == held_out)
        self.describe((len(self.index), source.shape[1]), source.dtype)
        self.image_shape, self.feature_names = source.image_shape, source.feature_names
        self.chunk_rows = max(1, source.chunk_rows * len(self.index) // n)

    def rows(self, start: int, stop: int) -> Dense:
        """Return the dense rows ``start:stop``."""
        index = self.index[start:stop]
        first = int(index[0])
        return np.ascontiguousarray(self._source.rows(first, int(index[-1]) + 1)[index - first])

    def number(self, row: int) -> int:
        """Return the number that a row has in the file."""
        return int(self.index[row])


class Shards(Source):
    """Several sources with the same features and dtype, one after the other."""

    def __init__(self, parts: Sequence[Source], name: str) -> None:
        self.name, self._parts = name, parts
        first = parts[0]
        for part in parts:
            if (part.shape[1], part.dtype) != (first.shape[1], first.dtype):
                raise DataError(
                    f"{part.name}: has {part.shape[1]} features of {part.dtype}, and {first.name} "
                    f"has {first.shape[1]} of {first.dtype}; give all shards the same"
                )
        self.describe((sum(part.shape[0] for part in parts), first.shape[1]), first.dtype)
        self.image_shape = first.image_shape
        self._starts = np.cumsum([0, *(part.shape[0] for part in parts)]).tolist()

    def rows(self, start: int, stop: int) -> Dense:
        """Return the dense rows ``start:stop``."""
        pieces, at = [], start
        while at < stop:
            number = bisect_right(self._starts, at) - 1
            base, end = self._starts[number], min(stop, self._starts[number + 1])
            pieces.append(self._parts[number].rows(at - base, end - base))
            at = end
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def stream(data: Any) -> Source:
    """Return a source, which the estimator and the trainer read while they train.

    Parameters
    ----------
    data : path or object
        A path for `open_source`, or an object with ``shape``, ``dtype`` and slices of rows: a
        memory map, an h5py dataset, a Zarr array, a dask array, a sparse matrix by rows.

    Returns
    -------
    Source
        Reads rows of the data on demand.

    Raises
    ------
    DataError
        If the data are not real numbers in rows, or the file cannot be read.
    UsageError
        If the object is of another kind.
    """
    if isinstance(data, Source):
        return data
    if isinstance(data, (str, os.PathLike)):
        return open_source(data)
    if isinstance(data, np.memmap):
        return _mapped_file(data)
    if np.ma.is_masked(data):
        raise DataError(
            "data is a masked array, whose mask is not streamed; give numpy.ma.filled(data, "
            "numpy.nan), in which NaN may be a missing entry"
        )
    slices = all(hasattr(data, name) for name in ("shape", "dtype", "__getitem__"))
    if slices or hasattr(data, "tocsr"):  # some sparse matrices have no slices
        source = SlicedSource(data)
        h5py = sys.modules.get("h5py")  # loaded if there is such an object
        if h5py is not None and isinstance(data, h5py.Dataset):
            with _readable(source.name):
                if not (data.is_virtual or data.external):
                    _check_stored(data, source)
        return source
    raise UsageError(
        f"data is a {type(data).__name__}, which cannot be streamed; give a path, or an object "
        "with shape, dtype and slices of rows"
    )


def streams_by_itself(data: Any) -> bool:
    """Return whether the estimator streams an object without being asked to.

    This holds for sources, sparse matrices, and arrays that are stored in chunks. It does not hold
    for NumPy's memory maps, because joblib creates some, and results must not depend on that.
    """
    return (
        isinstance(data, Source)
        or (hasattr(data, "tocsr") and not isinstance(data, np.ndarray))
        or all(hasattr(data, name) for name in ("shape", "dtype", "chunks", "__getitem__"))
    )


def is_stream_path(path: str) -> bool:
    """Return whether a path can only be streamed: HDF5, Zarr, or a folder of .npy files."""
    outer = Path(path.partition("::")[0]).expanduser()
    return outer.suffix.lower() in (*HDF5, ".zarr") or (
        outer.is_dir()
        and bool(_shards_in(outer))
        and not list(outer.glob(f"{FILES['x_train']}*"))  # else it is a folder of IDX files
    )


def open_source(path: str | os.PathLike[str]) -> Source:
    """Open a path.

    Parameters
    ----------
    path : path
        ``x.npy``; ``x.h5::name`` (or ``.hdf5``) of a dataset in an HDF5 file; AnnData's ``x.h5ad``,
        whose matrix ``X`` may be dense or sparse, or ``x.h5ad::layers/name``; ``x.npz`` of
        ``scipy.sparse.save_npz``, which stays sparse in memory; ``x.zarr`` of an array, or
        ``x.zarr::name`` of an array in a group; or a folder of .npy files, which are read in the
        order of their names.

    Returns
    -------
    Source
        Open for reading.

    Raises
    ------
    DataError
        If the path cannot be read, or is none of these.
    BackendError
        If the library for this format is not installed.
    """
    text, _, inner = os.fspath(path).partition("::")
    outer = Path(text).expanduser()
    name = printable(str(outer))
    with _readable(name):
        if not outer.exists():
            raise DataError(f"{name}: there is no such file or folder; check the path")
        mode = os.stat(outer).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # opening a pipe may take forever
        raise DataError(
            f"{name}: cannot be read (it is a pipe or a device, not a regular file); write the "
            "data to a file"
        )
    suffix = outer.suffix.lower()
    if suffix in HDF5:
        return _open_hdf5(outer, inner.strip("/"), name)
    if suffix == ".zarr":
        return _open_zarr(outer, inner.strip("/"), name)
    if outer.is_dir() and (found := _shards_in(outer)):
        return Shards([NpyFile(file) for file in found], name)
    if suffix == ".npy":
        return NpyFile(outer)
    if suffix == ".npz":
        with archive_errors(name), NpzArchive(outer) as archive:
            if is_sparse(archive):
                return SlicedSource(read_sparse(archive, name), name)
    raise DataError(
        f"{name}: cannot be streamed; give an .npy file, an HDF5 file as FILE.h5::DATASET, an "
        ".h5ad file, a sparse .npz file, a Zarr array as FOLDER.zarr, or a folder of .npy files"
    )


# -- HDF5 --------------------------------------------------------------------------------------

_MOST_LINKS = 100


def _open_hdf5(path: Path, name: str, said: str) -> Source:
    h5py = needed("h5py", f"{said}:", "pip install h5py, or write the data as .npy")
    with _readable(said):
        file = h5py.File(path, "r")
        obs, var = (_inside(h5py, file, part, said) for part in ("obs", "var"))
        annotated = isinstance(obs, h5py.Group) and isinstance(var, h5py.Group)
        if path.suffix.lower() == ".h5ad" and not name and "X" in file:
            name = "X"
        node = _inside(h5py, file, name, said) if name else None
        if isinstance(node, h5py.Group) and "indptr" in node:
            array = _sparse_group(h5py, file, name, printable(f"{path}::{name}"))
            return _annotated(array, printable(f"{path}::{name}"), obs, var, annotated)
        if not isinstance(node, h5py.Dataset):
            arrays: list[str] = []
            # This follows no links, which may lead to other files.
            file.visititems(
                lambda name, node: arrays.append(name) if isinstance(node, h5py.Dataset) else None
            )
            name = _only(said, name, arrays)
            node = _inside(h5py, file, name, said)
        said = printable(f"{path}::{name}")
        _check_own(node, said)
        source = _annotated(node, said, obs, var, annotated)
        _check_stored(node, source, os.path.getsize(path))
    return source


def _annotated(array: Any, said: str, obs: Any, var: Any, annotated: bool) -> SlicedSource:
    return AnnData(array, said, obs, var) if annotated else SlicedSource(array, said)


def _sparse_group(h5py: Any, file: Any, name: str, said: str) -> Any:
    """Return the rows of a sparse matrix; one by columns (CSC) is read at once and turned."""
    parts = [_inside(h5py, file, f"{name}/{part}", said) for part in ("data", "indices", "indptr")]
    for part in parts:
        if not isinstance(part, h5py.Dataset) or part.ndim != 1 or part.dtype.kind not in "buif":
            raise DataError(f"{said}: is no sparse matrix of numbers; write it again with anndata")
        _check_own(part, said)
        if part.size:
            _check_stored(part, part, os.path.getsize(file.filename), said)
    data, indices, indptr = parts
    form, shape = anndata.form_of(file[name])
    if form not in ("csr", "csc") or len(shape) != 2:
        raise DataError(
            f"{said}: is sparse in the format {form!r} with the shape {tuple(shape)}; write it "
            "again with anndata, as csr_matrix"
        )
    if form == "csc":
        return make_sparse("csc", data[...], [indices[...], indptr[...]], shape, said)
    return anndata.StoredRows(
        data, indices, indptr[...].astype(np.int64), (shape[0], shape[1]), said
    )


def _check_own(dataset: Any, said: str) -> None:
    if dataset.is_virtual or dataset.external:
        raise DataError(
            f"{said}: has its values in other files, which we do not read; copy it into one "
            "file with h5py: file.create_dataset(name, data=old[...])"
        )


def _inside(h5py: Any, file: Any, name: str, said: str) -> Any:
    """Return the object with a name in an HDF5 file, or None, but never one of another file.

    The library itself would open every file that an external link names.
    """
    node, parts, links = file, name.split("/")[::-1], 0
    while parts:
        part = parts.pop()
        if part in ("", "."):
            continue
        link = node.get(part, getlink=True) if isinstance(node, h5py.Group) else None
        if link is None:
            return None
        if isinstance(link, h5py.SoftLink):
            links += 1
            if links > _MOST_LINKS:
                raise DataError(f"{said}: {printable(name)} is a link that leads to itself")
            parts += link.path.split("/")[::-1]
            node = file if link.path.startswith("/") else node
        elif isinstance(link, h5py.HardLink):
            node = node[part]
        else:
            raise DataError(
                f"{said}: {printable(name)} is a link to another file, which we do not read; give "
                "that file itself, or copy the data into this one"
            )
    return node


def _check_stored(
    dataset: Any, source: Any, size: float = math.inf, said: str | None = None
) -> None:
    """Refuse an HDF5 dataset that was not written entirely, or claims more than its file has.

    The library returns invented numbers for values that were never written.
    """
    stored = dataset.id.get_storage_size()
    if dataset.chunks is None:
        whole = stored >= dataset.size * dataset.dtype.itemsize
    else:
        chunks = math.prod(-(-n // c) for n, c in zip(dataset.shape, dataset.chunks, strict=True))
        whole = stored > 0 and dataset.id.get_num_chunks() >= chunks
    if not whole:
        found = f"{stored} bytes are stored"
        raise _never_written(said or source.name, source.shape, found, "all values, also the zeros")
    if stored > size:
        raise DataError(
            f"{said or source.name}: claims {stored} bytes, but its file has {size}, so it is cut "
            "off; write or copy it again"
        )


# -- Zarr --------------------------------------------------------------------------------------


def _open_zarr(path: Path, name: str, said: str) -> Source:
    zarr = needed("zarr", f"{said}:", "pip install zarr, or write the data as .npy")
    with _readable(said):
        if ".." in name.split("/"):
            raise DataError(f"{said}: {printable(name)!r} leaves the folder; give the other path")
        for folder in {path, path / name}:
            for file in ("zarr.json", ".zarray", ".zmetadata"):
                if (folder / file).exists():
                    _refuse_pickles(json_text.read(folder / file, finite=False), said)
        array = zarr.open(path, mode="r")
        if not isinstance(array, zarr.Array):
            group, array = array, array[name] if name and name in array else None
            if not isinstance(array, zarr.Array):
                members = group.members(max_depth=None)
                arrays = [path for path, node in members if isinstance(node, zarr.Array)]
                name = _only(said, name, arrays)
                array = group[name]
            path, said = path / array.path, printable(f"{path}::{name}")
        elif name:
            raise DataError(
                f"{said}: is one array and has no part {printable(name)!r}; give {said}"
            )
        return _zarr_source(array, path, said)


def _zarr_source(array: Any, folder: Path, said: str) -> Source:
    _refuse_pickles(array.metadata.to_dict(), said)  # from whatever file the library has it
    source = SlicedSource(array, said)
    sizes = getattr(array, "shards", None) or array.chunks
    grid = tuple(-(-n // c) for n, c in zip(array.shape, sizes, strict=True))
    # Not the library's own count, which lists all claimed chunks before it looks for one, and
    # takes the square of the time. (And np.ndindex makes lists.)
    for number in range(math.prod(grid)):
        key = array.metadata.encode_chunk_key(tuple(map(int, np.unravel_index(number, grid))))
        if not os.path.isfile(folder / key):
            raise _never_written(
                source.name,
                source.shape,
                f"there is no file {key}",
                "all chunks, also those of zeros, which Zarr leaves out without "
                "config={'write_empty_chunks': True}",
            )
    return source


def _refuse_pickles(metadata: Any, said: str) -> None:
    """Refuse chunks that Zarr would unpickle, because unpickling can run any code."""
    text = json.dumps(metadata, default=str).lower()
    if re.search(r'"(id|name)": "([^"]*\.)?pickle"', text):  # of a filter, compressor or codec
        raise DataError(
            f"{said}: its chunks are pickles, which are never read; write plain numbers"
        )


# -- helpers -----------------------------------------------------------------------------------


def _never_written(name: str, shape: Any, found: str, remedy: str) -> DataError:
    return DataError(
        f"{name}: has shape {shape}, but not all of it was ever written ({found}), "
        f"and the library would invent the rest; write {remedy}"
    )


def _only(said: str, name: str, arrays: list[str]) -> str:
    """Return the only array of a file if no name is given, or raise `DataError` with a list."""
    if not name and len(arrays) == 1:
        return arrays[0]
    found = printable(", ".join(arrays[:10])) or "none"
    what = f"no array {printable(name)!r}" if name else f"{len(arrays)} arrays"
    raise DataError(f"{said}: has {what}; give one of its arrays ({found}) as {said}::NAME")


def _shards_in(folder: Path) -> list[Path]:
    """Return the .npy files of a folder, in the order of their names."""
    try:
        return sorted(path for path in folder.iterdir() if path.suffix.lower() == ".npy")
    except OSError:
        return []  # we report the reason when we open the folder


def _mapped_file(array: np.memmap[Any, Any]) -> Source:
    """Return the file of a memory map, or slices of the map if it differs from its file."""
    whole = isinstance(array.base, mmap.mmap)  # not a slice of a map
    path = getattr(array, "filename", None)  # None for a map of an open file
    if not whole or path is None or array.mode == "c" or not array.flags.c_contiguous:
        return SlicedSource(array)
    array.flush()
    return NpyFile(path, array.offset, array.shape, array.dtype)


def _identity(stat: os.stat_result) -> tuple[int, int, int]:
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Turn errors of the file system and of libraries about unreadable data into `DataError`."""
    try:
        yield
    except (DataError, MemoryError):
        raise
    except Exception as error:  # of five libraries: dozens of kinds
        reason = printable(str(error))
        raise DataError(
            f"{name}: cannot be read ({reason}); check the path and the data"
        ) from error

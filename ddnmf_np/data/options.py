"""Options of the data: which samples, and how they are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ddnmf_np.data.scaling import Scale
from ddnmf_np.errors import OptionError
from ddnmf_np.system.options import (
    COUNT,
    FRACTION,
    MAX_WIDTH,
    Range,
    check_options,
    documented,
    option,
)


@documented
@dataclass(frozen=True)
class Data:
    """Options of the data: which samples, and how they are read.

    ``dataset`` is that of `ddnmf_np.data.datasets.load`, ``scale`` that of
    `ddnmf_np.data.scaling.Scaling`. Without ``test_fraction`` `ddnmf_np.runs.inputs` decides.
    """

    dataset: str = option(
        "digits",
        "digits (embedded), mnist, fashion-mnist, or the path of a table (.csv, .tsv, .txt, "
        ".parquet), .npy, .npz (also SciPy's sparse), .h5ad, or a folder of IDX files; or of what "
        "--stream names",
        resumable=True,  # its hash is what must not change
    )
    data_dir: str | None = option(
        None, "folder in which to look first for mnist and fashion-mnist", resumable=True
    )
    labels: str | None = option(
        None,
        "name of the column of labels in the data set (in obs of a .h5ad), or a file with a label "
        "for each row (.npy, or text with one in each line); for scoring only",
        resumable=True,
    )
    ignore: tuple[str, ...] | None = option(
        None, "names of columns of the data set that are left out", resumable=True
    )
    test_fraction: float | None = option(
        None,
        "share of the rows that training never sees and all scores are of; by default a fifth, at "
        "most 10,000, of a file without a test split; 0: score the training rows",
        FRACTION,
    )
    image_shape: tuple[int, ...] | None = option(
        None,
        "height and width of the images that samples are; by default what the data set says",
        Range(least=1, most=MAX_WIDTH),
    )
    missing: Literal["error", "nan"] = option(
        "error",
        "NaN in the data: error (refused), or nan (a missing entry, which no loss compares with)",
    )
    scale: Scale = option(
        "none",
        "scaling that is learned from the data and undone in every output: none, all (the range of "
        "all values becomes [0, 1]), or features (that of each feature, for mixed units)",
    )
    stream: bool = option(
        False,
        "read a .npy file as it is trained on, and do not hold it in memory (a sparse .npz stays "
        "sparse); HDF5 (FILE.h5::NAME, or .h5ad), Zarr and folders of .npy files are always read "
        "so",
    )
    stream_window: int = option(
        128,
        "MiB of samples that are mixed with each other while streaming; twice that is in memory",
        COUNT,
    )

    def __post_init__(self) -> None:
        check_options(self)
        for name in ("dataset", "labels"):
            if getattr(self, name) == "":
                raise OptionError(name, "is empty; give a name or a path, or leave it out")
        if self.image_shape is not None and len(self.image_shape) != 2:
            raise OptionError("image_shape", f"is {self.image_shape}; expected height and width")

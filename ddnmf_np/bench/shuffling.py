"""What mixing a window at a time costs in quality, against mixing all samples.

``python -m ddnmf_np.bench.shuffling`` trains on MNIST as it comes and sorted by class.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from ddnmf_np.backends.select import get_ops
from ddnmf_np.bench.surroundings import surroundings
from ddnmf_np.config import configure
from ddnmf_np.data.datasets import load
from ddnmf_np.data.streaming.rows import Rows
from ddnmf_np.data.streaming.sources import stream
from ddnmf_np.system.command import Parser, run_command
from ddnmf_np.system.files import atomic_write_text, make_folder


def make_parser() -> Parser:
    """Return the parser."""
    parser = Parser("ddnmf_np.bench.shuffling", __doc__ or "")
    add = parser.add_argument
    add("--epochs", type=int, default=4, help="default: %(default)s")
    add("--seeds", type=int, default=5, help="default: %(default)s")
    add("--widths", type=int, nargs="+", default=[64], help="default: 64")
    add("--windows", type=int, nargs="+", default=[60, 15, 4, 1], help="in blocks of 1 MiB")
    add("--data-dir", help="where to look for MNIST first")
    add("--output", type=Path, default=Path("runs/shuffling"), metavar="FOLDER")
    return parser


def measure(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield for each run what it was and its errors on the test images."""
    data = load("mnist", data_dir=arguments.data_dir)
    assert data.x_test is not None
    assert data.y_train is not None
    by_class = data.x_train[data.y_train.argsort(kind="stable")]
    for seed in range(arguments.seeds):
        for arranged, x in (("as it comes", data.x_train), ("sorted by class", by_class)):
            for window in (None, *arguments.windows):
                config = configure(
                    widths=tuple(arguments.widths),
                    objective="demo",
                    epochs=arguments.epochs,
                    seed=seed,
                    threads=1,
                )
                rows: Any = x
                if window is not None:
                    rows = Rows(stream(x), x.dtype, window_mib=window)
                model = config.make_model(x.shape[1], get_ops("numpy"))
                config.make_trainer(model, rows).train(arguments.epochs)
                yield {
                    "seed": seed,
                    "arranged": arranged,
                    "window_mib": window,
                    "student": float(((model.denoise(data.x_test) - data.x_test) ** 2).mean()),
                    "supervisor": float(((model.supervise(data.x_test) - data.x_test) ** 2).mean()),
                }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(lambda: _shuffling(make_parser().parse(argv)))


def _shuffling(arguments: argparse.Namespace) -> int:
    make_folder(arguments.output)
    runs = []
    with threadpool_limits(1):
        for found in measure(arguments):
            runs.append(found)
            print(json.dumps(found), flush=True)
    asked = {name: getattr(arguments, name) for name in ("epochs", "seeds", "widths", "windows")}
    result = {"options": asked, "runs": runs}
    path = arguments.output / "shuffling.json"
    atomic_write_text(path, json.dumps(result | surroundings(), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Quality of training on samples that are mixed a window at a time, against a full shuffle.

``python -m ddnmf_np.bench.shuffling`` trains on MNIST as it comes and sorted by class.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from threadpoolctl import threadpool_limits

from ddnmf_np.backends.select import get_ops
from ddnmf_np.bench.options import make_parser, option, parse, recorded
from ddnmf_np.bench.surroundings import surroundings
from ddnmf_np.config import configure
from ddnmf_np.data.datasets import load
from ddnmf_np.data.streaming.rows import Rows
from ddnmf_np.data.streaming.sources import stream
from ddnmf_np.system.command import run_command
from ddnmf_np.system.files import atomic_write_text, make_folder


@dataclass(frozen=True)
class Options:
    """Options of the command."""

    epochs: int = option(4, "epochs of each run")
    seeds: int = option(5, "runs of each kind, with seeds 0, 1, ...")
    widths: tuple[int, ...] = option((64,), "units of each encoder layer")
    windows: tuple[int, ...] = option((60, 15, 4, 1), "window sizes, in blocks of 1 MiB")
    data_dir: str | None = option(None, "where to look for MNIST first", metavar="FOLDER")


def measure(arguments: Options) -> Iterator[dict[str, Any]]:
    """Yield the description of each run with its errors on the test images."""
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
    return run_command(lambda: _shuffling(argv))


def _shuffling(argv: Sequence[str] | None) -> int:
    parser = make_parser(Options, "runs/shuffling", "ddnmf_np.bench.shuffling", __doc__ or "")
    given, folder = parse(parser, argv)
    options = Options(**given)
    make_folder(folder)
    runs = []
    with threadpool_limits(1):
        for found in measure(options):
            runs.append(found)
            print(json.dumps(found), flush=True)
    result = {"options": recorded(options), "runs": runs} | surroundings()
    atomic_write_text(folder / "shuffling.json", json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

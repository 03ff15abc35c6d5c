"""Front door: ``python -m ddnmf_np`` lists the commands, and runs the one that is named."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from ddnmf_np.errors import UsageError, unknown
from ddnmf_np.system.command import Parser, run_command

COMMANDS = {
    "train": ("ddnmf_np.train", "train a model on a data set, score its codes, draw its parts"),
    "rank": ("ddnmf_np.rank.__main__", "choose the rank by hidden entries, with its range"),
    "transform": (
        "ddnmf_np.transform.__main__",
        "apply a trained model to a file: codes, clusters, denoised or imputed data",
    ),
    "report": ("ddnmf_np.report.__main__", "write the report of a run again"),
    "explore": ("ddnmf_np.explore.__main__", "make a web page in which you move the learned parts"),
    "playground": (
        "ddnmf_np.playground.__main__",
        "make a web page in which you watch every gradient as the model learns",
    ),
    "trace": (
        "ddnmf_np.trace.__main__",
        "write down one training step of a run, with every number recomputed",
    ),
    "experiments": (
        "ddnmf_np.experiments.__main__",
        "compute the tables and figures of the paper's section 4, or who finds parts",
    ),
    "bench": (
        "ddnmf_np.bench.__main__",
        "compare the speed with PyTorch, JAX and Keras; or (data) the model with scikit-learn",
    ),
    "doctor": ("ddnmf_np.doctor", "say what is installed, what works, and how to mend the rest"),
    "teaching": (
        "ddnmf_np.teaching.__main__",
        "write a course from the notebooks, or grade a folder of submissions",
    ),
    "refresh": ("ddnmf_np.teaching.refresh", "execute notebooks and write them with their outputs"),
}
"""By name: the module whose ``main`` is the command, and what it does."""

DESCRIPTION = """\
Deep denoising non-negative matrix factorization, with every gradient written by hand.

commands:
"""

EPILOG = """\
Begin with: python -m ddnmf_np train --dataset digits
Each command explains its options: python -m ddnmf_np COMMAND --help"""


def make_parser() -> Parser:
    """Return the parser of what stands where a command is expected."""
    listed = "\n".join(f"  {name:13}{text}" for name, (_, text) in COMMANDS.items())
    return Parser("ddnmf_np", DESCRIPTION + listed, EPILOG, usage="%(prog)s COMMAND [OPTION ...]")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the first argument names, or list them; return the exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv and argv[0] in COMMANDS:
        # Only now, and only this one: other commands import packages that it may not need.
        command = import_module(COMMANDS[argv[0]][0])
        code: int = command.main(argv[1:])
        return code
    return run_command(lambda: _list(argv))


def _list(argv: Sequence[str]) -> int:
    if argv and not argv[0].startswith("-"):
        raise UsageError(unknown("command", argv[0], list(COMMANDS)))
    parser = make_parser()
    parser.parse(argv)
    parser.print_help()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Train on real data from the command line: ``python -m ddnmf_np.train --help``."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ddnmf_np.config import (
    DECIDED_BY,
    OPTIONS,
    PRESETS,
    Config,
    Option,
    configure,
    read_config,
)
from ddnmf_np.errors import INTERRUPTED, OptionError, UsageError
from ddnmf_np.parallel.communicator import Communicator
from ddnmf_np.parallel.launch import complain, connect, together
from ddnmf_np.runs.folder import RunFolder
from ddnmf_np.system.command import Parser, flag_of, run_command

PRESET = "auto"
"""The preset of a run whose options name none: what we do first must work on the user's data."""

EPILOG = """\
The output folder holds config.toml (every option, resolved), metrics.jsonl (losses and speed, a
line an epoch), checkpoint.npz, summary.json (scores, versions, time, memory), figures/, and
report.html, all of it on one page. With --save-codes it also holds codes.npy.
Ctrl-C, SIGTERM or a terminal that closes (SIGHUP) saves and stops; --resume continues to the same
weights as a run without a pause.
Exit codes: 0 done, 2 usage, 3 backend missing, 4 data or files, 5 diverged, 130 interrupted."""


def make_parser() -> Parser:
    """Return the parser: one flag for each option of `Config`, and four of its own."""
    parser = Parser(
        "ddnmf_np.train",
        "Train DDNMF, score its codes and draw what it has learned.",
        EPILOG,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="options as TOML; flags win")
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help="where results go (default: runs/DATASET)"
    )
    parser.add_argument("--resume", action="store_true", help="continue the run in --output")
    parser.add_argument("--overwrite", action="store_true", help="replace the run in --output")
    groups: dict[str, Any] = {}
    for o in OPTIONS.values():
        group = groups.setdefault(o.part, parser.add_argument_group(o.part))
        text = o.help.replace("%", "%%") + _default(o)
        group.add_argument(f"--{o.name.replace('_', '-')}", **flag_of(o.kind, text))
    return parser


def _default(o: Option) -> str:
    """Return the default of an option, as its help shows it."""
    if o.name == "objective":
        return f" (default: {PRESET})"
    if o.default is None:
        return "" if o.kind.optional else " (default: that of the preset)"
    shown = " ".join(map(str, o.default)) if isinstance(o.default, tuple) else o.default
    return f" (default: {shown})"


def parse(argv: Sequence[str] | None) -> dict[str, Any]:
    """Return the flags that were given, by name.

    Raises `UsageError` if one is unknown (the nearest is suggested) or has a value that is none of
    its kind.
    """
    return vars(make_parser().parse(argv))


def override(options: dict[str, Any], flags: dict[str, Any]) -> dict[str, Any]:
    """Return a file's options with flags put over them.

    A file that a run wrote has every value of its preset written out. Where a flag names another
    objective, those values give way to the other preset's; values that differ from the file's own
    preset were chosen by hand, and stay.
    """
    in_file = options.get("objective", "paper")
    if in_file in PRESETS and flags.get("objective", in_file) != in_file:
        usual = configure(objective=in_file).to_dict()
        options = {k: v for k, v in options.items() if k not in usual or v != usual[k]}
        by_data = DECIDED_BY.get(in_file, ())
        if options.keys() >= set(by_data):  # a run's file: its data decided
            options = {k: v for k, v in options.items() if k not in by_data}
    return options | flags


def configured(options: dict[str, Any], flags: dict[str, Any], file: Path) -> Config:
    """Return the options of a run; an error names the file if the option's value is from there."""
    try:
        return configure(**override(options, flags))
    except OptionError as error:
        if error.name in options and error.name not in flags:
            raise UsageError(f"config {file}: {error}") from error
        raise


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command, with others where an MPI launcher has started some; return its exit code."""
    # Another rank may wait inside MPI, where Python's handler of SIGTERM would never run.
    return run_command(lambda: together(partial(_main, argv), connect()), sigterm=False)


def _gather(flags: dict[str, Any], output: Path | None, *, resume: bool) -> Config:
    """Return the options of the command line, of the files that it names, and of the run."""
    options: dict[str, Any] = {}
    config_file = flags.pop("config", None)
    if resume:
        if output is None:
            raise UsageError("--resume needs --output, the folder of the run to continue")
        options |= RunFolder(output).read_options()
    if config_file is not None:
        options |= read_config(config_file)
    options.setdefault("objective", PRESET)
    return configured(options, flags, config_file or RunFolder(output or "").config)


def default_output(dataset: str) -> Path:
    """Return the default folder, ``runs/<dataset>`` (one per array of an HDF5 file)."""
    outer, _, inner = dataset.partition("::")
    return Path("runs") / "-".join([Path(outer).stem, *filter(None, inner.split("/"))])


def _main(argv: Sequence[str] | None, communicator: Communicator) -> int:
    """Do what the arguments say, as one of the processes that were started together."""
    return run_command(
        lambda: _train(argv, communicator),
        interrupted="interrupted; nothing was saved yet, start again",
        memory="take smaller widths, a smaller batch_size, or --stream",
        say=partial(complain, communicator),
        sigterm=communicator.rank == 0,
    )


def _train(argv: Sequence[str] | None, communicator: Communicator) -> int:
    with redirect_stdout(io.StringIO()) if communicator.rank else nullcontext():  # --help, once
        flags = parse(argv)
    resume, overwrite = flags.pop("resume", False), flags.pop("overwrite", False)
    if resume and overwrite:
        raise UsageError("--resume and --overwrite exclude each other; leave one out")
    output = flags.pop("output", None)
    # Rank 0's options are those of all, so that it alone needs the files that have some.
    config = _gather(flags, output, resume=resume) if communicator.rank == 0 else None
    agreed = communicator.broadcast_object(config and [config.to_dict(), sorted(config.undecided)])
    if config is None:
        config = replace(configure(**agreed[0]), undecided=frozenset(agreed[1]))
    folder = RunFolder(output or default_output(config.data.dataset))
    try:
        # Late: scikit-learn and matplotlib take seconds, for which no usage error should wait.
        from ddnmf_np.runs.run import run

        return run(config, folder, resume=resume, overwrite=overwrite, communicator=communicator)
    except KeyboardInterrupt:
        if not folder.checkpoint.exists():
            raise
        kept = f"interrupted; the last checkpoint is kept. {folder.how_to_resume()}"
        complain(communicator, kept)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())

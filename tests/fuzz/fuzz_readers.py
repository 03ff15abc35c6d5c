"""Fuzz one reader, or all: ``python tests/fuzz/fuzz_readers.py idx --executions N --seconds S``.

atheris mutates the files in ``corpus/READER`` and keeps, beside them in a folder of its own, what
reaches new lines of the package. It ends at the first finding, which is written to ``findings``.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
READERS = ("idx", "npy", "npz", "checkpoint", "meta", "config", "record")
SHARES = {"idx": 4, "npy": 3, "npz": 2, "checkpoint": 2, "meta": 0.15, "config": 0.5, "record": 4}
"""Of the executions of ``all``: those that build an archive or a model for each get fewer."""

MOST_MEMORY_MB = 2048
MOST_SECONDS = 20  # for one input; more is a hang
LONGEST = 4096  # bytes of an input


def worker(reader, arguments):
    """Fuzz until libFuzzer has enough; it ends this process."""
    import atheris

    with atheris.instrument_imports(
        include=["ddnmf_np.system.archives", "ddnmf_np.system.json_text", "ddnmf_np.config",
                 "ddnmf_np.runs.checkpoint",
                 "ddnmf_np.data", "ddnmf_np.experiments.records", "tomllib"]
    ):  # fmt: skip
        import fuzz_targets
    target = fuzz_targets.TARGETS[reader]
    atheris.Setup([sys.argv[0], *arguments], target)
    atheris.Fuzz()


def fuzz(reader, executions, seconds, findings, keep):
    """Fuzz a reader in a process of its own; return executions and whether all was well."""
    import fuzz_targets

    findings.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        tokens = Path(temporary, "tokens")
        tokens.write_text("".join(f'"{t}"\n' for t in fuzz_targets.TOKENS[reader]), "utf-8")
        new = keep / reader if keep else Path(temporary, "new")
        new.mkdir(parents=True, exist_ok=True)
        arguments = [
            f"-runs={executions}", f"-max_total_time={seconds}", f"-max_len={LONGEST}",
            f"-timeout={MOST_SECONDS}", f"-rss_limit_mb={MOST_MEMORY_MB}", f"-dict={tokens}",
            f"-artifact_prefix={findings}/{reader}-", "-print_final_stats=1", "-verbosity=1",
            str(new), str(HERE / "corpus" / reader),
        ]  # fmt: skip
        begun = time.monotonic()
        done = subprocess.run(
            [sys.executable, __file__, "--worker", reader, *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        spent = time.monotonic() - begun
    said = done.stdout + done.stderr
    counted = re.findall(r"number_of_executed_units:\s*(\d+)", said)
    n = int(counted[-1]) if counted else 0
    good = done.returncode == 0 and n > 0
    print(f"{reader}: {n} executions in {spent:.0f} s; {'no finding' if good else 'FINDING'}",
          flush=True)  # fmt: skip
    if not good:
        reason = said.find("=== Uncaught Python exception")
        print(said[reason : reason + 4000] if reason >= 0 else said[-4000:], flush=True)
    return n, good


def main(argv=None):
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reader", choices=(*READERS, "all"))
    parser.add_argument("--executions", type=int, default=1_000_000, metavar="N", help="in all")
    parser.add_argument("--seconds", type=float, default=60.0, metavar="S", help="in all, at most")
    parser.add_argument("--findings", type=Path, default=Path("findings"), metavar="FOLDER")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where new inputs are kept")
    given = parser.parse_args(argv)
    try:
        import atheris  # noqa: F401
    except ImportError:
        print("not fuzzed: atheris is not installed, or has no wheel for this Python")
        return 0
    readers = READERS if given.reader == "all" else (given.reader,)
    whole = sum(SHARES[reader] for reader in readers)
    total, good = 0, True
    for reader in readers:
        share = SHARES[reader] / whole
        n, well = fuzz(
            reader,
            max(int(given.executions * share), 1),
            # A second is over before libFuzzer has begun; 0 would mean no limit.
            max(int(given.seconds / len(readers)), 1),
            given.findings,
            given.keep,
        )
        total, good = total + n, good and well
    print(f"{total} executions in all; {'no finding' if good else 'findings are above'}")
    return 0 if good else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(sys.argv[2], sys.argv[3:])
    else:
        sys.exit(main())

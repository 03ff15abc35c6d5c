"""Every input that was a finding, or led the fuzzer on, once more; in CI also new ones.

The long run: ``python tests/fuzz/fuzz_readers.py all --executions 12000000 --seconds 3600``.
"""

import importlib.util
import os
import re
import subprocess
import sys

import pytest
from fuzz_readers import READERS, SHARES
from fuzz_targets import CORPUS, TARGETS, TOKENS, description, small_checkpoint

from ddnmf_np.errors import CheckpointError
from ddnmf_np.runs.checkpoint import load_checkpoint

SECONDS = os.environ.get("DDNMF_FUZZ_SECONDS")


def test_every_reader_has_what_it_needs():
    assert set(READERS) == set(TARGETS) == set(SHARES) == set(TOKENS)
    assert {folder.name for folder in CORPUS.iterdir()} == set(READERS)
    assert sum(file.stat().st_size for file in CORPUS.rglob("*")) < 1_000_000


@pytest.mark.parametrize("reader", READERS)
def test_corpus(reader):
    files = sorted((CORPUS / reader).iterdir())
    assert len(files) >= 5
    for file in files:
        try:
            TARGETS[reader](file.read_bytes())
        except BaseException as error:
            error.add_note(f"of {file.relative_to(CORPUS)}")
            raise


def test_targets_see_a_reader_that_fails(monkeypatch):
    """The test of the tests: an error that is not the package's own is a finding."""

    good = {"meta": description(), "checkpoint": small_checkpoint(), "record": b"{}"}

    def fail(*arguments, **options):
        raise RuntimeError("planted")

    for name in ("read_idx", "read_npy", "NpzArchive", "load_checkpoint", "read_config", "check"):
        monkeypatch.setattr(f"fuzz_targets.{name}", fail)
    for reader, target in TARGETS.items():
        with pytest.raises(RuntimeError, match="planted"):
            target(good.get(reader, b""))


def test_seeds_reach_what_lies_behind_the_checks():
    """The committed seeds are read, not refused: a fuzzer that begins at rubbish stays there."""
    whole = (CORPUS / "checkpoint" / "whole").read_bytes()
    assert load_checkpoint(whole).restore_model().n_features == 5
    with pytest.raises(CheckpointError):
        load_checkpoint(whole[:-1])


@pytest.mark.extra
@pytest.mark.skipif(not SECONDS, reason="DDNMF_FUZZ_SECONDS says how long to fuzz; CI: 20")
def test_fuzz(tmp_path):
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed, or has no wheel for this Python")
    command = [sys.executable, str(CORPUS.parent / "fuzz_readers.py"), "all"]
    command += ["--executions", "100000000", "--seconds", SECONDS]
    done = subprocess.run(
        [*command, "--findings", str(tmp_path)], capture_output=True, text=True, check=False
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.search(r"^(\d+) executions in all; no finding$", done.stdout, re.M)[1]) > 1000

"""Ranks that are threads of this process, and runs of the command line under mpiexec."""

import json
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ddnmf_np.data.datasets import load
from ddnmf_np.errors import DataError
from ddnmf_np.parallel.communicator import N_CHANNELS, Communicator, Request

TIMEOUT = 120


class Meeting:
    """Memory that threads in the role of ranks share: a place per rank in each channel."""

    def __init__(self, size):
        self.size = size
        self.places = [[None] * size for _ in range(N_CHANNELS + 1)]
        self.barriers = [threading.Barrier(size, timeout=20) for _ in range(N_CHANNELS + 1)]

    def abort(self):
        for barrier in self.barriers:
            barrier.abort()


class Later:
    """Sum that is formed in `wait`, so a reader that does not wait sees the old values."""

    def __init__(self, communicator, array, channel):
        self.polls = 0
        self.arguments = communicator, array, channel

    def poll(self):
        self.polls += 1

    def wait(self):
        communicator, array, channel = self.arguments
        array[...] = sum(communicator.exchange(array.copy(), channel))
        communicator.requests.append((channel, self.polls))


class ThreadCommunicator(Communicator):
    """One of several ranks in one process."""

    from_several_threads = True
    name = "threads"

    def __init__(self, meeting, rank):
        self.meeting, self.rank, self.local_rank = meeting, rank, rank
        self.size = self.local_size = meeting.size
        self.requests = []

    def exchange(self, value, channel):
        places, barrier = self.meeting.places[channel], self.meeting.barriers[channel]
        places[self.rank] = value
        barrier.wait()
        everyone = list(places)
        barrier.wait()
        return everyone

    def start_sum(self, array, channel):
        return Request() if array.size == 0 else Later(self, array, channel)

    def broadcast(self, array):
        array[...] = self.exchange(array.copy(), N_CHANNELS)[0]

    def broadcast_object(self, value):
        return json.loads(self.exchange(json.dumps(value), N_CHANNELS)[0])

    def exchange_rows(self, rows, counts):
        parts = np.split(rows, np.cumsum(counts)[:-1])
        return np.concatenate([p[self.rank] for p in self.exchange(parts, N_CHANNELS)])

    def rest(self):
        self.exchange(None, N_CHANNELS)

    def abort(self, code):
        self.meeting.abort()


def in_ranks(size, work, *, all_fail=False):
    """Return the result or the exception of ``work(communicator)`` in each of ``size`` ranks."""
    meeting = Meeting(size)

    def one(rank):
        communicator = ThreadCommunicator(meeting, rank)
        try:
            return work(communicator)
        except Exception as error:
            if not all_fail:
                meeting.abort()
            return error

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(one, range(size)))


# -- under mpiexec ---------------------------------------------------------------------------------

SMALL = [
    "--widths", "32", "16", "--rank", "5", "--batch-size", "50", "--epochs", "6", "--seed", "3",
    "--clusterers", "kmeans", "--starts", "1", "--embedding", "pca", "--embedding-samples", "100",
    "--checkpoint-every", "0", "--objective", "paper", "--test-fraction", "0",
]  # fmt: skip
"""400 images make 8 steps an epoch."""


def write_images(path, n):
    """Write real images: MNIST if it is here, else scikit-learn's digits."""
    try:
        images = load("mnist", data_dir=os.environ.get("DDNMF_DATA")).x_train[:n]
    except DataError:
        images = load("digits").x_train
        images = np.tile(images, (-(-n // len(images)), 1))[:n]
    np.save(path, images)


def mpiexec():
    """Return the launcher that belongs to this Python, else the one on the path."""
    own = Path(sys.executable).with_name("mpiexec")
    return str(own) if own.exists() else shutil.which("mpiexec")


def start(ranks, output, *flags, code="", launcher=True):
    """Start the command line; each rank first executes ``code``, in which RANK is its number."""
    program = (
        "import sys\nfrom ddnmf_np.train import main\n"
        "from mpi4py import MPI\nRANK = MPI.COMM_WORLD.rank\n"
        f"{code}\nsys.exit(main(sys.argv[1:]))"
    )
    arguments = [*map(str, flags), "--output", str(output)]
    python = [sys.executable, "-m", "mpi4py", "-c", program, *arguments]
    if not launcher:
        python = [sys.executable, "-m", "ddnmf_np.train", *arguments]
    return subprocess.Popen(
        [mpiexec(), "-n", str(ranks), *python] if launcher else python,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
        | ({} if launcher else {"OMP_NUM_THREADS": "1"}),
    )


def finish(*arguments, **options):
    """Run to the end; return exit code, standard output and standard error."""
    process = start(*arguments, **options)
    try:
        out, err = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        process.terminate()
        out, err = process.communicate(timeout=10)
        raise AssertionError(f"not done after {TIMEOUT} s:\n{out}\n{err}") from None
    return process.returncode, out, err


AT_STEP = """
from ddnmf_np.training import Trainer
step, count = Trainer.step, []
def planted(self, index):
    count.append(1)
    if RANK == {rank} and len(count) == {step}:
        {action}
    step(self, index)
Trainer.step = planted
"""

"""Programs in processes that are forked from one that has imported the package.

Importing takes most of the time of a short run.
"""

import contextlib
import multiprocessing
import os
import sys
import time

SERVER = multiprocessing.get_context("forkserver" if hasattr(os, "fork") else "spawn")
SERVER.set_forkserver_preload(["ddnmf_np.runs.run", "ddnmf_np.experiments.campaign"])


class Forked:
    """A process that executes a program, with the methods of ``subprocess.Popen`` that we need.

    A program that writes more to standard error than an unread pipe holds is given none.
    """

    def __init__(self, code, arguments, err=True):
        self.reader, writer = SERVER.Pipe(duplex=False)
        words = [str(word) for word in arguments]
        self.process = SERVER.Process(target=_run, args=(code, words, writer if err else None))
        self.process.start()
        writer.close()

    @property
    def pid(self):
        return self.process.pid

    @property
    def returncode(self):
        return self.process.exitcode

    def poll(self):
        return self.process.exitcode

    def send_signal(self, number):
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended just now
                os.kill(self.pid, number)

    def end(self):
        """Wait until the process has ended; return what it said on standard error."""
        said, until = b"", time.monotonic() + 120
        while self.reader.poll(max(0.0, until - time.monotonic())):
            if not (more := os.read(self.reader.fileno(), 1 << 16)):
                break
            said += more
        self.process.join(max(0.0, until - time.monotonic()))
        if self.returncode is None:
            self.process.kill()
            raise TimeoutError(said.decode())
        return said.decode()


def _run(code, arguments, err):
    """Do what ``python -c CODE ARGUMENTS`` does, in a process that was forked for it."""
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 1)
        os.dup2(err.fileno() if err else nothing.fileno(), 2)
    if err:
        err.close()
    sys.argv = ["-c", *arguments]
    exec(code, {"__name__": "__main__"})

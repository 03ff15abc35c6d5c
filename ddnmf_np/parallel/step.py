"""One iteration of algorithm 1 by several ranks; ``derivations/16-scaling.md`` explains it."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from ddnmf_np.backends.ops import Array
from ddnmf_np.data.batch import Feed
from ddnmf_np.errors import DataError, DivergedError
from ddnmf_np.model import NETS, Model
from ddnmf_np.parallel.communicator import LOSSES, STOP, STUDENT, SUPERVISOR, Communicator
from ddnmf_np.training import Trainer


class SharedStep:
    """Step in which each rank works on its share of the batch, which may be empty.

    Every loss is a mean over samples of a term that depends on one sample only. So if each rank
    divides by the size N of the whole batch, the sum of the ranks' gradients is the gradient of the
    whole batch. All replicas of the model stay bit-identical.
    """

    def __init__(self, communicator: Communicator, model: Model, feed: Feed) -> None:
        self.communicator, self.model, self.feed = communicator, model, feed
        self._stop = False
        self._stops = np.zeros(1)

    def begin(self, trainer: Trainer) -> None:
        """Copy the position and state of rank 0 to all ranks: only rank 0 reads a checkpoint."""
        self._stop = False
        if self.communicator.rank == 0:
            trainer.start()  # the others receive the parameters
        position, here = trainer.position, list(trainer.x.shape)
        rule = trainer.stopping
        numbers = None if rule is None else rule.numbers()
        state = [here, position.epoch, position.batch, trainer.history, numbers]
        there, *state = self.communicator.broadcast_object(state)
        if there != here:  # with other numbers of batches, ranks would wait for each other for ever
            raise DataError(
                f"x has shape {tuple(here)} on rank {self.communicator.rank} and {tuple(there)} "
                "on rank 0; give all ranks the same samples"
            )
        position.epoch, position.batch, trainer.history, numbers = state
        if rule is not None:  # all must stop at the same epoch
            rule.load_numbers(numbers)
        model, broadcast = self.model, self.communicator.broadcast
        model.optimizer.t = self.communicator.broadcast_object(model.optimizer.t)
        for net in NETS:
            arena = model.nets[net].arena
            for flat in (arena.params, *arena.slots.values()):
                broadcast(flat)
        broadcast(model.loss.sums)

    def agreed_to_stop(self, asked: bool) -> bool:
        """Return whether any rank was asked to stop when the last step began.

        If this rank is ``asked`` now, the others learn it in the next step.
        """
        return self._stop

    def check(self) -> None:
        """Raise `DivergedError` on all ranks if one differs from rank 0 in any bit.

        Otherwise replicas that drift apart would go on training different models, unnoticed. We
        check before rank 0 saves a checkpoint.
        """
        model, communicator = self.model, self.communicator
        host = [np.ascontiguousarray(model.ops.to_host(model.nets[n].arena.params)) for n in NETS]
        here = [zlib.crc32(flat.data) for flat in host]
        there = communicator.broadcast_object(here)
        drifted = np.zeros(communicator.size)
        drifted[communicator.rank] = here != there
        communicator.start_sum(drifted, LOSSES).wait()
        if drifted.any():
            ranks = ", ".join(map(str, np.flatnonzero(drifted)))
            raise DivergedError(
                f"the parameters of rank {ranks} are no longer those of rank 0: a fault of "
                "a machine or of its libraries. Continue from the last checkpoint with --resume, "
                "without that machine"
            )

    def __call__(self, index: Array, n: int, asked: bool) -> None:
        """Do the step, and add the losses of all ranks' samples to ``loss.sums``.

        ``index``, (n_here,) in int64, has this rank's samples, as `Batch.choose` returns them; it
        may be empty. ``n`` is the number of samples of the whole batch. ``asked`` says whether this
        rank was asked to stop after the step.
        """
        model, start_sum = self.model, self.communicator.start_sum
        self._stops[0] = asked
        stops = start_sum(self._stops, STOP)
        before = model.loss.sums.copy()
        model.loss.reset()
        model.optimizer.begin()
        self._move(*self.feed.prepare(index), n=n)
        start_sum(model.loss.sums, LOSSES).wait()
        model.loss.sums += before
        stops.wait()
        self._stop = bool(self._stops[0])

    def _move(self, x: Array, x_noisy: Array, observed: Array | None = None, *, n: int) -> None:
        """Measure the losses of this rank's samples; descend with the gradient of all ranks."""
        model = self.model
        if x.shape[0]:
            model.forward(x, x_noisy)
            direct = [
                model.loss.direct_gradients(net, x, measure=True, observed=observed, n=n)
                for net in NETS
            ]
        else:
            direct = None
        if model.network_threads.side_by_side and self.communicator.from_several_threads:
            model.network_threads.both(
                lambda: self._descend(SUPERVISOR, direct), lambda: self._descend(STUDENT, direct)
            )
        else:
            self._in_turn(direct)
        model.project()

    def _in_turn(self, direct: Any) -> None:
        """Hide communication behind computation.

        The sum of the student's gradients runs during the supervisor's backward pass, and the sum
        of the supervisor's gradients during the student's update.
        """
        self._differentiate(STUDENT, direct)
        first = self._start(STUDENT)
        self._differentiate(SUPERVISOR, direct, first.poll)
        second = self._start(SUPERVISOR)
        first.wait()
        self._update(STUDENT, second.poll)
        second.wait()
        self._update(SUPERVISOR)

    def _descend(self, number: int, direct: Any) -> None:
        """Do backward pass, sum and update of one network; another thread does the other's."""
        self._differentiate(number, direct)
        self._start(number).wait()
        self._update(number)

    def _differentiate(
        self, number: int, direct: Any, poll: Callable[[], None] | None = None
    ) -> None:
        """Compute this rank's part of one network's gradient."""
        net = self.model.nets[NETS[number]]
        if direct is None:
            net.arena.grads.fill(0.0)
        else:
            net.backward(direct[number], after=poll and (lambda span: poll()))

    def _start(self, number: int) -> Any:
        return self.communicator.start_sum(self.model.nets[NETS[number]].arena.grads, number)

    def _update(self, number: int, poll: Callable[[], None] | None = None) -> None:
        """Update one network's parameters; call ``poll`` after each layer."""
        if poll is None:
            self.model.optimizer.update(number)
            return
        for layer in self.model.nets[NETS[number]].layers:
            self.model.optimizer.update(number, layer.span)
            poll()

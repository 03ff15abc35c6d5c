"""One iteration of algorithm 1 by several ranks; ``derivations/16-scaling.md`` has the reasons."""

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
    """Steps of which each rank does its share of the samples.

    Every loss is a mean over samples of something that depends on one sample alone, so that the
    gradient of a batch is the sum of what its samples add to it: each rank takes the size of the
    whole batch for N, and the sum over the ranks is the gradient of the whole batch.

    Parameters
    ----------
    communicator : Communicator
        The ranks.
    model : Model
        This rank's replica. All replicas stay the same, bit for bit.
    feed : Feed
        This rank's share of the batches; of some batches it may be empty.
    """

    def __init__(self, communicator: Communicator, model: Model, feed: Feed) -> None:
        self.communicator, self.model, self.feed = communicator, model, feed
        self._stop = False
        self._stops = np.zeros(1)

    def begin(self, trainer: Trainer) -> None:
        """Put every rank where rank 0 is, which alone may have read a checkpoint."""
        self._stop = False
        if self.communicator.rank == 0:
            trainer.start()  # the others get the parameters
        position, here = trainer.position, list(trainer.x.shape)
        state = [here, position.epoch, position.batch, trainer.history]
        there, *state = self.communicator.broadcast_object(state)
        if there != here:  # other batches: ranks would wait for each other for ever
            raise DataError(
                f"x has shape {tuple(here)} on rank {self.communicator.rank} and {tuple(there)} "
                "on rank 0; give all ranks the same samples"
            )
        position.epoch, position.batch, trainer.history = state
        share_state(self.model, self.communicator)

    def agreed_to_stop(self, asked: bool) -> bool:
        """Return whether any rank was asked to stop when the last step began.

        Parameters
        ----------
        asked : bool
            Whether this rank is asked now: the others will know after the next step.
        """
        return self._stop

    def check(self) -> None:
        """Raise `DivergedError` on all ranks where replicas differ."""
        check_replicas(self.model, self.communicator)

    def __call__(self, index: Array, n: int, asked: bool) -> None:
        """Do the step; ``loss.sums`` have what all ranks' samples add to them.

        Parameters
        ----------
        index : ndarray of shape (n_here,), int64
            This rank's samples, as `Batch.choose` returns them; there may be none.
        n : int
            Samples of the whole batch.
        asked : bool
            Whether this rank was asked to stop after the step.
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
        """Measure the losses of this rank's samples, and move the parameters by all ranks'."""
        model = self.model
        if x.shape[0]:
            model.forward(x, x_noisy)
            direct = [
                model.loss.direct_gradients(net, x, measure=True, observed=observed, n=n)
                for net in NETS
            ]
        else:
            direct = None
        if model.lanes.side_by_side and self.communicator.from_several_threads:
            model.lanes.both(
                lambda: self._descend(SUPERVISOR, direct), lambda: self._descend(STUDENT, direct)
            )
        else:
            self._in_turn(direct)
        model.project()

    def _in_turn(self, direct: Any) -> None:
        """Send a network's gradient while the other one's is computed and its own parameters move.

        The first sum is on its way during the second backward pass; the second one while the
        first network's parameters move.
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
        """Do all of one network's, while another thread does the other one's."""
        self._differentiate(number, direct)
        self._start(number).wait()
        self._update(number)

    def _differentiate(
        self, number: int, direct: Any, poll: Callable[[], None] | None = None
    ) -> None:
        """Compute one network's gradient: this rank's samples' part of it."""
        net = self.model.nets[NETS[number]]
        if direct is None:
            net.arena.grads.fill(0.0)
        else:
            net.backward(direct[number], after=poll and (lambda span: poll()))

    def _start(self, number: int) -> Any:
        return self.communicator.start_sum(self.model.nets[NETS[number]].arena.grads, number)

    def _update(self, number: int, poll: Callable[[], None] | None = None) -> None:
        """Move one network's parameters, layer by layer where there is something to look after."""
        if poll is None:
            self.model.optimizer.update(number)
            return
        for layer in self.model.nets[NETS[number]].layers:
            self.model.optimizer.update(number, layer.span)
            poll()


def share_state(model: Model, communicator: Communicator) -> None:
    """Give every rank the parameters, slots, losses and step number of rank 0."""
    model.optimizer.t = communicator.broadcast_object(model.optimizer.t)
    for net in NETS:
        arena = model.nets[net].arena
        for flat in (arena.params, *arena.slots.values()):
            communicator.broadcast(flat)
    communicator.broadcast(model.loss.sums)


def check_replicas(model: Model, communicator: Communicator) -> None:
    """Raise `DivergedError` on all ranks where one has other parameters than rank 0, bit for bit.

    Replicas that drift apart would train on, each on a model of its own, and nobody would see it.
    All know it before rank 0 saves what their gradients have made.
    """
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

"""Training of one model by several processes (ranks), each with a part of every batch.

``communicator`` defines what ranks exchange, and has the case of one process; ``mpi`` and ``nccl``
are the other cases. ``step`` is one iteration of algorithm 1 by all ranks, ``feed`` gives each rank
its samples. ``launch`` finds the ranks, and ends all of them if one fails.
"""

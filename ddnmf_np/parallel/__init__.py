"""Several processes that train one model: each has a part of every batch.

``communicator`` says what processes tell each other, and has the trivial case of one process;
``mpi`` and ``nccl`` are the other cases; ``step`` is one iteration of algorithm 1 done together;
``launch`` finds out who was started with whom, and ends all if one fails.
"""

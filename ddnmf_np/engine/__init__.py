"""The equations of the paper and nothing else. The engine needs only NumPy.

Start with ``literal``, which has every equation as the paper writes it, for one sample. Then read
how the engine computes the same for whole batches: ``arena`` (memory), ``layers`` (one layer),
``network`` (layers in a row), ``nmf`` (the student's two middle layers), ``losses`` (equations 4
to 7 as a table) and ``descent`` (equation 8). Last, read how we check the gradients: ``problems``
and ``gradcheck``. The arithmetic is in `ddnmf_np.backends.ops`, and the noise of equation 2 in
`ddnmf_np.data.noise`.
"""

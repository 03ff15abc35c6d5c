"""The equations of the paper and nothing else; this folder needs only NumPy.

Start with ``literal``: every equation as the paper writes it, for one sample. Then read how the
engine computes the same for whole batches: ``arena`` (memory), ``layers`` (one layer), ``network``
(layers in a row), ``nmf`` (the student's two middle layers), ``losses`` (the table of equation 7),
``descent`` (equation 8); then how we check it: ``problems`` and ``gradcheck``. The arithmetic is
in ``ddnmf_np.backends.ops``, the noise of equation 2 in ``ddnmf_np.data.noise``.
"""

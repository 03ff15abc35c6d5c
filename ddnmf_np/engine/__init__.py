"""The lesson: the equations of the paper and nothing else, on NumPy alone.

Reading order: ``arena`` (memory), ``layers`` (one layer), ``network`` (layers in a row), ``losses``
(what they are trained for), ``descent``; ``problems`` and ``gradcheck`` (is it right?). The
arithmetic is in ``ddnmf_np.backends.ops``; equation 2, the noise, is in ``ddnmf_np.data.noise``.
"""

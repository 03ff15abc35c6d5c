"""A trained model as one web page that decodes by itself: ``python -m ddnmf_np.explore --help``.

``packing`` turns arrays into text, ``content`` gathers what a run has to show, ``page`` puts both
into one HTML file. What the page does is in ``assets``: ``network.js`` is the decoder,
``pictures.js`` draws, ``map.js`` is the map of samples, ``explorer.js`` is the rest of the
interface.
"""

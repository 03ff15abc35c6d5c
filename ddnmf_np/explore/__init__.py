"""The parts explorer, a web page with a trained model: ``python -m ddnmf_np.explore --help``.

``packing`` turns arrays into text, ``content`` gathers the content of the page from a run, and
``page`` writes both into one HTML file. The scripts are in ``assets``: ``network.js`` is the
decoder, ``pictures.js`` draws, ``map.js`` is the map of samples, and ``explorer.js`` is the rest of
the interface.
"""

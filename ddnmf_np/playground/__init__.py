"""The playground, a web page that trains a model: ``python -m ddnmf_np.playground --help``.

``content`` gathers samples, presets and the lines of ``engine/literal.py`` that the page quotes,
and makes the HTML file. ``replay`` repeats in Python what the page has done, from the lines that
its button "Copy as Python" gives. The scripts are in ``assets``. Those named in `content.ENGINE`
compute and know nothing of the page: read them in that order. The others draw.
"""

"""One page about a run, its results and its machine: ``report.html``.

``results`` reads the folder of a run, ``assets/report.html`` says it, and ``page`` joins the two.
"""

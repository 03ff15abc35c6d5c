"""The report of a run: one page, ``report.html``, with its results and its machine.

``results`` reads the folder of a run, and ``page`` fills the template ``assets/report.html``.
"""

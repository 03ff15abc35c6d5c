"""What a run was, what came of it and on what machine, as one page: ``report.html``.

``results`` reads what a run has left in its folder, ``markup`` writes HTML that is escaped,
``sections`` says in it what there is to say, ``page`` puts the sections into one file.
"""

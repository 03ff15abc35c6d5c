"""Fixtures of the explorer's tests; makes this folder importable (``chromium``, ...)."""

import os

import numpy as np
import pytest
from explore_cases import draw, make_run, page_of, stir


@pytest.fixture(scope="session")
def images_run(tmp_path_factory):
    """A run on 90 images of 8 x 8 of three kinds, with labels; one of its units is dead."""

    def kill(model):
        model.student.arena.param("W_base")[2] = 0.0

    return make_run(tmp_path_factory.mktemp("images"), change=kill, objective="paper")


@pytest.fixture(scope="session")
def bars_run(tmp_path_factory):
    """A run on data that are no images, without labels, whose name is a trap."""
    x = draw(width=13)[0] / 100.0
    return make_run(tmp_path_factory.mktemp("bars"), x, name="<script>alert(1)<", objective="demo")


@pytest.fixture(scope="session")
def paper_run(tmp_path_factory):
    """A run of the paper's shape with as many samples as a page takes; not trained."""
    x = np.random.default_rng(0).integers(0, 256, (2000, 784), np.uint8)
    return make_run(
        tmp_path_factory.mktemp("paper"),
        x,
        np.arange(2000) % 10,
        trained=False,
        change=stir_little,
        widths=(500, 500, 2000),
        rank=10,
        starts=1,
        objective="demo",
    )


def stir_little(model):
    """Give biases and weights some noise, so little that no layer runs away."""
    model.student.arena.params *= 10.0
    stir(model)
    model.student.arena.params *= 0.1


@pytest.fixture(scope="session")
def paper_page(paper_run):
    return page_of(paper_run)


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A Chromium; skip where there is none, or fail if DDNMF_REQUIRE_BROWSER=1."""
    reason = None
    if os.name == "posix":
        from chromium import Chromium, find

        program = find()
        if program is None:
            reason = "there is no Chromium on the PATH (Debian: apt-get install chromium)"
    else:
        reason = "the browser is driven over pipes as POSIX has them"
    if reason is not None:
        if os.environ.get("DDNMF_REQUIRE_BROWSER") == "1":
            pytest.fail(f"DDNMF_REQUIRE_BROWSER=1, but: {reason}", pytrace=False)
        pytest.skip(reason)
    chromium = Chromium(program, tmp_path_factory.mktemp("chromium"))
    yield chromium
    chromium.close()


@pytest.fixture
def visit(browser, tmp_path):
    """Return a function that opens a page's text; at the end no page may have complained."""
    opened = []

    def visit(text, **options):
        path = tmp_path / f"page {len(opened)}.html"
        path.write_text(text, encoding="utf-8")
        page = browser.open(path, **options)
        opened.append((page, path))
        return page

    yield visit
    for page, path in opened:
        assert page.complaints() == []
        assert page.requests() == [path.resolve().as_uri()]
        assert page.dialogs() == []
        page.close()

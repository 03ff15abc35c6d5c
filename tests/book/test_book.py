"""The book is built as it says, without a warning, and holds together without a network."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from pages import Page, broken_links, fetched_from_afar, read_all

ROOT = Path(__file__).parents[2]
REQUIRED = os.environ.get("DDNMF_REQUIRE_BOOK") == "1"
MISSING = [name for name in ("sphinx", "myst_nb", "furo") if not importlib.util.find_spec(name)]

SHOWN = [
    *("derivations/index", "derivations/01-layer", "derivations/05-apposition-loss"),
    *("derivations/10-student-gradient", "derivations/public-api", "derivations/results"),
    *("notebooks/02-one-layer-by-hand", "source/ddnmf_np/engine/layers.py", "playground"),
]
"""Pages of each kind."""

skip_without_sphinx = pytest.mark.skipif(
    bool(MISSING) and not REQUIRED, reason=f"not installed: {MISSING} (the extra 'docs')"
)


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """The folder of a book built from scratch, by the command of the page on internals.

    Programs are told of a proxy where nobody is, so that none of them reaches the network.
    """
    folder = tmp_path_factory.mktemp("book") / "html"
    page = (ROOT / "derivations" / "internals.md").read_text("utf-8")
    [words] = re.findall(r"<!-- book -->\n```bash\n.*\nsphinx-build (.*) build/book\n```", page)
    assert "-W" in words.split()
    nobody = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *words.split(), str(folder)],
        cwd=ROOT,
        env={**os.environ, **nobody, "no_proxy": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The pages that commands write: a report, an explorer, a trace, and those of a course."""
    folder = tmp_path_factory.mktemp("written")
    for words in (
        "train --widths 16 8 --epochs 1 --embedding pca --output run",
        "explore run",
        "trace run",
        f"teaching course course --notebooks {ROOT / 'notebooks'}",
    ):
        command = [sys.executable, "-m", *f"ddnmf_np.{words}".split()]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    pages = sorted(folder.rglob("*.html"))
    assert len(pages) == 6
    return pages


@pytest.fixture(scope="module")
def pages(book):
    return read_all(book)


@pytest.mark.extra
@skip_without_sphinx
class TestBook:
    def test_every_link_inside_leads_to_a_page_and_an_anchor(self, pages, book):
        assert len(pages) > 50
        assert sum(len(page.links) for page in pages.values()) > 1000
        assert not [(p.relative_to(book), *rest) for p, *rest in broken_links(pages)]

    def test_no_page_loads_anything_from_the_network(self, pages, book):
        assert not fetched_from_afar(pages)
        for style in book.rglob("*.css"):
            text = style.read_text("utf-8")
            assert not re.search(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", text), style

    def test_no_page_says_where_it_was_built(self, pages, book):
        places = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), str(ROOT)]
        for page in pages:
            text = page.read_text("utf-8")
            assert not [place for place in places if place in text], page

    def test_the_playground_leads_to_derivations_and_lines(self, pages, book):
        text = (book / "playground.html").read_text("utf-8")
        head = json.loads(re.search('id="content">(.*?)</script>', text)[1])
        assert head["book"]
        source = book / "source" / "ddnmf_np" / "engine" / "literal.py.html"
        for quote in head["quotes"].values():
            assert f"L-{quote['line']}" in pages[source].ids
            assert (book / "derivations" / quote["derivation"]).with_suffix(".html") in pages

    def test_every_formula_of_the_derivations_is_mathml(self, pages, book):
        for source in sorted((ROOT / "derivations").glob("[0-9][0-9]-*.md")):
            page = pages[book / "derivations" / f"{source.stem}.html"]
            text = re.sub(r"```.*?```|`[^`\n]+`", "", source.read_text("utf-8"), flags=re.DOTALL)
            blocks = re.findall(r"\$\$.+?\$\$", text, re.DOTALL)
            inline = re.findall(r"\$[^$]+\$", re.sub(r"\$\$.+?\$\$", "", text, flags=re.DOTALL))
            assert len(page.formulas) >= len(blocks) + len(inline), source.name
            for formula in page.formulas:
                assert formula, f"an empty formula in {source.name}"
                assert "\\" not in formula, f"{source.name}: {formula}"

    def test_what_scrolls_can_be_reached_by_the_keyboard(self, book):
        text = (book / "derivations" / "09-supervisor-gradient.html").read_text("utf-8")
        formula, table = ("div", ' class="math"'), ("div", ' class="table-wrapper')
        for name, rest in (("pre", ">"), formula, table):
            assert f'<{name} tabindex="0"{rest}' in text
            assert f"<{name}{rest}" not in text

    @pytest.mark.skipif(
        not (os.environ.get("DDNMF_AXE") and shutil.which("chromium")),
        reason="DDNMF_AXE names no axe.min.js, or there is no chromium",
    )
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_no_page_has_a_serious_finding_of_axe(
        self, book, written, scheme, tmp_path, monkeypatch
    ):
        monkeypatch.syspath_prepend(ROOT / "tests" / "explore")
        from chromium import Chromium, find

        axe = Path(os.environ["DDNMF_AXE"]).read_text("utf-8")
        browser, found = Chromium(find(), tmp_path), []
        try:
            for name in [*(book / f"{name}.html" for name in SHOWN), *written]:
                page = browser.open(name, width=400, scheme=scheme)
                page.run(f"{axe};0")
                violations = page.run("axe.run().then(result => result.violations)")
                found += [
                    (name.name, violation["id"], node["target"])
                    for violation in violations
                    if violation["impact"] in ("serious", "critical")
                    for node in violation["nodes"]
                ]
                page.close()
        finally:
            browser.close()
        assert not found

    def test_every_module_is_in_the_reference(self, pages, book):
        for path in sorted((ROOT / "ddnmf_np").rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            page = pages[book / "derivations" / "api" / f"{name}.html"]
            assert f"module-{name}" in page.ids, name

    def test_every_document_is_in_it(self, pages, book):
        sources = {*ROOT.glob("*.md"), *(ROOT / "derivations").rglob("*.md")} - {ROOT / "paper.md"}
        sources.update((ROOT / "notebooks").glob("*.ipynb"))
        for source in sources:
            assert book / source.relative_to(ROOT).with_suffix(".html") in pages

    def test_the_front_page_has_the_figure_and_five_ways_in(self, pages, book):
        page = pages[book / "derivations" / "index.html"]
        assert any(address.endswith("/model.svg") for address in page.loaded)
        ways = ["learn.html", "use.html", "teach.html", "results.html", "internals.html"]
        assert [link for link in page.links if link in ways][:5] == ways  # the sidebar
        assert all(page.links.count(way) >= 2 for way in ways)  # and a card for each
        cards = page.path.read_text("utf-8").partition('<div class="cards">')[2]
        assert cards.lstrip().startswith("<ul")  # what the style sheet asks for

    @pytest.mark.parametrize("name", ["index", "learn", "teach"])
    def test_its_pages_lead_to_the_playground(self, pages, book, name):
        assert "../playground.html" in pages[book / "derivations" / f"{name}.html"].links

    def test_the_public_api_leads_to_the_lines(self, pages, book):
        links = pages[book / "derivations" / "public-api.html"].links
        for file in ("estimator/__init__", "engine/gradcheck", "engine/layers", "engine/nmf"):
            assert any(f"ddnmf_np/{file}.py.html#L-" in link for link in links), file

    @pytest.mark.parametrize("number", range(1, 11))
    def test_an_equation_leads_to_its_code_and_its_test(self, pages, book, number):
        [source] = (ROOT / "derivations").glob(f"{number:02d}-*.md")
        page = pages[book / "derivations" / f"{source.stem}.html"]
        proofs = re.findall(r"`(tests/[\w/]+\.py)`", source.read_text("utf-8"))
        assert proofs
        for proof in proofs:
            assert f"../source/{proof}.html" in page.links
        functions = re.findall(r"`(ddnmf_np(?:\.\w+)+)`", source.read_text("utf-8"))
        reached = [link for link in page.links if link.startswith("api/")]
        for name in functions:
            assert any(link.endswith(f"#{name}") for link in reached), name

    def test_the_reference_leads_to_the_line(self, pages, book):
        page = pages[book / "derivations" / "api" / "ddnmf_np.engine.layers.html"]
        [line] = [
            number
            for number, text in enumerate(
                (ROOT / "ddnmf_np/engine/layers.py").read_text("utf-8").splitlines(), 1
            )
            if text.startswith("    def backward(")
        ]
        assert f"../../source/ddnmf_np/engine/layers.py.html#L-{line}" in page.links

    def test_every_recorded_run_is_shown_with_its_pictures(self, pages, book):
        page = pages[book / "derivations" / "results.html"]
        records = sorted((ROOT / "notebooks" / "results").glob("*/summary.json"))
        assert records
        text = page.path.read_text("utf-8")
        for record in records:
            assert f"results-{record.parent.name}" in page.ids
            scores = json.loads(record.read_text("utf-8"))["evaluation"]["scores"]
            for entry in scores.values():
                assert f"{entry['acc']:.3f}" in text
        pictures = [p for r in records for p in r.parent.glob("*.png")]
        assert sum("_images/" in address for address in page.loaded) >= len(pictures)


@pytest.mark.extra
@skip_without_sphinx
class TestFormulas:
    """The converter of the book, on its own."""

    @pytest.fixture
    def convert(self, monkeypatch):
        monkeypatch.syspath_prepend(ROOT / "derivations" / "_sphinx")
        from mathml import to_mathml

        return lambda tex, **options: re.sub(
            r"\s*\n\s*| xmlns=\"[^\"]*\"", "", to_mathml(tex, **options)
        )

    def test_an_index_stands_beside_an_accent(self, convert):
        assert convert(r"\tilde x_i") == (
            '<math><msub><mover accent="true"><mi>x</mi><mo stretchy="false">~</mo></mover>'
            "<mi>i</mi></msub></math>"
        )
        both = convert(r"\tilde h_i^{(l)}")
        assert both.startswith('<math><msubsup><mover accent="true"><mi>h</mi>')
        assert "munder" not in both

    def test_a_sum_keeps_its_limits_below_and_above(self, convert):
        assert "<munderover>" in convert(r"\sum_{i=1}^N x_i", block=True)

    @pytest.mark.parametrize(
        ("tex", "row"),
        [(r"\underbrace{W^T W}_{r}", "munder"), (r"\overbrace{W}^{r}", "mover")],
    )
    def test_the_label_of_a_brace_stands_in_its_middle(self, convert, tex, row):
        assert convert(tex, block=True).endswith(f"</{row}><mi>r</mi></{row}></math>")

    def test_max_stands_close_to_its_argument(self, convert):
        assert '<mo lspace="0" rspace="0">max</mo>' in convert(r"\max(z, 0)")
        assert '<mo lspace="0.167em" rspace="0.167em">max</mo>' in convert(r"2 \max x")
        assert 'lspace="0" rspace="0.167em">min</mo><mi>W</mi>' in convert(r"\min_W x")

    @pytest.mark.parametrize("sign", ["|", "/"])
    def test_bars_and_slashes_stand_close(self, convert, sign):
        assert f'<mo stretchy="false" lspace="0" rspace="0">{sign}</mo>' in convert(f"a {sign} b")

    @pytest.mark.parametrize(
        ("tex", "sign"),
        [(r"\lVert x \rVert^2", "‖"), (r"\langle x \rangle^2", "⟩"), (r"\lfloor x \rfloor", "⌊")],
    )
    def test_fences_grow_only_when_asked(self, convert, tex, sign):
        """Else the left one of a norm is tall, and the right one with its exponent is not."""
        signs = re.findall(rf"<mo[^>]*>{sign}</mo>", convert(tex))
        assert signs
        assert all('stretchy="false"' in sign for sign in signs)

    @pytest.mark.parametrize("tex", [r"\left| \frac12 \right|", r"\left\lVert x \right\rVert"])
    def test_fences_that_are_to_grow_do(self, convert, tex):
        assert len(re.findall("<mo>[|‖]</mo>", convert(tex))) == 2

    def test_an_argument_is_one_digit(self, convert):
        half = "<mn>1</mn><mn>2</mn></mfrac>"
        assert half in convert(r"\tfrac12 s")
        assert half in convert(r"\frac{1}{2}")
        assert "<mi>p</mi><mn>2</mn></mfrac><mn>3</mn>" in convert(r"\frac p23")
        assert "<mi>x</mi><mn>1</mn></msup><mn>2</mn>" in convert("x^12")
        assert "<mn>12</mn>" in convert("x^{12}")

    def test_a_name_of_a_function_is_apart_from_its_argument(self, convert):
        assert 'rspace="0.167em"' in convert(r"\cos\varphi")
        assert 'rspace="0.167em"' in convert(r"\cosh^2 z")
        assert "rspace" not in convert(r"\log(1 + z)")
        assert "\N{FUNCTION APPLICATION}" not in convert(r"\mathrm{high} - x")

    def test_what_docutils_does_not_know_is_known(self, convert):
        assert "…" in convert(r"1, \dots, n")
        assert "&lt;" in convert(r"l \lt L")
        assert convert(r"x \Big|_{h = 0}") == convert("x |_{h = 0}")
        assert convert("f'").count("′") == 1

    def test_a_full_stop_stays_on_the_line_of_its_formula(self, convert):
        from mathml import keep_punctuation, to_mathml

        one, block = to_mathml("x"), to_mathml("y", block=True)
        assert keep_punctuation(f"{one}, {one} {block}.") == (
            f'<span class="formula">{one},</span> {one} {block}.'
        )

    def test_an_unknown_command_is_refused(self, convert):
        from docutils.utils.math import MathError

        with pytest.raises(MathError, match="nosuchcommand"):
            convert(r"\nosuchcommand x")


class TestOfTheTests:
    """What is to be found is found."""

    def test_a_broken_link_an_absent_anchor_and_a_far_script(self, tmp_path):
        (tmp_path / "a.html").write_text(
            '<link rel="stylesheet" href="https://far.example/x.css">'
            '<script src="near.js"></script>'
            '<a href="b.html#here">1</a><a href="b.html#gone">2</a><a href="c.html">3</a>'
            '<a href="https://far.example/">4</a><a href="#top">5</a><p id="top"></p>'
        )
        (tmp_path / "b.html").write_text('<p id="here"><math><mi>x</mi></math></p>')
        (tmp_path / "near.js").write_text("")
        found = read_all(tmp_path)
        assert [address for _, address, _ in broken_links(found)] == ["b.html#gone", "c.html"]
        assert [a for _, a in fetched_from_afar(found)] == ["https://far.example/x.css"]
        assert Page(tmp_path / "b.html").formulas == ["x"]

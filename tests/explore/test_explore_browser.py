"""The page in Chromium: what it computes, what it shows, and that it can be used by anyone."""

import json
import time

import numpy as np
import pytest
from explore_cases import (
    FLOAT16,
    JAVASCRIPT,
    decode_packed,
    draw,
    head_of,
    make_run,
    model_of,
    page_of,
    stir,
)
from tolerances import assert_close

from ddnmf_np.backends.ops import ACTIVATIONS
from ddnmf_np.evaluation.interpret import decode_parts, unit_effects
from ddnmf_np.evaluation.maps import embed

pytestmark = pytest.mark.extra


@pytest.fixture(scope="module")
def images_page(images_run):
    return page_of(images_run)


@pytest.fixture(scope="module")
def bars_page(bars_run):
    return page_of(bars_run)


def decode(page, H):
    """Decode each row of H in the page."""
    return np.array(page.run(f"{json.dumps(H.tolist())}.map(H => [...decoder.decode(H)])"))


def codes(rank, low=0.0):
    """Return H of zeros, of ones (and minus ones), of single units, and at random."""
    rng = np.random.default_rng(1)
    rows = [np.zeros(rank), np.ones(rank), np.full(rank, low), np.eye(rank)[rank - 1]]
    return np.array([*rows, *rng.uniform(low, 1.0, (3, rank))], np.float32)


def pixels(page, selector):
    """Return the bytes of a canvas as text."""
    return page.run(f"document.querySelector({json.dumps(selector)}).toDataURL()")


EIGHT_BITS = 0.03
"""H of the page's encoder beside the model's: each weight is rounded to 1/254 of the largest in its
row. A bias that is forgotten or rows that are mixed up make 0.1 and more."""

STUDENT, CHANGE, CLEAN = "#student canvas", "#change canvas[role=img]", "#clean canvas"


# -- arithmetic ------------------------------------------------------------------------------------


@pytest.mark.equation(3)
@pytest.mark.parametrize("first", range(len(ACTIVATIONS)))
def test_decoder_with_every_activation_everywhere(visit, tmp_path, first):
    """Five runs put each of the five functions once into each of five places."""
    base, recovery, inner, outer, output = np.roll(ACTIVATIONS, first).tolist()
    run = make_run(
        tmp_path,
        change=stir,
        base_activation=base,
        recovery_activation=recovery,
        activation=(inner, outer),
        output_activation=output,
    )
    text = page_of(run)
    page = visit(text)
    H = codes(5, low=-1.0 if base in ("tanh", "identity") else 0.0)
    found = decode(page, H)
    assert_close(found, decode_packed(text, H), JAVASCRIPT)
    assert_close(found, model_of(run).decode(H), FLOAT16)


def test_every_float16_is_read_as_it_is(visit, images_page):
    found = visit(images_page).run("[...HALF].map(v => isFinite(v) ? v : String(v))")
    names = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}
    found = np.array([names.get(value, value) for value in found])
    assert np.array_equal(found, np.arange(2**16, dtype=np.uint16).view(np.float16), equal_nan=True)


@pytest.mark.parametrize("size", [1e-12, 1e12])
def test_weights_beyond_the_range_of_float16(visit, tmp_path, size):
    def scale(model):
        model.student.arena.param("W_rec")[...] *= size
        model.student.arena.param("W6")[...] /= size

    run = make_run(tmp_path, change=scale)
    H = codes(5)
    assert_close(decode(visit(page_of(run)), H), model_of(run).decode(H), FLOAT16)


@pytest.mark.paper_shape
def test_paper_shape(visit, paper_page, paper_run, capsys):
    started = time.perf_counter()
    page = visit(paper_page)
    waited = time.perf_counter() - started
    H = codes(10)
    assert_close(decode(page, H), model_of(paper_run).decode(H), FLOAT16)
    page.run("document.getElementById('unit-3').focus()")
    page.press("ArrowRight", 20)  # warm
    frame = page.run(
        "new Promise(done => { const began = performance.now(); let left = 20;"
        "const next = () => { state.H[3] = left / 20; redraw();"
        "left-- ? requestAnimationFrame(next) : done((performance.now() - began) / 20); };"
        "next(); })"
    )
    timings = page.run("timings")
    with capsys.disabled():
        print(
            f"\nexplorer, paper shape, {len(paper_page) / 1e6:.1f} MB: opens in "
            f"{timings['open']:.0f} ms ({waited:.2f} s with the browser's page), redraws in "
            f"{timings['redraw']:.1f} ms, a frame every {frame:.1f} ms"
        )


def test_parts_and_effects_are_those_of_the_package(visit, images_run, images_page):
    page, model = visit(images_page), model_of(images_run)
    page.wait("parts.values.length === rank")
    found = np.array(page.run("parts.values.map(v => [...v])"))
    assert_close(found, decode_parts(model.decode, 5), FLOAT16)
    page.click("#reading label:nth-child(2)")
    page.wait("parts.reading === 'effect' && parts.values.length === rank")
    found = np.array(page.run("parts.values.map(v => [...v])"))
    H = model.encode((draw()[0] / 255).astype(np.float32))
    # A difference of two outputs: the rounding of both, in units of the outputs.
    error = np.abs(found - unit_effects(model.decode, H)).max()
    assert error <= FLOAT16 * np.abs(model.decode(H)).max()
    assert np.abs(found[2]).max() == 0.0, "the dead unit"


def test_samples_and_codes(visit, images_run, images_page):
    page = visit(images_page)
    x = (draw()[0] / 255).astype(np.float32)
    for sample in (0, 41, 89):
        assert_close(np.array(page.run(f"[...clean({sample})]")), x[sample], 1e-6)
    found = np.array(page.run("[...codes]")).reshape(90, 5)
    assert_close(found, model_of(images_run).encode(x), 2 / 65535)
    H = codes(5)[-1]
    near = np.linalg.norm(found - H, axis=1)
    sample, distance = page.run(f"nearestTo({H.tolist()})")
    assert sample == near.argmin()
    assert distance == pytest.approx(near.min())


# -- what is seen ----------------------------------------------------------------------------------


def test_moving_a_slider_changes_pixels_and_reset_brings_them_back(visit, images_page):
    page = visit(images_page)
    page.run("document.getElementById('unit-1').focus()")
    page.settle()
    before = {name: pixels(page, name) for name in (STUDENT, CHANGE, CLEAN)}
    page.press("End")
    after = {name: pixels(page, name) for name in before}
    assert after[STUDENT] != before[STUDENT]
    assert after[CHANGE] != before[CHANGE]
    assert after[CLEAN] == before[CLEAN]
    assert page.run("state.H[1]") == 1.0
    assert page.run("document.querySelector('#unit-1').ariaValueText").startswith("1.00, unmoved")
    assert page.run("document.querySelector('#student-detail').textContent") == "unit 1 moved"
    page.click("#reset")
    assert {name: pixels(page, name) for name in before} == before


def test_dead_unit_changes_what_it_decodes_to_and_says_so(visit, images_page):
    """A dead unit is the same for all samples; its slider still moves."""
    page = visit(images_page)
    assert page.run("document.querySelectorAll('.slider.dead, #gallery .dead').length") == 2
    assert page.run("gallery.tiles[2].textContent") == "unit 2, dead"
    assert "A dead unit is the same for all samples" in page.run("byId('parts-hint').textContent")
    page.run("document.getElementById('unit-2').focus()")
    page.press("ArrowRight", 3)
    assert page.run("state.H[2]") == pytest.approx(0.53)


def test_no_picture_is_empty_before_the_first_move(visit, images_page, images_run):
    """The change shows what the selected unit would do, until a slider moves."""
    page = visit(images_page)
    H = model_of(images_run).encode((draw()[0] / 255).astype(np.float32))
    low, high = np.quantile(H.astype(float), [0.05, 0.95], axis=0)
    shown = set()
    for unit in (1, 3):
        page.run(f"selectUnit({unit})")
        page.settle()
        start = np.array(page.run("[...state.start]"))
        ends = np.array([start, start])
        ends[:, unit] = low[unit], high[unit]
        down, up = decode(page, ends)
        # the small difference of two outputs
        assert (
            np.abs(np.array(page.run("[...preview()]")) - (up - down)).max()
            <= JAVASCRIPT * up.max()
        )
        assert page.run("byId('change-of').textContent") == f"if unit {unit} moves"
        shown.add(pixels(page, CHANGE))
    assert len(shown) == 2
    page.run("byId('unit-3').focus()")
    page.press("End")
    assert page.run("byId('change-of').textContent") == "from the start"
    assert page.run("byId('student-detail').textContent") == "unit 3 moved"


def test_drawing_is_encoded_and_found_on_the_map(visit, images_page, images_run):
    page = visit(images_page)
    x = (draw()[0] / 255).astype(np.float32)
    encoded = page.run(f"{json.dumps(x[:9].tolist())}.map(x => [...through(encoder, x)])")
    assert_close(np.array(encoded), model_of(images_run).encode(x[:9]), EIGHT_BITS)
    page.run("board.values.set(clean(40)); board.changed()")
    page.settle()
    assert page.run("[state.sample, map.current]") == [None, None]
    near, distance = page.run("nearestTo(state.H)")
    assert page.run("map.nearest") == near
    assert distance < EIGHT_BITS
    assert page.run("byId('clean-detail').textContent") == "your drawing"
    assert page.run("byId('nearest-detail').textContent").startswith(f"no. {near}, label ")
    page.run("byId('board').focus()")
    before = page.run("[...state.start]")
    page.press("ArrowUp")
    page.press(" ")
    assert page.run("[...state.start]") != before, "keys draw, too"
    page.click("#clear")
    assert page.run("[state.drawn, state.sample]") == [None, page.run("samples.strip[0]")]


def test_another_sample_empties_the_board(visit, images_page):
    page = visit(images_page)
    page.run("board.values.set(clean(40)); board.changed(); load(7)")
    assert page.run("[state.drawn, board.values.some(v => v > 0)]") == [None, False]


def test_stroke_has_no_gaps(visit, images_page):
    """A pointer jumps from place to place, but the line that it draws does not."""
    page = visit(images_page)
    page.center("#board")
    x, y, size = page.run(
        "(() => { const b = byId('board').getBoundingClientRect(); return [b.x, b.y, b.width]; })()"
    )
    ends = [(x + 0.1 * size, y + 0.1 * size), (x + 0.9 * size, y + 0.9 * size)]
    page.move(*ends[1])  # without a button: no ink
    assert page.run("state.drawn") is None
    for kind, (u, v) in (("Pressed", ends[0]), ("Moved", ends[1]), ("Released", ends[1])):
        page.call("Input.dispatchMouseEvent", type=f"mouse{kind}", x=u, y=v, button="left",
                  buttons=1, clickCount=1)  # fmt: skip
    page.settle()
    drawn = np.array(page.run("[...board.values]")).reshape(8, 8)
    assert (np.diag(drawn) == 1).all()
    assert drawn[0, 5:].max() == drawn[7, :3].max() == 0
    assert np.array(page.run("[...state.drawn]")) == pytest.approx(drawn.ravel())


def test_address_leads_to_the_sample(visit, images_page):
    page = visit(images_page)
    page.run("map.choose(30)")
    assert page.run("location.hash") == "#sample=30"
    go = (
        "new Promise(f => { addEventListener('hashchange', () => f(0), { once: true });"
        "location.hash = '#sample=%s'; })"
    )
    page.run(go % "7")
    page.settle()
    assert page.run("[state.sample, map.current]") == [7, 7]
    page.run(go % "x")
    assert "has no sample no. x" in page.run("byId('notes').textContent")
    assert page.run("state.sample") == page.run("samples.strip[0]")


def test_clusters_have_letters(visit, images_page):
    """A cluster "5" of digits would be read as a five."""
    page = visit(images_page)
    assert page.run("[0, 25, 26, 27, 51, 52, 701, 702].map(lettersOf)") == [
        "A", "Z", "AA", "AB", "AZ", "BA", "ZZ", "AAA",
    ]  # fmt: skip
    assert page.run("map.names") == ["A", "B", "C"]
    assert page.run("nameOf(0)").endswith(f"cluster {'ABC'[page.run('samples.clusters[0]')]}")
    names = page.run("[...document.querySelectorAll('#names span')].map(e => e.textContent)")
    assert names == ["A", "B", "C"]


def test_first_hint(visit, images_page, bars_page):
    for text, draws in ((images_page, True), (bars_page, False)):
        page = visit(text)
        assert ("or draw one" in page.run("byId('first-text').textContent")) == draws
        page.click("#first-done")
        assert page.run("byId('first').hidden")
        why = "no drawing board, because the samples are not images"
        assert (why in page.run("byId('timing').textContent")) != draws


def test_change_is_the_difference_to_the_unmoved_code(visit, images_page):
    page = visit(images_page)
    page.run("state.H[0] = 1; state.H[3] = 0; redraw()")
    colors = np.array(page.run(
        "[...canvasOf('change').getContext('2d').getImageData(0, 0, 8, 8).data]"
    )).reshape(64, 4)[:, :3]  # fmt: skip
    change = np.array(page.run("[...decoder.decode(state.H).map((v, i) => v - unmoved.values[i])]"))
    scale = page.run("CHANGE_SCALES[changeScale]")
    assert np.abs(change).max() <= scale or scale == 1.0
    redder = colors[:, 0] - colors[:, 2]
    clear = np.abs(change) > 0.1 * scale
    assert clear.any()
    assert (np.sign(redder[clear]) == np.sign(change[clear])).all()
    assert (np.abs(redder[change == 0.0]) <= 1).all()


def test_mouse_on_sliders_strip_gallery_and_map(visit, images_page):
    page = visit(images_page)
    page.click("#unit-3")
    assert page.run("state.unit") == 3
    assert page.run("state.H[3]") == pytest.approx(0.5, abs=0.02)
    page.click("#strip [role=option]:nth-child(5)")
    assert page.run("state.sample === samples.strip[4]")
    page.click("#gallery [role=option]:nth-child(2)")
    assert page.run("[state.unit, document.activeElement.id]") == [1, "unit-1"]
    page.center("#map")
    x, y, chosen = page.run(
        "(() => { const b = map.canvas.getBoundingClientRect(); const s = samples.strip[30];"
        "const [x, y] = map.place(s); const c = { clientX: b.x + x, clientY: b.y + y };"
        "return [c.clientX, c.clientY, map.under(c)]; })()"
    )
    page.move(x, y)
    assert page.run("[map.cursor, byId('tip').hidden]") == [chosen, False]
    page.click((x, y))
    assert page.run("state.sample") == chosen
    page.move(1, 1)
    assert page.run("[map.cursor, byId('tip').hidden]") == [None, True]


def test_labels_can_be_shown_and_were_not_used(visit, images_page):
    page = visit(images_page)
    before = pixels(page, "#map")
    assert "cluster" in page.run("byId('grouping-hint').textContent")
    page.click("#grouping label:nth-child(2)")
    hint = page.run("byId('grouping-hint').textContent")
    assert "Labels were used neither in training nor in clustering" in hint
    assert pixels(page, "#map") != before
    assert page.run("document.querySelectorAll('#names li').length") == 3


def test_equation_3_is_named(visit, images_page, bars_page):
    for text, base in ((images_page, "H = σ(W′\u200aX)"), (bars_page, "H = σ(W′\u200aX + b)")):
        page = visit(text)
        found = page.run("[...document.querySelectorAll('.equation')].map(e => e.innerText)")
        assert base in " ".join(found[0].split("\n"))
        assert "X\u0302 = ReLU(WH)" in found[1]
        assert all("equation (3)" in line for line in found)


def test_page_without_samples(visit, images_run):
    run = images_run.parent
    (run / "data").rename(run / "away")
    try:
        text = page_of(images_run)
    finally:
        (run / "away").rename(run / "data")
    page = visit(text)
    shown = (
        "[...document.querySelectorAll('section, figure')].filter(e => !e.hidden).map(e => e.id)"
    )
    assert page.run(shown) == ["draw", "code", "pictures", "student", "change", "parts"]
    assert "not found" in page.run("byId('notes').innerText")
    before = pixels(page, STUDENT)
    page.run("document.getElementById('unit-0').focus()")
    page.press("Home")
    assert pixels(page, STUDENT) != before
    page.click("#board")
    assert page.run("[state.drawn.length, state.H.some(v => v !== middle)]") == [64, True]
    page.click("#clear")
    assert page.run("[state.drawn, state.H.some(v => v !== middle)]") == [None, False]
    assert not page.run("board.values.some(v => v > 0)")


def test_bars_and_a_name_that_is_a_trap(visit, bars_page):
    page = visit(bars_page)
    assert page.run("document.querySelector('h1').textContent").startswith("<script>alert(1)<")
    assert page.run("document.querySelectorAll('h1 *').length") == 0
    before = pixels(page, STUDENT)
    page.run("document.getElementById('unit-0').focus()")
    page.press("Home")
    assert pixels(page, STUDENT) != before
    heights = page.run(  # the share of ink in the columns of the first feature and of the highest
        "(() => { const c = canvasOf('clean'); const v = clean(state.sample);"
        "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        "const ink = (k) => { const x = Math.floor((k + 0.4) * c.width / v.length); let n = 0;"
        "for (let y = 0; y < c.height; y++) n += d[4 * (y * c.width + x) + 3] > 128; return n; };"
        "return [...v].map((value, k) => [value / content.high * (c.height - 2), ink(k)]); })()"
    )
    exact, ink = np.array(heights).T
    assert np.abs(exact - ink).max() <= 2  # pixels


# -- how it is used --------------------------------------------------------------------------------


def test_keyboard_reaches_everything(visit, images_page):
    page = visit(images_page)
    stops = []
    for _ in range(40):
        page.press("Tab")
        stop = page.run(
            "(() => { const e = document.activeElement; const f = e.closest('label') ?? e;"
            "return [e.id || e.name || e.parentElement.id, getComputedStyle(f).outlineWidth]; })()"
        )
        if stops and stop[0] == stops[0][0]:
            break
        stops.append(stop)
        if stop[0] == "":  # back at the browser
            stops.pop()
            break
    names = [name for name, _ in stops]
    sliders = [f"unit-{k}" for k in range(5)]
    after = ["walk", "reset", "grouping", "map", "reading", "gallery"]
    assert names == ["theme", "first-done", "strip", "board", "clear", *sliders, *after]
    assert {width for _, width in stops} == {"3px"}, "each shows its focus"


def test_keys_in_the_strip(visit, images_page):
    page = visit(images_page)
    page.run("strip.tiles[0].focus()")
    sample = "samples.strip.indexOf(state.sample)"
    for key, expected in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("End", 59),
                          ("ArrowRight", 59), ("Home", 0), ("ArrowLeft", 0)):  # fmt: skip
        page.press(key)
        assert page.run(sample) == expected
    page.press("ArrowDown")
    columns = page.run(sample)
    assert columns > 10
    assert page.run("strip.tiles.filter(t => t.tabIndex === 0).length") == 1
    assert page.run("document.activeElement.ariaSelected") == "true"
    assert page.run("byId('live').textContent").startswith("Sample no.")


def test_keys_in_the_gallery(visit, images_page):
    page = visit(images_page)
    page.run("gallery.tiles[0].focus()")
    page.press("ArrowRight", 3)
    assert page.run("state.unit") == 3
    page.press("Enter")
    assert page.run("document.activeElement.id") == "unit-3"


DIRECTIONS = {
    "ArrowUp": [0, -1], "ArrowRight": [1, 0], "ArrowDown": [0, 1], "ArrowLeft": [-1, 0],
}  # fmt: skip


def test_keys_on_the_map(visit, images_page):
    page = visit(images_page)
    page.run("byId('map').focus()")
    start = page.run("map.cursor")
    assert start == page.run("state.sample")
    for key in ("ArrowUp", "ArrowRight", "ArrowDown", "ArrowLeft"):
        before, _ = page.run("map.cursor"), page.press(key)
        assert page.run("map.cursor") == page.run(f"map.beside({before}, {DIRECTIONS[key]})")
    for key, expected in (("End", 89), ("PageUp", 88), ("Home", 0), ("PageUp", 0), ("PageDown", 1)):
        page.press(key)
        assert page.run("map.cursor") == expected
    assert page.run("[map.cursor, byId('tip').hidden]") == [1, False]
    assert page.run("byId('live').textContent").startswith("no. 1, label")
    page.press("Enter")
    assert page.run("state.sample") == 1
    page.press("PageDown", 100)
    page.press(" ")
    assert page.run("state.sample") == 89


def test_arrows_on_the_map_go_where_they_point(visit, images_page):
    page = visit(images_page)
    moves = page.run(  # along and across, for each direction and each sample
        f"{list(DIRECTIONS.values())}.map(d => [...Array(map.count).keys()].map(s => {{"
        "const [a, b] = [map.place(s), map.place(map.beside(s, d))];"
        "const [x, y] = [b[0] - a[0], b[1] - a[1]];"
        "return [x * d[0] + y * d[1], Math.abs(x * d[1]) + Math.abs(y * d[0])]; }))"
    )
    along, across = np.moveaxis(np.array(moves), 2, 0)
    assert (along >= across).all()
    assert (along > 0).mean() > 0.8


def test_map_shows_the_points_of_the_package(visit, images_run, images_page):
    page = visit(images_page)
    H = model_of(images_run).encode((draw()[0] / 255).astype(np.float32))
    _, points = embed(H, "pca")
    places = np.array(page.run("[...Array(map.count).keys()].map(s => map.place(s))"))
    places[:, 1] *= -1  # pixels are counted downwards
    size = np.ptp(places, axis=0).max() / np.ptp(points, axis=0).max()
    expected = (points - points[0]) * size
    assert np.abs(places - places[0] - expected).max() < 0.1  # pixels


def test_walk(visit, images_page):
    page = visit(images_page)
    page.run("selectUnit(4)")
    assert page.run("byId('walk').textContent") == "Walk unit 4"
    before = page.run("state.H[4]")
    page.click("#walk")
    page.wait(f"Math.abs(state.H[4] - {before}) > 0.05")
    button = page.run("[byId('walk').textContent, byId('walk').ariaPressed]")
    assert button == ["Stop unit 4", "true"]
    page.press("Escape")
    stopped = page.run("state.H[4]")
    time.sleep(0.1)
    assert page.run("state.H[4]") == stopped
    assert page.run("state.H.every((v, k) => v === state.start[k] || k === 4)")


def test_without_motion_a_press_is_a_step(visit, images_page):
    page = visit(images_page, motion="reduce")
    page.run("selectUnit(0); state.H[0] = 0.7; redraw()")
    assert page.run("byId('walk').textContent") == "Step unit 0"
    values = []
    for _ in range(6):
        page.click("#walk")
        values.append(page.run("state.H[0]"))
        time.sleep(0.05)
        assert page.run("state.H[0]") == values[-1]
    assert values == pytest.approx([0.825, 0.95, 0.825, 0.7, 0.575, 0.45])


def test_themes(visit, images_page):
    page = visit(images_page, scheme="dark")
    look = "[theme(), getComputedStyle(document.body).backgroundColor]"
    assert page.run(look) == ["dark", "rgb(16, 18, 23)"]
    dark = pixels(page, CHANGE), pixels(page, "#map")
    page.prefer(scheme="light")
    page.settle()
    assert page.run(look) == ["light", "rgb(244, 245, 247)"]
    assert pixels(page, CHANGE) != dark[0]
    assert pixels(page, "#map") != dark[1]
    page.click("#theme")
    page.prefer(scheme="dark")
    page.prefer(scheme="light")
    assert page.run("[theme(), byId('theme').textContent]") == ["dark", "Light colours"]
    page.run("dispatchEvent(new Event('beforeprint'))")
    assert page.run("theme()") == "light"
    page.run("dispatchEvent(new Event('afterprint'))")
    assert page.run("theme()") == "dark"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(visit, images_page, scheme):
    """WCAG 2.2, 1.4.3: 4.5 to 1; graphics, 1.4.11: 3 to 1."""
    page = visit(images_page, scheme=scheme)
    names = ["page", "panel", "note", "text", "soft", "student", "student-text", "focus", "bar"]
    colors = dict(zip(names, page.run(f"{names}.map(css)"), strict=True))

    def luminance(color):
        value = np.array([int(color[k : k + 2], 16) for k in (1, 3, 5)]) / 255
        linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    def contrast(one, two):
        low, high = sorted(luminance(colors[name]) for name in (one, two))
        return (high + 0.05) / (low + 0.05)

    for ground in ("page", "panel"):
        for text in ("text", "soft", "student-text"):
            assert contrast(ground, text) >= 4.5, (ground, text)
        for graphic in ("student", "focus", "bar"):
            assert contrast(ground, graphic) >= 3.0, (ground, graphic)
    assert contrast("note", "text") >= 4.5


@pytest.mark.parametrize("kind", ["images_page", "bars_page"])
def test_no_width_needs_sideways_scrolling(visit, request, kind):
    page = visit(request.getfixturevalue(kind), width=360, height=700)
    for width in (360, 759, 760, 1240, 1920):
        page.resize(width, 700)
        page.settle()
        assert page.run("document.documentElement.scrollWidth") <= width
        over = page.run(
            "[...document.querySelectorAll('main *:not(#strip *):not(.unseen)')].filter(e =>"
            "e.getClientRects().length && e.getBoundingClientRect().right > innerWidth)"
            ".map(e => e.id || e.className)"
        )
        assert over == [], width


def test_every_control_has_a_name(visit, images_page, bars_page):
    for text in (images_page, bars_page):
        page = visit(text)
        page.call("Accessibility.enable")
        nodes = page.call("Accessibility.getFullAXTree")["nodes"]
        controls = {"button", "slider", "option", "listbox", "radio", "radiogroup", "application",
                    "image", "img", "group", "region"}  # fmt: skip
        named = [
            (node["role"]["value"], node.get("name", {}).get("value"))
            for node in nodes
            if not node.get("ignored") and node["role"]["value"] in controls
        ]
        assert all(name for _, name in named), named
        assert [name for role, name in named if role == "slider"][:2] == ["unit 0", "unit 1"]
        assert len(named) > 60


def test_many_units_and_one(visit, tmp_path):
    for rank in (1, 70):
        run = make_run(tmp_path / str(rank), rank=rank, change=stir)
        page = visit(page_of(run))
        page.wait("parts.values.length === rank")
        page.run(f"selectUnit({rank - 1})")
        page.press("Tab")
        assert page.run("document.querySelectorAll('.slider').length") == rank


@pytest.mark.parametrize("base", ["identity", "relu", "softplus", "tanh"])
def test_sliders_of_other_bases_reach_every_code(visit, tmp_path, base):
    head = head_of(text := page_of(make_run(tmp_path, base_activation=base)))
    page = visit(text)
    low, high = head["units"]["low"], head["units"]["high"]
    assert page.run("codes.every(v => v >= units.low - 1e-4 && v <= units.high + 1e-4)")
    page.run("document.getElementById('unit-0').focus()")
    for key, end in (("Home", low), ("End", high)):
        page.press(key)
        assert page.run("state.H[0]") == pytest.approx(end, abs=(high - low) / 100)


def test_an_error_is_shown_on_the_page(browser, tmp_path, images_page):
    """The test of the tests: the page does not hide an error, and it is seen here."""
    broken = images_page.replace('"strip":[0', '"strip":[100000')
    assert broken != images_page
    (tmp_path / "broken.html").write_text(broken, encoding="utf-8")
    page = browser.open(tmp_path / "broken.html")
    page.settle()
    found = [event["method"] for event in page.complaints()]
    note = page.run("byId('notes').innerText")
    page.close()
    assert "Runtime.exceptionThrown" in found
    assert "has met an error" in note


def test_policy_stops_what_was_not_written_here(browser, tmp_path, images_page):
    """A script that came in by some way is not run, and no picture is fetched."""
    foreign = '<script>window.foreign = 1</script><img src="https://example.org/x.png"></body>'
    path = tmp_path / "foreign.html"
    path.write_text(images_page.replace("</body>", foreign), encoding="utf-8")
    page = browser.open(path)
    assert page.run("window.foreign === undefined")
    blocked = [str(event["params"]) for event in page.complaints()]
    assert len([text for text in blocked if "Content Security Policy" in text]) == 2
    page.close()

"""The playground in Chromium: it trains as the engine does, and anyone can use it."""

import json

import numpy as np
import pytest
from playground_cases import JAVASCRIPT64, blocks_of
from tolerances import assert_close

from ddnmf_np.playground import content

pytestmark = pytest.mark.extra


@pytest.fixture(scope="module")
def text():
    return content.page()


def text_of(page, selector):
    return page.run(f"document.querySelector({json.dumps(selector)}).textContent")


def arrive(page, fragment):
    """Go to a fragment of the address, as a reader does who pastes it."""
    page.run(
        "new Promise(done => { addEventListener('hashchange', () => done(0), { once: true });"
        f"location.hash = {json.dumps(fragment)}; }})"
    )
    page.wait("trainer !== null && !dirty && target === null")


def blocks(page):
    """Return the parameters of the page by name."""
    return page.run(
        "Object.fromEntries(NETS.flatMap(net => Object.entries(trainer.model.nets[net]"
        ".arena.parameters).map(([name, v]) => [`${net}.${name}`, [...v]])))"
    )


def checked(page):
    """Wait for the gradient check of the present state; return the blocks it rejects."""
    page.wait("check === null && checkedSteps === trainer.steps && !dirty")
    return page.run("Object.keys(report).filter(name => report[name].verdict !== 'ok').sort()")


# -- what it computes ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "more"), [*((preset, "") for preset in content.PRESETS), ("paper", "&optimizer=gd")]
)
def test_copied_lines_repeat_what_the_page_has_done(visit, text, preset, more):
    """Options change while the run goes on; then a person presses the buttons and copies."""
    page = visit(text)
    arrive(page, f"v=1&preset={preset}&rank=6&seed=4{more}")
    page.run("for (let k = 0; k < 30; k++) step()")
    page.run("change('beta_ap', 0.5); change('lr', 0.002); change('noise_rate', 0.25)")
    page.run("for (let k = 0; k < 18; k++) step()")
    page.click("#one-batch")
    page.click("#one-layer")  # half an iteration, which does not count
    page.click("#copy-python")
    found, given = blocks(page), {}
    exec(page.run("byId('copied').value"), given)
    model = given["run"].model
    assert model.optimizer.t == page.run("trainer.steps") == 49
    assert model.objective.preset == preset
    for name, block in blocks_of(model).items():
        assert_close(np.reshape(found[name], block.shape), block, JAVASCRIPT64, name)
    told = page.run("byId('copied').value").splitlines()[-1].split()[1:]
    printed = str(given["run"]).split()
    assert told[::2] == printed[::2] == ["step", *given["run"].losses]
    assert [float(v) for v in told[1::2]] == pytest.approx(
        [float(v) for v in printed[1::2]], rel=JAVASCRIPT64
    )


def test_play_trains_and_checks_and_pauses(visit, text, capsys):
    page = visit(text)
    page.click("#play")
    page.wait("trainer.steps >= 40")
    page.press("p")
    steps = page.run("trainer.steps")
    page.settle()
    assert page.run("[trainer.steps, playing, byId('play').textContent]") == [steps, False, "Play"]
    assert checked(page) == []
    assert text_of(page, "#check-result") == "19 of 19 blocks pass."
    assert text_of(page, "#status").startswith(f"step {steps} ")
    assert page.run("records.at(-1).sym < records[0].sym")
    pace = page.run(
        "(() => { const began = performance.now(); for (let k = 0; k < 60; k++) step();"
        "return 60000 / (performance.now() - began); })()"
    )
    with capsys.disabled():
        print(f"\nplayground, digits, 64-32-16-10, batch of 32: {pace:.0f} steps a second")


def test_bug_in_the_page_turns_its_lamps_red(visit, text):
    page = visit(text)
    page.run("for (let k = 0; k < 10; k++) step()")
    page.run("byId('bug').value = 'half'; byId('bug').dispatchEvent(new Event('change'))")
    assert page.run("byId('bug-place').value") == "student.3", "the layer that is looked at"
    assert checked(page) == ["student.W1", "student.W2", "student.b1", "student.b2"]
    assert page.run(
        "Object.values(diagram.cells).filter(c => c.lamp?.className === 'lamp wrong')"
        ".map(c => `${c.net}.${c.l}`)"
    ) == ["student.1", "student.2"]
    assert text_of(page, "#check-result").startswith("Wrong gradient in 4 of 19 blocks")
    assert "Bug planted here" in text_of(page, "#bug-here")
    page.click("#one-batch")
    assert page.run("pythonOf()").startswith("# Steps of this run had a planted bug")
    page.run("byId('bug').value = ''; byId('bug').dispatchEvent(new Event('change'))")
    assert checked(page) == []


def test_bias_in_the_nmf_module_turns_its_lamp_red(visit, text):
    """Equation 3 has no bias there; the loss falls nevertheless."""
    page = visit(text)
    arrive(page, "v=1&preset=paper&look=student.3")
    page.run("byId('bug').value = 'module'; byId('bug').dispatchEvent(new Event('change'))")
    places = page.run("[...byId('bug-place').options].map(e => e.value)")
    assert places == ["student.3", "student.4"], "base and recovery"
    assert checked(page) == ["student.b_base"]
    assert page.run("diagram.cells['student.3'].lamp.className") == "lamp wrong"
    assert text_of(page, "#check-result").startswith("Wrong gradient in 1 of 19 blocks")
    assert text_of(page, "#forward-formula").startswith("H = \u03c3(W\u2032 X + b)")
    page.run("for (let k = 0; k < 40; k++) step()")
    assert page.run("records.at(-1).total < records[0].total")
    assert page.run("[...trainer.model.student.layers[2].b].every(b => b === 0.5)")
    page.run("byId('bug').value = ''; byId('bug').dispatchEvent(new Event('change'))")
    assert checked(page) == []
    assert text_of(page, "#check-result") == "18 of 18 blocks pass."


def test_run_that_diverges_or_ends_says_so(visit, text):
    page = visit(text)
    page.run("trainer.model.student.arena.flat[0] = NaN")
    page.click("#play")
    page.settle()
    assert not page.run("playing")
    assert "Training diverged in step" in text_of(page, "#notes")
    page.settle()
    page.click("#restart")
    assert page.run("[trainer.steps, byId('notes').hidden]") == [0, True]
    arrive(page, "v=1&preset=stable")
    page.run("trainer.steps = trainer.batches * 100")  # as after a hundred epochs
    page.click("#one-batch")
    assert "schedule of the learning rate has ended" in text_of(page, "#notes")


# -- what it shows ---------------------------------------------------------------------------------


def test_one_layer_at_a_time(visit, text):
    page = visit(text)
    lines, layers = [], []
    for _ in range(page.run("orderOf(trainer.model).length")):
        page.press("l")
        lines.append(page.run("document.querySelector('[aria-current=step]').dataset.line"))
        layers.append(page.run("document.querySelector('.cell.now')?.ariaLabel ?? null"))
    expected = page.run("Object.keys(LINES)")
    assert list(dict.fromkeys(lines)) == expected
    assert layers[2].startswith("supervisor layer 1, h(1) ")
    assert layers[2].endswith((", gradient checked", ", gradient not checked"))
    assert [layer for layer in layers if layer][-1].startswith("student layer 1, h\u0303(1)")
    assert page.run("[trainer.steps, trainer.running]") == [1, None]
    page.press("l", 5)
    hidden = "document.querySelectorAll('.cell.pending').length"
    assert page.run(hidden) == 7, "one layer of the supervisor, six of the student"
    page.press("b")
    assert page.run(f"[trainer.steps, {hidden}]") == [2, 0]


@pytest.mark.equation(10)
def test_one_term_at_a_time(visit, text):
    """The bars of g grow one by one, in the layer that is run backward, and end at the whole g."""
    page = visit(text)
    arrive(page, "v=1&preset=paper&unit=3&look=supervisor.4")
    found = []
    while page.run("trainer.steps") == 0:
        page.press("t")
        found.append(page.run("at?.parts ? [at.net, at.layer, at.parts] : [at?.net, at?.layer]"))
        if found[-1][:2] == ["student", 2]:
            assert text_of(page, "#inspector-title") == "Student, layer 2: X", "it looks there"
            found[-1] += page.run(
                "[[...document.querySelectorAll('.part:not(.pending) span')]"
                ".map(e => e.textContent), [...document.querySelectorAll('.part i')]"
                ".map(e => e.style.cssText.includes('-size: 0;')),"
                "document.querySelector('.part:last-child output').textContent]"
            )
    assert [entry[:3] for entry in found[:3]] == [
        ["supervisor", 4, ["sym"]],
        ["supervisor", 4],
        ["supervisor", 3, ["above"]],
    ]
    above, ap, nc, done = [entry for entry in found if entry[:2] == ["student", 2]]
    assert (above[2], ap[2], nc[2]) == (["above"], ["above", "ap"], ["above", "ap", "nc"])
    assert above[3] == ["from above", "g so far"]
    assert ap[3] == ["from above", "Grad: L_ap", "g so far"]
    assert nc[3] == ["from above", "Grad: L_ap", "Grad: L_nc", "g"]
    assert above[4][1:3] == [True, True], "bars to come are empty"
    assert nc[5] == done[-1]
    assert found[-1] == [None, None], "the step of the descent, and then the iteration is over"
    page.run("look('student', 2)")
    page.click("#one-term")
    assert page.run("[at.net, at.layer, at.parts]") == ["student", 2, ["above"]], "it begins there"
    assert page.run("byId('parts').closest('section').id") == "model", "beside the buttons"
    page.resize(400, 800)
    page.settle()
    tops = page.run("['parts', 'diagram'].map(id => byId(id).getBoundingClientRect().top)")
    assert tops[0] < tops[1]
    page.click("#one-layer")
    assert page.run("[at.net, at.layer, at.parts ?? null]") == ["student", 2, None]
    assert page.run("document.querySelectorAll('.cell.summing').length") == 0


@pytest.mark.equation(9)
@pytest.mark.equation(10)
def test_numbers_of_a_layer(visit, text):
    """The parts of g add up to g, and delta is f' g."""
    page = visit(text)
    arrive(page, "v=1&preset=paper&look=student.2&unit=5&sample=3&steps=12")
    assert text_of(page, "#inspector-title") == "Student, layer 2: X"
    assert page.run("[...document.querySelectorAll('.part span')].map(e => e.textContent)") == [
        "from above",
        "Grad: L_ap",
        "Grad: L_nc",
        "g",
    ]
    layer = page.run(
        "(() => { const l = display.student.layers[1];"
        "return { g: [...l.g], delta: [...l.delta], h: [...l.h] }; })()"
    )
    values = page.run("[...document.querySelectorAll('.part output')].map(e => e.textContent)")
    values = [float(value.replace("\u2212", "-")) for value in values]
    assert sum(values[:3]) == pytest.approx(values[3], abs=0.01 * max(map(abs, values)))
    slope = np.array(layer["h"]) > 0
    assert_close(np.array(layer["delta"]), slope * np.array(layer["g"]), 1e-15)
    code = text_of(page, "#backward-code")
    assert "dW = np.outer(delta, below)" in code
    assert "derivations/10-student-gradient.md" in code


def test_outer_products_add_up_to_the_gradient(visit, text):
    page = visit(text)
    assert text_of(page, ".grow output") == "no batch yet"
    assert page.run("inspector.backward.dW.detail.textContent") == "10 \u00d7 16, largest 0"
    page.click("#one-batch")
    sums = (
        "(share => { const layer = trainer.model.student.layers[0];"
        "return [...inspector.grow(layer, share)]; })"
    )
    parts = [np.array(page.run(f"{sums}({share})")) for share in (0, 0.5, 31 / 32, 1)]
    assert not parts[0].any()
    assert_close(parts[3], np.array(page.run("[...trainer.model.student.layers[0].dW]")), 1e-15)
    rest = parts[3] - parts[2]  # of the last image, the outer product of two vectors
    assert np.linalg.matrix_rank(rest.reshape(32, 64), tol=1e-9 * np.abs(rest).max()) == 1
    assert text_of(page, ".grow output") == "32 of 32 images"


def test_row_of_the_table_is_switched_off_and_on(visit, text):
    page = visit(text)
    arrive(page, "v=1&preset=paper")
    page.click("#row-ap")
    assert page.run(
        "[trainer.model.options.beta_ap, 'ap1' in termValues(display, chosen().supervisor)]"
    ) == [0, False]
    page.click("#row-nc")
    assert page.run("[trainer.model.options.gamma_nc, byId('row-nc').checked]") == [1, True]
    assert "No loss would train the student" in text_of(page, "#notes")
    page.click("#row-ap")
    assert page.run("trainer.model.options.beta_ap") == 1


def test_own_digit(visit, text):
    page = visit(text)
    page.run("for (let k = 0; k < 5; k++) step()")
    page.run("byId('board').focus()")
    for key in ("ArrowUp", " ", "ArrowUp", " ", "ArrowLeft", " ", " "):
        page.press(key)
    assert page.run("[own.reduce((a, b) => a + b), playing]") == [2, False]
    assert page.run("[...display.supervisor.h[0]].filter(v => v).length") == 2
    page.click("#board")
    assert page.run("own.reduce((a, b) => a + b)") > 2
    page.click("#clear")
    assert page.run("own") is None


def test_tour(visit, text):
    page = visit(text)
    page.click("#start-tour")
    titles = []
    for number in range(1, 8):
        assert text_of(page, "#tour-place") == f"stop {number} of 7"
        titles.append(text_of(page, "#tour-title"))
        if number == 5:
            assert page.run("trainer.model.options.beta_ap") == 0
        if number == 6:
            page.wait("report['student.W2']?.verdict === 'wrong'")
        page.press("Enter")
    assert len(set(titles)) == 7
    assert page.run("[byId('tour').hidden, state.bug, state.preset]") == [True, None, "stable"]
    page.click("#play")


# -- the address -----------------------------------------------------------------------------------


def test_address_holds_the_state(visit, text):
    page = visit(text)
    arrive(page, "v=1&preset=demo&gamma_nc=0.3&sample=7&look=supervisor.2&steps=20&hide=draw,tour")
    assert page.run("[trainer.steps, trainer.model.options.gamma_nc, state.sample]") == [20, 0.3, 7]
    assert page.run("['draw', 'start-tour', 'bugs'].map(id => byId(id).hidden)") == [
        True,
        True,
        False,
    ]
    again = page.run("[location.hash, JSON.stringify(fromFragment(location.hash))]")
    assert again == page.run("[toFragment(state), JSON.stringify(state)]")
    arrive(page, "v=1&bug=mean.supervisor.2")
    assert checked(page) == ["supervisor.b2"]


BAD = {
    "v=2&preset=demo": "v is 2; this page reads version 1",
    "preset=demo": "v is missing",
    "v=1&preset=papre": 'preset is "papre"; choose one of paper, demo, stable',
    "v=1&alpha_sym=NaN": 'alpha_sym is "NaN"; expected a number from 0 to 10',
    "v=1&lr=Infinity": 'lr is "Infinity"',
    "v=1&rank=1000000": 'rank is "1000000"; expected a whole number from 1 to 16',
    "v=1&rank=2.5": 'rank is "2.5"',
    "v=1&lr=": 'lr is ""',
    "v=1&preset=paper&beta_ap=0&gamma_nc=0": "No loss would train the student",
    "v=1&look=student.9": 'look is "9"',
    "v=1&look=teacher.1": 'look is "teacher"',
    "v=1&bug=worm.student.1": 'bug is "worm"',
    "v=1&widths=9": '"widths" is unknown',
    "v=1&__proto__=1": '"__proto__" is unknown',
    "v=1&sample=99999": 'sample is "99999"',
    "hide=everything": 'hide is "everything"',
}


def test_address_that_cannot_be_used_gives_a_message_and_the_default(visit, text):
    page = visit(text)
    for fragment, message in BAD.items():
        found = page.run(
            f"(() => {{ try {{ fromFragment({json.dumps(fragment)}); return ''; }}"
            "catch (error) { return error.message; } })()"
        )
        assert message in found, fragment
    arrive(page, "v=1&rank=3")
    arrive(page, "v=1&rank=NaN&steps=5")
    assert 'The address cannot be used: rank is "NaN"' in text_of(page, "#notes")
    assert page.run("JSON.stringify(state) === JSON.stringify(defaultState())")
    assert page.run("[trainer.model.options.rank, trainer.steps, playing]") == [10, 0, False]
    arrive(page, "v=1&preset=paper&bug=mean.student.3")
    assert "has no place in this model" in text_of(page, "#notes")


# -- how it is used --------------------------------------------------------------------------------


def test_keyboard_reaches_every_control(visit, text):
    page = visit(text)
    wanted = page.run(
        "[...document.querySelectorAll('button, input, select, textarea, [tabindex]')]"
        ".filter(e => e.checkVisibility() && !e.disabled).length"
    )
    stops = set()
    for _ in range(wanted + 2):
        page.press("Tab")
        stop = page.run(
            "(() => { const e = document.activeElement; if (e === document.body) return null;"
            "return [[...document.querySelectorAll('*')].indexOf(e),"
            "getComputedStyle(e).outlineWidth]; })()"
        )
        if stop is None:
            break
        assert stop[1] == "3px", "it shows its focus"
        stops.add(stop[0])
    assert len(stops) == wanted
    page.run("diagram.cells['supervisor.1'].cell.focus()")
    for key, label in [
        ("ArrowDown", "student layer 1"),
        ("ArrowRight", "student layer 2"),
        ("ArrowRight", "student layer 3"),
        ("ArrowUp", "supervisor layer 2"),
    ]:
        page.press(key)
        assert page.run("document.activeElement.ariaLabel").startswith(label)
    page.press("Enter")
    assert text_of(page, "#inspector-title") == "Supervisor, layer 2: h(2)"


def test_everything_has_a_name(visit, text):
    page = visit(text)
    page.run("tour.go(1); byId('copy-python').click()")
    page.settle()
    page.call("Accessibility.enable")
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "slider", "checkbox", "combobox", "textbox", "application", "image", "img",
             "group", "region", "complementary"}  # fmt: skip
    named = [
        (node["role"]["value"], node.get("name", {}).get("value"))
        for node in nodes
        if not node.get("ignored") and node["role"]["value"] in roles
    ]
    assert all(name for _, name in named), named
    assert {role for role, _ in named} >= {"button", "slider", "checkbox", "application"}
    assert len(named) > 60


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_faint_is_never_text(visit, text, scheme):
    """What an iteration has not reached is faint: pictures, but no text (WCAG 2.2, 1.4.3)."""
    page = visit(text, scheme=scheme)
    arrive(page, "v=1&preset=paper&look=supervisor.4")
    page.run("for (let k = 0; k < 3; k++) stepTerm()")
    page.settle()
    faint = page.run(
        "[...document.querySelectorAll('main *')].filter(e => e.checkVisibility()"
        " && Number(getComputedStyle(e).opacity) < 1 && e.textContent.trim() && !e.disabled)"
        ".map(e => e.className)"
    )
    assert faint == []
    assert page.run("document.querySelectorAll('.unsignalled').length") > 5


def test_nothing_overflows(visit, text):
    page = visit(text, scheme="dark")
    assert page.run("theme()") == "dark"
    page.run("change('rank', 16); step(); tour.go(4); pause(); byId('copy-python').click()")
    for width in (400, 800, 1280, 1920):
        page.resize(width, 900)
        page.settle()
        for net, layer in (("student", 3), ("supervisor", 4)):
            page.run(f"look('{net}', {layer}); render(0)")
            outside = page.run(
                "[...document.querySelectorAll('body *')].filter(e => e.checkVisibility()"
                " && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.id || e.tagName)"
            )
            assert outside == [], width
            assert page.run("document.documentElement.scrollWidth") <= width


def test_reduced_motion(visit, text):
    page = visit(text, motion="reduce")
    page.run(
        "globalThis.shown = 0; const draw = drawCurves;"
        "drawCurves = (...given) => { shown++; draw(...given); }"
    )
    page.click("#play")
    page.wait("trainer.steps >= 20")
    began = page.run("[performance.now(), shown]")
    page.wait(f"performance.now() > {began[0]} + 600")
    seconds, times = page.run(f"[(performance.now() - {began[0]}) / 1000, shown - {began[1]}]")
    page.press("p")
    assert times <= 2 * seconds + 1


def test_first_hint_and_theme(visit, text):
    page = visit(text)
    assert not page.run("byId('first').hidden")
    page.click("#first-done")
    assert page.run("byId('first').hidden")
    page.click("#theme")
    assert page.run("theme()") == "dark"

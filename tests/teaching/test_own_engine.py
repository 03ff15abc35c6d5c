"""The learner's own file: right answers are kept, counted, and train a model."""

import linecache

import numpy as np
import pytest
from notebook_cases import ROOT

from ddnmf_np.config import configure
from ddnmf_np.errors import DataError, UsageError
from ddnmf_np.explore.content import open_run
from ddnmf_np.teaching import check, engine, images, tally
from ddnmf_np.teaching.cells import SOLUTIONS, join_cells, read_cells
from ddnmf_np.teaching.exercises import all_exercises
from ddnmf_np.teaching.own_engine import FUNCTIONS, save_run

OPTIONS = {"objective": "paper", "widths": (11, 7), "rank": 3, "batch_size": 20, "epochs": 2}


def cell(code, name="answer"):
    """Return a function as a cell of a notebook defines it."""
    file = f"<cell {abs(hash(code))}>"
    linecache.cache[file] = (len(code), None, code.splitlines(keepends=True), file)
    space = {"np": np}
    exec(compile(code, file, "exec"), space)
    return space[name]


RIGHT = "def answer(theta, gradient, lr):\n    return theta - lr * gradient\n"


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path / "my_engine.py"


@pytest.fixture
def all_kept(mine):
    """A file with every solution."""
    head, cells = read_cells(ROOT / "notebooks" / SOLUTIONS)
    mine.write_text(join_cells(head, cells), "utf-8")
    return mine


def small_data(dtype="float64"):
    x = images(60, "digits").x.astype(dtype)
    keep = np.random.default_rng(0).uniform(size=x[:20].shape) >= 0.1
    return x, x[:20], (x[:20] * keep / 0.9).astype(dtype)


def test_a_right_answer_is_kept_and_replaced_by_a_later_one(mine, capsys):
    check("descent-step", cell(RIGHT)).keep()
    assert "Kept in my_engine.py: 1 of 38 answers." in capsys.readouterr().out
    other = RIGHT.replace("theta - lr * gradient", "-lr * gradient + theta")
    check("descent-step", cell(other)).keep()
    mine.write_text(mine.read_text() + "\n\n# %% my own notes\nx = 3\n")
    dense = "def answer(x, W, b):\n    return np.maximum(x @ W.T + b, 0)\n"
    check("dense-forward", cell(dense)).keep()
    head, cells = read_cells(mine)
    assert "import numpy as np" in head
    assert cells == {"dense-forward": dense, "descent-step": other, "my own notes": "x = 3\n"}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda theta, gradient, lr: theta - lr * gradient, "a function with a name"),
        (cell("def step(a, b):\n    return a - b\n" + RIGHT.replace("theta - lr * gradient",
              "step(theta, lr * gradient)")), "NameError"),
    ],
)  # fmt: skip
def test_what_does_not_work_alone_is_not_kept(mine, capsys, answer, words):
    result = check("descent-step", answer)
    assert result.passed
    capsys.readouterr()
    result.keep()
    out = " ".join(capsys.readouterr().out.split())
    assert out.startswith("Not kept")
    assert words in out
    assert not mine.exists()


def test_a_wrong_answer_is_not_kept(mine, capsys):
    result = check("descent-step", cell(RIGHT.replace("-", "+")))
    said = capsys.readouterr().out
    result.keep()
    assert said
    assert capsys.readouterr().out == ""
    assert not mine.exists()


def test_tally_counts_what_is_right_today(all_kept, capsys):
    all_kept.write_text(all_kept.read_text().replace("theta - lr * gradient", "theta"))
    tally()
    out = capsys.readouterr().out
    assert "[x]\N{NO-BREAK SPACE}dense-forward" in out
    assert "[-]\N{NO-BREAK SPACE}descent-step" in out
    assert out.endswith("37 of 38 answers are right and kept in my_engine.py.\n")
    all_kept.unlink()
    tally()
    assert "0 of 38" in capsys.readouterr().out


def test_a_file_that_cannot_be_run_is_named(mine):
    mine.write_text("# %% descent-step\ndef step(:\n")
    with pytest.raises(UsageError, match=r"my_engine.py, descent-step: SyntaxError"):
        engine()
    mine.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"my_engine.py: is not a text file"):
        engine()


def test_all_18_blocks_are_the_learners(all_kept):
    _, x, x_noisy = small_data()
    model = configure(**OPTIONS, dtype="float64").make_model(64)
    found = engine("my_engine.py").compare(model, x, x_noisy)
    assert not found.wrong
    assert str(found).startswith("18 of 18 blocks are yours; largest difference ")
    assert max(block.size for block in found.blocks) < 1e-14
    nobody = str(engine("no_file.py").compare(model, x, x_noisy))
    assert nobody.startswith("still ours: masking-noise, dense-forward,")
    assert nobody.endswith("0 of 18 blocks are yours; largest difference 0")


@pytest.mark.parametrize(
    ("right", "wrong", "places"),
    [
        ("t[3] * (1 - t[3]) if layer == 3 else t[layer] > 0", "t[layer] > 0",
         "student layer 3, W_base; student layer 2, W2; student layer 1, b1"),
        ('found["b" + names[layer - 1]] = delta.sum(axis=0)',
         'found["b" + names[layer - 1]] = delta.sum(axis=0) * (1 + (layer == 5))',
         "student layer 5, b5"),
        ("np.maximum(x @ W.T + b, 0)", "np.maximum(x @ W.T, 0)",
         "supervisor layer 4, h; student layer 6, h"),
        ("x * keep / (1 - rate)", "x * keep", "data, x_noisy"),
        ("2 * alpha / len(x)", "2 * alpha / x.size", "supervisor, g"),
        ('"Grad4": c * (t[4] - t[2])', '"Grad4": c * (t[2] - t[4])', "student layer 4, Grad4"),
        ("x * keep / (1 - rate)", "x * keep / 0.9", "data, x_noisy"),
        ("np.maximum(x @ W.T + b, 0)", "x @ W.T + b", "supervisor layer 1, h; student layer 1, h"),
        ("((x - y) ** 2).sum() / len(x), ", "((x - y) ** 2).sum() / 50, ", "supervisor, loss_sym"),
        ("2 * alpha / len(x)", "2 / len(x)", "supervisor, g"),
        ("2 * alpha / len(x)", "alpha / len(x)", "supervisor, g"),
        ("(h[layer] > 0) * g\n        grad", "g\n        grad", "supervisor layer 3, W3"),
        ("for a, b in pairs) / len(t[0])", "for a, b in pairs)", "student, loss_ap"),
        ("(t[2] - t[4]) ** 2", "(t[2] - t[4])", "student, loss_nc"),
        ("2 * beta / len(t[0])", "2 / len(t[0])", "student layer 1, Grad1; student layer 6, Grad6"),
        ("2 * gamma / len(t[0])", "2 / len(t[0])",
         "student layer 2, Grad2; student layer 4, Grad4"),
        ("(Grad[layer] + from_above)", "(Grad[layer])", "student layer 5, W5; student layer 1, b1"),
        ("theta - lr * gradient", "theta - gradient", "supervisor, theta; student, theta"),
        ("theta - lr * gradient", "1 / 0", "supervisor, theta"),
        ("return theta - lr * gradient", "theta -= lr * gradient\n    return theta",
         "supervisor, theta; student, theta"),
        ("b1 * m +", "m +", "supervisor, m; student, theta"),
        ("(1 - b1) * g", "g", "supervisor, m; student, theta"),
        ("b2 * v +", "v +", "supervisor, v; student, theta"),
        ("(1 - b2) * g**2", "g**2", "supervisor, v; student, theta"),
        ("new_m / (1 - b1**t)", "new_m", "supervisor, theta; student, theta"),
        ("new_m / (1 - b1**t)", "new_m / (1 - b1)", "supervisor, theta; student, theta"),
        ("np.sqrt(new_v / (1 - b2**t))", "np.sqrt(new_v)", "supervisor, theta; student, theta"),
        ("np.sqrt(new_v / (1 - b2**t))", "(new_v / (1 - b2**t))", "supervisor, theta"),
        (" + eps", "", "supervisor, theta; student, theta"),
        ("theta - lr * step", "theta - step", "supervisor, theta; student, theta"),
    ],
)  # fmt: skip
def test_a_wrong_function_is_named_by_layer_and_block(all_kept, right, wrong, places):
    text = all_kept.read_text()
    assert text.count(right) == 1
    all_kept.write_text(text.replace(right, wrong))
    _, x, x_noisy = small_data()
    model = configure(**OPTIONS, dtype="float64").make_model(64)  # new, as in notebook 6
    found = engine("my_engine.py").compare(model, x, x_noisy)
    named = [str(block).partition(":")[0] for block in found.wrong]
    for place in places.split("; "):
        assert place in named
        assert f"wrong: {place}: relative difference" in str(found)
    assert len(found.wrong) < len(found.blocks) / 2
    if "b5" in places:
        assert named == ["student layer 5, b5"]
        assert "17 of 18 blocks are yours" in str(found)


@pytest.mark.parametrize("optimizer", ["adam", "gd"])
def test_the_learners_functions_train_the_model_as_the_package_does(all_kept, optimizer):
    config = configure(**OPTIONS, dtype="float64", optimizer=optimizer, lr=1e-3)
    x, _, _ = small_data()
    states, losses = [], []
    for maker in (engine("my_engine.py"), None):
        model = config.make_model(64)
        trainer = maker.make_trainer(config, model, x) if maker else config.make_trainer(model, x)
        trainer.train(2)
        states.append(model.state())
        losses.append(trainer.history[-1])
    for name, block in states[1].items():
        np.testing.assert_allclose(states[0][name], block, rtol=1e-6, atol=1e-9, err_msg=name)
    for name in ("loss_in", "loss_sym", "loss_ap", "loss_nc"):
        assert losses[0][name] == pytest.approx(losses[1][name], rel=1e-9)


def test_each_function_of_the_learner_is_called(all_kept):
    """Each of them, spoiled, changes what is trained."""
    x, _, _ = small_data()
    spoil = "\n_old = {0}\ndef {0}(*a):\n    raise ZeroDivisionError\n"
    head, cells = read_cells(all_kept)
    for name in FUNCTIONS:
        optimizer = "gd" if name == "descent-step" else "adam"
        config = configure(**OPTIONS, optimizer=optimizer, dtype="float64")
        all_kept.write_text(
            join_cells(head, {name: cells[name] + spoil.format(name.replace("-", "_"))})
        )
        trainer = engine("my_engine.py").make_trainer(config, config.make_model(64), x)
        with pytest.raises(ZeroDivisionError):
            trainer.train(1)


@pytest.mark.parametrize(
    "other", [{"objective": "demo"}, {"widths": (11,)}, {"optimizer": "momentum"}]
)
def test_a_model_that_the_exercises_do_not_cover_is_refused(mine, other):
    config = configure(**OPTIONS | other)
    with pytest.raises(UsageError, match="parts that the exercises do not cover"):
        engine().make_trainer(config, config.make_model(64), small_data("float32")[0])


def test_the_learners_network_has_a_report_and_a_run_folder(all_kept, tmp_path):
    config = configure(**OPTIONS)
    x, _, _ = small_data("float32")
    trainer = engine("my_engine.py").make_trainer(config, config.make_model(64), x)
    trainer.train(2)
    for _ in range(2):  # the second replaces the first
        save_run(trainer, config, "my_run", (8, 8))
    assert "loss" in (tmp_path / "my_run" / "report.html").read_text()
    checkpoint = open_run("my_run")
    assert checkpoint.config.data.image_shape == (8, 8)
    np.testing.assert_array_equal(np.load("my_run/images.npy"), x)


def test_engine_takes_a_module_too(all_kept, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(tmp_path)
    import my_engine

    assert set(engine(my_engine).mine) == set(FUNCTIONS) <= set(all_exercises())

"""The page before any browser sees it, and the command that writes it."""

import base64
import hashlib
import json
import os
import re
import shutil
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from explore_cases import (
    FLOAT16,
    block_of,
    decode_packed,
    draw,
    head_of,
    make_run,
    model_of,
    page_of,
)
from tolerances import assert_close

from ddnmf_np.evaluation.interpret import dead_units
from ddnmf_np.explore import content
from ddnmf_np.explore.__main__ import main
from ddnmf_np.runs.checkpoint import load_checkpoint


def write(capsys, *arguments):
    """Run the command; return its exit code, what it printed, and what it complained of."""
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


class Elements(HTMLParser):
    """The elements of a page as a browser would find them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.addresses = [""], {}, []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [v for k, v in attrs if k in ("src", "href", "action", "srcset")]

    def handle_data(self, data):
        self.texts.setdefault(self.tags[-1], []).append(data)


# -- what is in it ---------------------------------------------------------------------------------


def test_command_writes_a_page(images_run, capsys):
    code, out, err = write(capsys, images_run)
    path = images_run / "explorer.html"
    text = path.read_text("utf-8")
    path.unlink()
    assert code == 0
    assert out == f"{path} ({len(text) / 1e6:.1f} MB): open it in a browser\n"
    assert "90 samples of the train split" in err
    assert text == page_of(images_run)
    assert head_of(text)["notes"] == []


def test_output_elsewhere(images_run, tmp_path, capsys):
    path = tmp_path / "new" / "folder" / "name.html"
    assert write(capsys, images_run, "--output", path)[0] == 0
    assert path.exists()
    assert not (images_run / "explorer.html").exists()


def test_decoder_is_that_of_the_model(images_run):
    H = np.random.default_rng(0).uniform(size=(7, 5)).astype(np.float32)
    assert_close(decode_packed(page_of(images_run), H), model_of(images_run).decode(H), FLOAT16)


def test_a_non_negative_decoder_has_no_biases(tmp_path):
    path = make_run(tmp_path, objective="parts")
    page, H = page_of(path), np.random.default_rng(0).uniform(size=(7, 5)).astype(np.float32)
    assert all("b" not in layer for layer in head_of(page)["layers"])
    assert_close(decode_packed(page, H), model_of(path).decode(H), FLOAT16)


def test_encoder_is_that_of_the_model(images_run):
    page, model = page_of(images_run), model_of(images_run)
    layers = head_of(page)["encoder"]["layers"]
    assert len(layers) == 3
    for layer, dense in zip(layers, model.student.layers, strict=False):
        scale = np.array(layer["W"]["scale"])[:, None]
        W = block_of(page, layer["W"]["block"], np.int8).reshape(dense.W.shape) * scale
        assert (np.abs(W - dense.W) <= 0.501 * scale).all()
        assert ("b" in layer) == (dense.b is not None)


@pytest.mark.parametrize("what", ["image", "side", "weights"])
def test_page_without_an_encoder_says_why(images_run, bars_run, monkeypatch, what):
    if what == "side":
        monkeypatch.setattr(content, "LONGEST_SIDE", 7)
    elif what == "weights":
        sizes = iter([0, content.LARGEST + 1])  # the decoder, then the encoder
        monkeypatch.setattr(content, "packed_size", lambda n: next(sizes))
    encoder = head_of(page_of(bars_run if what == "image" else images_run))["encoder"]
    assert encoder["layers"] is None
    assert encoder["reason"]


def test_samples_are_those_of_the_data(images_run):
    page = page_of(images_run)
    x, y = draw()
    head = head_of(page)
    samples = head["samples"]
    assert head["image_shape"] == [8, 8]
    assert head["high"] == 1.0
    assert samples["index"] == list(range(90))
    assert block_of(page, "pixels", np.uint8).tolist() == x.ravel().tolist()
    assert [int(samples["classes"][k]) for k in samples["labels"]] == y.tolist()
    H = model_of(images_run).encode((x / 255).astype(np.float32))
    low, high = (np.array(samples["H"][end]) for end in ("low", "high"))
    levels = block_of(page, "H", "<u2").reshape(90, 5) / 65535
    assert_close(low + (high - low) * levels, H, 2 / 65535)
    assert head["units"]["dead"] == dead_units(H).tolist() == [False, False, True, False, False]
    assert (
        head["units"]["quantiles"]
        == np.quantile(H.astype(float), [0.05, 0.5, 0.95], axis=0).tolist()
    )


def test_clusters_wear_the_colour_of_their_class(images_run):
    samples = head_of(page_of(images_run))["samples"]
    colors = samples["clustering"]["colors"]
    assert sorted(colors) == [0, 1, 2]
    found = np.array(colors)[samples["clusters"]]
    agree = np.mean(found == samples["labels"])
    assert agree == pytest.approx(samples["clustering"]["scores"]["acc"])


def test_more_clusters_than_classes_have_colours_of_their_own(tmp_path):
    samples = head_of(page_of(make_run(tmp_path, clusters=5)))["samples"]
    assert sorted(samples["clustering"]["colors"]) == [0, 1, 2, 3, 4]


def test_map_fits_its_square(images_run):
    page = page_of(images_run)
    places = head_of(page)["samples"]["points"]
    low, high = np.array(places["low"]), np.array(places["high"])
    assert low.min() >= 0.0
    assert high.max() <= 1.0
    assert (high - low).max() == pytest.approx(1.0)


def test_data_that_are_no_images(bars_run):
    head = head_of(page_of(bars_run))
    assert head["image_shape"] is None
    assert head["high"] == pytest.approx(2.55)
    assert head["samples"]["labels"] is None
    assert len(head["samples"]["clustering"]["sizes"]) == 5


def test_held_out_samples_are_preferred(tmp_path):
    x, y = draw()
    path = make_run(tmp_path, x[:60], y[:60])
    data = next((tmp_path / "data").iterdir())
    np.savez(data, x_train=x[:60], y_train=y[:60], x_test=x[60:], y_test=y[60:])
    samples = head_of(page_of(path))["samples"]
    assert (samples["split"], samples["total"]) == ("test", 30)


@pytest.mark.parametrize(("base", "low", "high"), [("sigmoid", 0, 1), ("tanh", -1, 1)])
def test_sliders_of_bounded_units(tmp_path, base, low, high):
    units = head_of(page_of(make_run(tmp_path, base_activation=base)))["units"]
    assert (units["low"], units["high"]) == (low, high)


def test_sliders_of_unbounded_units_reach_every_sample_and_part(tmp_path):
    path = make_run(tmp_path, base_activation="identity")
    units = head_of(page_of(path))["units"]
    H = model_of(path).encode((draw()[0] / 255).astype(np.float32))
    assert units["low"] == min(0.0, H.min())
    assert units["high"] == max(1.0, H.max())


def test_large_samples_are_fewer(images_run, monkeypatch):
    monkeypatch.setattr(content, "MOST_PIXELS", 64 * 70)
    samples = head_of(page_of(images_run))["samples"]
    assert len(samples["index"]) == 70
    assert len(samples["strip"]) == content.STRIP


@pytest.mark.paper_shape
def test_size_of_the_paper_shape(paper_page):
    assert len(head_of(paper_page)["samples"]["index"]) == 2000
    assert len(paper_page.encode("utf-8")) < 10e6


# -- what is not in it -----------------------------------------------------------------------------


def test_page_asks_for_nothing(images_run):
    page = page_of(images_run)
    assert Elements(page).addresses == ["data:,"]
    assert "http:" not in page
    assert "https:" not in page
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', page)[1]
    assert policy.startswith("default-src 'none';")
    patterns = {"script": "\n<script>(.*?)</script>", "style": "<style>(.*?)</style>"}
    for kind, pattern in patterns.items():
        text = re.search(pattern, page, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_page_names_no_place_of_this_machine(images_run, tmp_path):
    page = page_of(images_run)
    assert str(images_run.parent) not in page
    shutil.copytree(images_run, tmp_path / "run")
    (tmp_path / "data").mkdir()
    checkpoint = load_checkpoint(tmp_path / "run" / "checkpoint.npz")
    checkpoint.meta["config"]["dataset"] = str(tmp_path / "data" / "gone.npz")
    assert str(tmp_path) not in content.gather(checkpoint, None, print).head["notes"][0]


def test_names_are_escaped(bars_run):
    page = page_of(bars_run)
    elements = Elements(page)
    blocks = len(re.findall('id="block-', page))
    assert elements.tags.count("script") == blocks + 2
    assert elements.texts["title"][0] == "<script>alert(1)<: parts explorer"
    assert "<script>alert" not in page
    assert head_of(page)["title"] == "<script>alert(1)<"


# -- runs that are not as they should be -----------------------------------------------------------


def test_unfinished_run_says_how_far_it_is(tmp_path):
    path = make_run(tmp_path, trained=False, epochs=7)
    [note] = head_of(page_of(path))["notes"]
    assert "after 0 of 7 epochs" in note


@pytest.mark.parametrize("what", ["missing", "file", "empty", "other"])
def test_no_run(tmp_path, what, capsys):
    path = tmp_path / "run"
    if what == "file":
        path.write_text("")
    elif what != "missing":
        path.mkdir()
    if what == "other":
        (path / "notes.txt").write_text("")
    code, _, err = write(capsys, path)
    assert code == 2
    assert err.startswith(f"error: run folder {path}: ")
    assert "ddnmf_np.train" in err


def test_run_without_a_checkpoint(images_run, tmp_path, capsys):
    shutil.copy(images_run / "config.toml", tmp_path)
    code, _, err = write(capsys, tmp_path)
    assert code == 4
    assert "there is no checkpoint" in err


def damaged(path, **changes):
    """Write a checkpoint again with other entries."""
    with np.load(path / "checkpoint.npz") as archive:
        arrays = {name: archive[name] for name in archive.files}
    meta = json.loads(arrays["meta"].tobytes()) | changes.pop("meta", {})
    arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    np.savez(path / "checkpoint.npz", **(arrays | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"meta": {"format": 99, "version": "9.9"}}, "has format 99 (written by ddnmf_np 9.9)"),
        ({"meta": {"n_features": 65}}, "belongs to another architecture"),
        ({"student.W_rec": np.full((19, 5), np.nan, np.float32)}, "not finite"),
    ],
)
def test_checkpoint_of_no_use(images_run, tmp_path, changes, message, capsys):
    path = tmp_path / "run"
    shutil.copytree(images_run, path)
    damaged(path, **changes)
    code, _, err = write(capsys, path)
    assert code == 4
    assert err.startswith("error: ")
    assert message in err
    assert not (path / "explorer.html").exists()


def test_corrupt_checkpoint(images_run, tmp_path, capsys):
    shutil.copy(images_run / "checkpoint.npz", tmp_path)
    os.truncate(tmp_path / "checkpoint.npz", 1000)
    code, _, err = write(capsys, tmp_path)
    assert code == 4
    assert "corrupt" in err


def test_checkpoint_alone_is_enough(images_run, tmp_path, capsys):
    shutil.copy(images_run / "checkpoint.npz", tmp_path)
    assert write(capsys, tmp_path)[0] == 0


def test_too_large_a_decoder(images_run, monkeypatch, capsys):
    monkeypatch.setattr(content, "LARGEST", 1000)
    code, _, err = write(capsys, images_run)
    assert code == 4
    assert "--widths" in err


def test_data_that_are_gone(tmp_path, capsys):
    path = make_run(tmp_path)
    shutil.rmtree(tmp_path / "data")
    code, _, err = write(capsys, path)
    page = (path / "explorer.html").read_text("utf-8")
    assert code == 0
    assert "warning: no samples in the page" in err
    head = head_of(page)
    assert head["samples"] is None
    assert head["units"] == {"low": 0.0, "high": 1.0, "quantiles": None, "dead": None}
    assert head["image_shape"] == [8, 8]
    assert "not found" in head["notes"][0]
    decoder = {"W_rec", "W5", "b5", "W6", "b6"}
    encoder = {"W1", "b1", "W2", "b2", "W_base"}
    assert set(re.findall('id="block-(.*?)"', page)) == decoder | encoder


def test_data_that_have_moved(tmp_path):
    path = make_run(tmp_path)
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    assert head_of(page_of(path))["samples"] is None
    assert head_of(page_of(path, str(tmp_path / "elsewhere")))["samples"]["total"] == 90


def test_other_data_under_the_same_name(tmp_path, capsys):
    path = make_run(tmp_path)
    data = next((tmp_path / "data").iterdir())
    np.savez(data, x=draw(width=50)[0])
    code, _, err = write(capsys, path)
    assert code == 0
    assert "is not what the run was trained on" in err
    head = head_of((path / "explorer.html").read_text("utf-8"))
    assert head["samples"] is None
    assert "not the one that the model was trained on" in head["notes"][0]


def test_labels_that_are_gone(tmp_path, capsys):
    x, y = draw()
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    path = make_run(tmp_path / "a", x)
    changes = {"dataset": str(tmp_path / "x.npy"), "labels": str(tmp_path / "y.npy")}
    config = load_checkpoint(path / "checkpoint.npz").meta["config"] | changes
    damaged(path, meta={"config": config})
    assert head_of(page_of(path))["samples"]["classes"] == ["0", "1", "2"]
    (tmp_path / "y.npy").unlink()
    code, _, err = write(capsys, path)
    head = head_of((path / "explorer.html").read_text("utf-8"))
    assert code == 0
    assert "warning: no labels" in err
    assert "labels were not found" in head["notes"][0]
    assert head["samples"]["labels"] is None


def test_fewer_samples_than_clusters(tmp_path):
    head = head_of(page_of(make_run(tmp_path, clusters=91)))
    assert head["samples"]["clusters"] is None
    assert "could not be clustered" in head["notes"][0]


def test_codes_that_are_all_alike(tmp_path):
    def kill(model):
        model.student.arena.param("W_base").fill(0.0)

    head = head_of(page_of(make_run(tmp_path, change=kill)))
    assert head["units"]["dead"] == [True] * 5
    assert any("mean little" in note for note in head["notes"])
    assert any("single point" in note for note in head["notes"])


def test_one_unit(tmp_path):
    head = head_of(page_of(make_run(tmp_path, rank=1)))
    assert head["samples"]["points"]["low"][1] == head["samples"]["points"]["high"][1] == 0.5


# -- the command line ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "0 run folders given"),
        (["a", "b"], "2 run folders given"),
        (["a", "--outptu", "x.html"], "did you mean '--output'"),
        (["a", "--output", "checkpoint.npz"], "ends in .html"),
        (["a", "--data-dir"], "expected one argument"),
    ],
)
def test_usage(arguments, message, capsys):
    code, out, err = write(capsys, *arguments)
    assert (code, out) == (2, "")
    assert message in err


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a folder that nobody can write in")
@pytest.mark.parametrize("name", ["explore", "report"])
def test_folder_that_cannot_be_written_is_found_before_the_work(images_run, capsys, name):
    """Not even by root, for whom all modes of files are right."""
    main = import_module(f"ddnmf_np.{name}.__main__").main
    assert main([str(images_run), "--output", "/proc/page.html"]) == 4
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"error: output /proc: cannot be written: .*; choose another folder\n", err)


def test_page_that_was_there_is_replaced_whole_or_not_at_all(images_run, tmp_path, capsys):
    path = tmp_path / "page.html"
    path.write_text("before")
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert write(capsys, images_run, "--output", blocked / "page.html")[0] == 4
    assert write(capsys, images_run, "--output", path)[0] == 0
    assert path.read_text("utf-8") == page_of(images_run)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "page.html"]

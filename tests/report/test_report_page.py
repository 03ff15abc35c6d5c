"""``report.html``: what it says of a run, what it never does, and the command that writes it."""

import base64
import hashlib
import json
import os
import re
import shutil
from itertools import pairwise

import pytest
from report_cases import HISTORY, Page, edit, make_run, summary

from ddnmf_np.config import OPTIONS, configure
from ddnmf_np.report.__main__ import main
from ddnmf_np.report.page import make_report
from ddnmf_np.runs.folder import RunFolder

METHODS = OPTIONS["clusterers"].kind.choices


def page_of(folder):
    """Return the text of a run's page, having looked at its structure."""
    text = make_report(folder, linked_from=folder.report)
    assert_sound(Page(text))
    return text


def assert_sound(page):
    """Fail unless a screen reader finds its way: headings, tables, pictures, links."""
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below <= above + 1 for above, below in pairwise(levels))
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(th.get("scope") for th in page.all("th"))
    assert all(len(img["alt"]) > 40 for img in page.all("img"))
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    inner = [a["href"][1:] for a in page.all("a") if a["href"].startswith("#")]
    assert set(inner) <= set(ids)


def write(capsys, *arguments):
    """Run the command; return its exit code, what it printed, and what it complained of."""
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


# -- what it says ----------------------------------------------------------------------------------


def test_scores_with_their_range_and_method(whole_run):
    text = Page(page_of(whole_run)).text
    assert "k-means 0.625 (0.438 to 0.688) 0.375" in text
    assert "Gaussian mixture, full one covariance matrix per cluster" in text
    assert "15 samples of the test split" in text
    assert "Labels are used only for these scores" in text


def test_measures_are_those_of_the_summary(whole_run):
    text = Page(page_of(whole_run)).text
    for words in (
        "student 16-11-7-3-7-11-16", "parameters 1,234", "for all samples 1 of 3", "learns 2 %",
        "single one 0.75",
        "error of the student, noisy input mean squared difference per entry from the clean "
        "samples 0.04",
        "1 h 2 min", "0123456789abcdef+", "2030-01-02", "openblas 0.3: 2", "2 usable of 4",
        "8.0 GiB", "256 MiB", "numba not installed", "python 3.12.1",
    ):  # fmt: skip
        assert words in text, words


def test_the_student_stands_beside_what_needs_no_network(whole_run):
    text = Page(page_of(whole_run)).text
    table = text.partition("left unexplained output of fraction ")[2]
    assert table.startswith(
        "student 0.125 student, noisy input 0.135 nothing, noisy input the noise itself 0.0101 "
        "the mean of the training samples, for every sample 1 PCA of the same rank 0.265 "
    )
    assert "NMF of the same rank" not in text  # not measured


def test_every_clusterer_is_said_in_words(tmp_path):
    about = summary()
    about["evaluation"]["scores"] = dict.fromkeys(METHODS, about["evaluation"]["scores"]["kmeans"])
    text = page_of(make_run(tmp_path, about=about, figures=None, clusterers=METHODS))
    scores = text[text.index('id="scores"') : text.index('id="losses"')]
    named = re.findall(r'<th scope="row">(.*?)(?:<small>|</th>)', scores)
    assert len(named) == len(METHODS)
    assert all(name == "k-means" or name.startswith("Gaussian mixture") for name in named)


def test_losses_of_first_and_last_epoch(whole_run):
    text = Page(page_of(whole_run)).text
    assert "epoch 1 epoch 3 weight" in text
    assert "loss_sym supervisor's output against the clean input (equation 4) 1 0.3333 1" in text
    assert "An epoch took 4 s (median)" in text
    alts = [img["alt"] for img in Page(page_of(whole_run)).all("img")]
    assert "loss_in from 4 to 1.33" in alts[0]


def test_pictures_are_the_files_and_each_says_what_it_shows(whole_run):
    images = Page(page_of(whole_run)).all("img")
    order = ("losses", "reconstructions", "parts", "effects", "clusters", "embedding")
    for name, image in zip(order, images, strict=True):
        kind, data = image["src"].split(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(data) == (whole_run.figures / f"{name}.png").read_bytes()
    assert images[0]["width"] == "864"
    assert len({image["alt"] for image in images}) == 6
    assert "a column for each cluster of gmm-full" in images[4]["alt"]
    assert "ACC, is 0.625" in images[4]["alt"]
    assert "coloured by class" in images[5]["alt"]


def test_what_differs_from_the_preset_is_marked(tmp_path):
    folder = make_run(tmp_path, objective="demo", beta_ap=0.5, lr=0.25, figures=None)
    text = page_of(folder)
    rows = re.findall(r'<tr class="changed">.*?</tr>', text, re.DOTALL)
    marked = {}
    for row in rows:
        name = re.search("<mark><code>(.*?)</code></mark>", row)[1].replace("<wbr>", "")
        marked[name] = Page(row).text
    assert list(marked) == [
        "dataset", "widths", "rank", "beta_ap", "lr", "epochs", "seed", "clusterers",
    ]  # fmt: skip
    assert marked["beta_ap"].endswith("0.5 0.01 (preset demo)")
    assert marked["lr"].endswith("0.25 0.001 (default)")
    every = re.findall(r'<th scope="row">(?:<mark>)?<code>(.*?)</code>', text)
    assert {name.replace("<wbr>", "") for name in every} == set(OPTIONS)


def test_run_with_all_defaults_says_so(tmp_path):
    folder = RunFolder(tmp_path)
    folder.create(configure())
    folder.write_metrics(HISTORY[:1])
    text = page_of(folder)
    assert "Every option has the value of the preset or its default" in text
    assert '<tr class="changed"' not in text


def test_files_are_linked(whole_run):
    links = [a["href"] for a in Page(page_of(whole_run)).all("a") if a["href"][0] != "#"]
    assert links[:3] == ["config.toml", "metrics.jsonl", "summary.json"]
    assert len(links) == 3 + 6
    assert all((whole_run.path / link).is_file() for link in links)


# -- what it never does ----------------------------------------------------------------------------


def test_page_asks_for_nothing_and_runs_nothing(whole_run):
    text = page_of(whole_run)
    page = Page(text)
    assert not page.all("script")
    assert "http:" not in text
    assert "https:" not in text
    assert all(image["src"].startswith("data:") for image in page.all("img"))
    assert [link["href"] for link in page.all("link")] == ["data:,"]
    assert not any(name.startswith("on") or name == "style" for _, a in page.elements for name in a)
    policy = page.all("meta")[1]["content"]
    style = re.search("<style>(.*?)</style>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:;")


def test_page_names_no_place_of_this_machine(whole_run):
    text = page_of(whole_run)
    assert "/home/me" not in text
    assert str(whole_run.path) not in text
    assert "points.npz" in text


def test_everything_is_escaped(tmp_path):
    """Names and texts of the files, in every place where the page shows one."""
    trap = "<script>alert(1)</script>\"'&{{ 7 * 7 }}{% endif %}"

    def spring(value):
        if isinstance(value, dict):
            return {k if k.isidentifier() else trap: spring(v) for k, v in value.items()}
        if isinstance(value, list):
            return [spring(v) for v in value]
        return trap if isinstance(value, str) else value

    about = spring(summary())
    about["evaluation"]["scores"][trap] = {**about["evaluation"]["scores"]["kmeans"],
                                           "degenerate": trap, "acc": trap}  # fmt: skip
    folder = make_run(tmp_path, about=about, figures=None, dataset=f"{trap}.npy")
    page = Page(page_of(folder))
    assert not page.all("script")
    assert page.text.count("<script>alert(1)</script>\"'&{{ 7 * 7 }}{% endif %}") > 8


# -- runs that are not as they should be -----------------------------------------------------------


def test_run_without_labels(tmp_path):
    about = summary(labelled=False)
    page = Page(page_of(make_run(tmp_path, about=about, labelled=False)))
    assert "ACC" not in page.text
    assert "k-means -12.5 77.25 2 1" in page.text
    assert "There are no labels" in page.text
    assert "coloured by cluster" in page.all("img")[-1]["alt"]


def test_run_without_pictures_has_its_losses(tmp_path):
    page = Page(page_of(make_run(tmp_path, figures=None)))
    assert len(page.all("img")) == 1
    assert "Lines of the losses" in page.all("img")[0]["alt"]
    assert "Pictures" not in page.text


def test_unfinished_run_says_how_far_it_is(tmp_path):
    folder = make_run(tmp_path, history=HISTORY[:2], about={}, figures=None, labelled=False)
    folder.summary.unlink(missing_ok=True)
    page = Page(page_of(folder))
    assert "This run is not finished: 2 of 3 epochs are done" in page.text
    assert "--resume" in page.text
    assert "Scores" not in page.text
    assert "Environment" not in page.text
    assert "loss_in from 4 to 2" in page.all("img")[0]["alt"]


def test_run_that_was_not_scored(tmp_path):
    folder = make_run(tmp_path, figures=None)
    folder.summary.unlink()
    assert "are done, but it has not been scored" in page_of(folder)


def test_run_before_its_first_epoch(tmp_path):
    folder = make_run(tmp_path, history=[], figures=None)
    folder.summary.unlink()
    page = Page(page_of(folder))
    assert "0 of 3 epochs" in page.text
    assert not page.all("img")


def test_line_that_was_cut_off(tmp_path):
    folder = make_run(tmp_path, figures=None)
    folder.metrics.write_text(folder.metrics.read_text()[:-30])
    text = page_of(folder)
    assert "The last line of metrics.jsonl is cut off" in text
    assert "2 of 3" in text


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_picture_that_is_none(tmp_path, share, whole_run):
    folder = make_run(tmp_path, figures=None)
    whole = (whole_run.figures / "parts.png").read_bytes()
    (folder.figures / "parts.png").write_bytes(whole[: int(share * len(whole))])
    text = page_of(folder)
    assert "figures/parts.png is not a PNG file" in text


def test_scores_without_the_losses_are_shown(tmp_path):
    folder = make_run(tmp_path, figures=None)
    folder.metrics.unlink()
    assert "there is no metrics file" in page_of(folder)


def test_folders_in_place_of_files(tmp_path):
    folder = make_run(tmp_path, figures=None)
    folder.metrics.unlink()
    for path in (folder.metrics, folder.figures / "parts.png"):
        path.mkdir(parents=True)
    assert "there is no metrics file" in page_of(folder)


def test_sizes_of_clusters_that_are_no_numbers(tmp_path):
    def spoil(about):
        about["evaluation"]["scores"]["kmeans"]["cluster_sizes"][0] = float("nan")

    folder = make_run(tmp_path, figures=None)
    assert "kmeans: clusters" in page_of(folder)
    edit(folder.summary, spoil)
    assert "kmeans: clusters" not in page_of(folder)


def test_summary_of_another_version(tmp_path):
    """What it does not have is not recorded; what it has is shown."""

    def forget(about):
        for key in ("commit", "finished", "peak_memory_mib", "parameters"):
            del about[key]
        del about["environment"]["threads"]
        about["evaluation"]["code"] = {"std": 0.25}
        about["evaluation"]["scores"]["kmeans"] = {"acc": 0.625, "cluster_sizes": ["many"]}
        about["dataset"] = "points"

    folder = make_run(tmp_path, figures=None)
    edit(folder.summary, forget)
    page = Page(page_of(folder))
    assert "commit not recorded" in page.text
    assert "0.625" in page.text


def test_degenerate_clusters_are_said_to_be(tmp_path):
    def spoil(about):
        about["evaluation"]["scores"]["kmeans"]["degenerate"] = "all codes are alike"

    folder = make_run(tmp_path, figures=None)
    edit(folder.summary, spoil)
    assert "the clusters mean little. all codes are alike." in Page(page_of(folder)).text


def test_many_units_stand_side_by_side(tmp_path):
    folder = make_run(tmp_path, about=summary(rank=24), rank=24, figures=None)
    captions = re.findall(r"<caption>(Standard deviation.*?)</caption>", page_of(folder))
    assert captions == [f"Standard deviation of units {k} to {end}"
                        for k, end in ((0, 9), (10, 19), (20, 23))]  # fmt: skip


# -- the command line ------------------------------------------------------------------------------


def test_command_writes_the_page(whole_run, tmp_path, capsys):
    path = tmp_path / "run"
    shutil.copytree(whole_run.path, path)
    code, out, err = write(capsys, path)
    text = (path / "report.html").read_text("utf-8")
    assert (code, err) == (0, "")
    assert out == f"{path / 'report.html'} ({len(text) / 1e6:.1f} MB): open it in a browser\n"
    assert text == page_of(RunFolder(path))


def test_page_elsewhere_has_no_links_into_the_folder(whole_run, tmp_path, capsys):
    path = tmp_path / "new" / "page.html"
    assert write(capsys, whole_run.path, "--output", path)[0] == 0
    page = Page(path.read_text("utf-8"))
    assert all(a["href"].startswith("#") for a in page.all("a"))
    assert "metrics.jsonl" in page.text
    assert not whole_run.report.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "0 run folders given"),
        (["a", "b"], "2 run folders given"),
        (["a", "--outptu", "x.html"], "did you mean '--output'"),
        (["a", "--output", "summary.json"], "ends in .html"),
    ],
)
def test_usage(arguments, message, capsys):
    code, out, err = write(capsys, *arguments)
    assert (code, out) == (2, "")
    assert message in err


@pytest.mark.parametrize("what", ["missing", "file", "empty", "other"])
def test_no_run(tmp_path, what, capsys):
    path = tmp_path / "run"
    if what == "file":
        path.write_text("")
    elif what != "missing":
        path.mkdir()
    if what == "other":
        (path / "notes.txt").write_text("")
    code, _, err = write(capsys, path, "--output", tmp_path / "new" / "page.html")
    assert code == 2
    assert err.startswith(f"error: run folder {path}: ")
    assert "ddnmf_np.train" in err
    assert not (tmp_path / "new").exists()


def damage_options(folder):
    folder.config.write_text("[model]\nrankk = 3\n")


def damage_options_of_no_version(folder):
    damage_options(folder)
    folder.summary.unlink()


def damage_summary(folder):
    folder.summary.write_text(folder.summary.read_text()[:-20])


def damage_metrics(folder):
    folder.metrics.write_text("{\n" + folder.metrics.read_text())


def spoil_a_loss(folder):
    first, *rest = folder.metrics.read_text().splitlines(keepends=True)
    record = {name: "a" if name.startswith("loss_") else v for name, v in json.loads(first).items()}
    folder.metrics.write_text("".join([json.dumps(record) + "\n", *rest]))


def leave_options_alone(folder):
    folder.metrics.unlink()
    folder.summary.unlink()


@pytest.mark.parametrize(
    ("damage", "messages"),
    [
        (damage_options, ["option 'rankk' is unknown", "If ddnmf_np 0.0.1 wrote them, use that"]),
        (damage_options_of_no_version, ["If another version of ddnmf_np wrote them"]),
        (damage_summary, ["summary.json: is damaged", "--resume"]),
        (damage_metrics, ["metrics.jsonl: line 1 is damaged", "--resume"]),
        (spoil_a_loss, ["metrics.jsonl: line 1 is damaged", "is 'a'; expected a number"]),
        (leave_options_alone, ["there is no checkpoint", "train a model first"]),
    ],
)
def test_folder_of_no_use(tmp_path, damage, messages, capsys):
    folder = make_run(tmp_path / "run", figures=None)
    damage(folder)
    code, out, err = write(capsys, folder.path)
    assert (code, out) == (4, "")
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    for message in messages:
        assert message in err
    assert not folder.report.exists()


def test_page_that_was_there_is_kept_if_the_disk_is_full(tmp_path, capsys, monkeypatch):
    folder = make_run(tmp_path / "run", figures=None)
    folder.report.write_text("before")

    def no_room(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", no_room)
        code, _, err = write(capsys, folder.path)
    assert code == 4
    assert "No space left on device" in err
    assert folder.report.read_text() == "before"
    assert write(capsys, folder.path)[0] == 0
    assert json.loads(folder.summary.read_text())["seed"] == 5

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import matplotlib.image
import numpy as np
import pytest
from matplotlib.axis import Tick
from matplotlib.colors import to_hex, to_rgb
from matplotlib.text import Text

from ddnmf_np.errors import DataError, OutputError
from ddnmf_np.evaluation import figures
from ddnmf_np.evaluation.metrics import assign_clusters

HISTORY = [
    {"epoch": 1, "loss_in": 9.0, "loss_sym": 4.0, "loss_ap": 3.0, "loss_nc": 2.0, "seconds": 5.0},
    {"epoch": 2, "loss_in": 5.0, "loss_sym": 3.0, "loss_ap": 2.0, "loss_nc": 0.0, "loss_rec": 0.0},
    {"epoch": 5, "loss_in": 2.0, "loss_sym": 1.0, "loss_ap": 0.5, "loss_nc": 0.5},
]


def texts(axes):
    return [text.get_text() for text in axes.texts]


def lines(figure):
    return {line.get_gid(): line for line in figure.axes[0].lines}


# Saving


def test_saved_file_is_a_png_of_the_readme_width(tmp_path):
    figure = figures.plot_losses(HISTORY)
    figures.save(figure, tmp_path / "losses.png")
    pixels = matplotlib.image.imread(tmp_path / "losses.png")
    assert (tmp_path / "losses.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert pixels.shape[1] == 864
    # The colour of each term that is drawn, as near as the 8 bits of PNG come.
    for name in ("loss_sym", "loss_ap", "loss_nc"):
        assert (
            np.abs(pixels[..., :3] - to_rgb(figures.LOSS_COLORS[name])).max(axis=2) < 0.01
        ).any()
    assert [path.name for path in tmp_path.iterdir()] == ["losses.png"]


@pytest.mark.parametrize("folder", ["missing", "file"])
def test_failing_save_names_the_path_and_leaves_nothing(tmp_path, folder):
    (tmp_path / "file").write_text("in the way")
    path = tmp_path / folder / "losses.png"
    with pytest.raises(OutputError, match=r"losses\.png.*cannot be written"):
        figures.save(figures.plot_losses(HISTORY), path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_save_that_fails_half_way_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "losses.png"
    path.write_text("old")
    figure = figures.plot_losses(HISTORY)

    def fill_the_disk(stream, **options):
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(figure, "savefig", fill_the_disk)
    with pytest.raises(OutputError, match="No space left"):
        figures.save(figure, path)
    assert path.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["losses.png"]


def test_figures_are_made_and_saved_in_threads(tmp_path):
    def draw(k):
        figures.save(figures.plot_losses(HISTORY), tmp_path / f"{k}.png")
        return (tmp_path / f"{k}.png").read_bytes()

    with ThreadPoolExecutor(3) as pool:
        assert len(set(pool.map(draw, range(6)))) == 1


OF_A_USER = {
    "text.usetex": True,
    "font.size": 30,
    "savefig.bbox": "tight",
    "savefig.transparent": True,
    "axes.facecolor": "black",
    "image.origin": "lower",
    "lines.linewidth": 9,
}


@pytest.mark.parametrize(
    "plot",
    [
        lambda: figures.plot_losses(HISTORY, "title"),
        lambda: figures.plot_reconstructions(*[np.eye(4)] * 4, (2, 2), title="title"),
        lambda: figures.plot_parts(np.eye(4), (2, 2), dead=[0, 1, 0, 0], title="title"),
        lambda: figures.plot_cluster_matrix(assign_clusters([0, 1], [1, 0]), "title"),
        lambda: figures.plot_embedding(np.eye(2), [0, 1], "title", "class"),
    ],
    ids=["losses", "reconstructions", "parts", "clusters", "embedding"],
)
def test_settings_of_the_user_change_no_picture(plot, tmp_path):
    expected = figures.png(plot())
    with matplotlib.rc_context(OF_A_USER):
        before = dict(matplotlib.rcParams)
        assert figures.png(plot()) == expected
        figures.save(plot(), tmp_path / "a.png")
        assert dict(matplotlib.rcParams) == before
    assert (tmp_path / "a.png").read_bytes() == expected


def test_threads_that_draw_leave_the_user_s_settings():
    with matplotlib.rc_context(OF_A_USER):
        before = dict(matplotlib.rcParams)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: figures.plot_losses(HISTORY), range(40)))
        assert dict(matplotlib.rcParams) == before


def test_pyplot_is_imported_only_where_it_makes_the_axes(tmp_path):
    script = f"""
import sys
import numpy as np
from ddnmf_np.evaluation import figures
from ddnmf_np.evaluation.metrics import assign_clusters
x = np.eye(4)
figures.save(figures.plot_losses([{{"loss_in": 1.0}}]), {str(tmp_path / "a.png")!r})
figures.save(figures.plot_reconstructions(x, x, x, x, (2, 2)), {str(tmp_path / "b.png")!r})
figures.save(figures.plot_parts(x, (2, 2)), {str(tmp_path / "c.png")!r})
matrix = figures.plot_cluster_matrix(assign_clusters([0, 1], [1, 0]), "")
figures.save(matrix, {str(tmp_path / "d")!r})
figures.save(figures.plot_embedding(x[:, :2], [0, 1, 2, 3]), {str(tmp_path / "e.png")!r})
assert "matplotlib.pyplot" not in sys.modules
import ddnmf_np.plots
from matplotlib.figure import Figure
ddnmf_np.plots.plot_losses([{{"loss_in": 1.0}}], ax=Figure().add_subplot())
assert "matplotlib.pyplot" not in sys.modules  # `plots` needs it only to make the axes itself
"""
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True)
    assert len(list(tmp_path.iterdir())) == 5


# Losses


def test_lines_are_the_history():
    figure = figures.plot_losses(HISTORY)
    drawn = lines(figure)
    assert set(drawn) == {"loss_in", "loss_sym", "loss_ap", "loss_nc"}  # loss_rec is never > 0
    for name, line in drawn.items():
        np.testing.assert_array_equal(line.get_xdata(), [1, 2, 5])
        np.testing.assert_array_equal(line.get_ydata(), [entry[name] for entry in HISTORY])
        assert line.get_color() == figures.LOSS_COLORS[name]
    axes = figure.axes[0]
    assert axes.get_yscale() == "log"
    assert not np.isfinite(axes.yaxis.get_transform().transform([0.0]))  # a zero leaves a gap
    assert axes.get_xlabel() == "epoch"
    assert axes.get_ylabel() == "loss per sample (log scale)"
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert [label.split(":")[0] for label in legend] == [
        "loss_in",
        "loss_sym",
        "loss_ap",
        "loss_nc",
    ]


def test_terms_have_markers_of_their_own_and_of_many_epochs_only_some():
    """A single epoch can be seen, and a printer without colours still tells the lines apart."""
    one = lines(figures.plot_losses(HISTORY[:1]))
    assert len({line.get_marker() for line in one.values()} - {"", "None"}) == 4
    many = lines(figures.plot_losses([{"loss_in": 1.0 + k} for k in range(300)]))["loss_in"]
    assert 300 / many.get_markevery() <= 20
    np.testing.assert_array_equal(many.get_xdata(), np.arange(1, 301))


def test_absent_and_diverged_values_leave_gaps(tmp_path):
    history = [*HISTORY, {"epoch": 6, "loss_in": np.inf, "loss_sym": 1.0, "loss_rec": 2.0}]
    figure = figures.plot_losses(history)
    figures.save(figure, tmp_path / "losses.png")
    np.testing.assert_array_equal(lines(figure)["loss_rec"].get_ydata(), [np.nan, 0, np.nan, 2])
    assert np.isfinite(figure.axes[0].get_ylim()).all()


@pytest.mark.parametrize("history", [[], [{"epoch": 0}], [{"loss_in": 0.0}]])
def test_no_loss_yet(tmp_path, history):
    figure = figures.plot_losses(history)
    figures.save(figure, tmp_path / "losses.png")
    assert texts(figure.axes[0]) == ["no loss yet"]
    assert not figure.legends


# Reconstructions


def test_images_stand_in_their_places():
    rng = np.random.default_rng(0)
    clean, noisy, student, supervisor = rng.random((4, 7, 15))
    figure = figures.plot_reconstructions(clean, noisy, student, supervisor, (3, 5), n=2)
    axes = figure.axes[0]
    pixels = np.ma.filled(axes.images[0].get_array(), np.nan)
    assert pixels.shape == (4 * 3 + 3, 2 * 5 + 1)
    np.testing.assert_array_equal(pixels[0:3, 0:5], clean[0].reshape(3, 5))
    np.testing.assert_array_equal(pixels[4:7, 6:11], noisy[1].reshape(3, 5))
    np.testing.assert_array_equal(pixels[8:11, 0:5], student[0].reshape(3, 5))
    np.testing.assert_array_equal(pixels[12:15, 6:11], supervisor[1].reshape(3, 5))
    assert np.isnan(pixels[3]).all()
    assert np.isnan(pixels[:, 5]).all()
    assert axes.images[0].get_clim() == (clean[:2].min(), clean[:2].max())
    labels = axes.get_yticklabels()
    assert [label.get_text() for label in labels] == ["clean", "noisy", "student", "supervisor"]
    assert labels[2].get_color() == figures.STUDENT_COLOR
    assert labels[3].get_color() == figures.SUPERVISOR_COLOR
    np.testing.assert_array_equal(axes.get_yticks(), [1, 5, 9, 13])
    np.testing.assert_array_equal(axes.get_xticks(), [2, 8])


def test_fewer_images_than_asked_for_and_a_black_one(tmp_path):
    black = np.zeros((1, 4))
    figure = figures.plot_reconstructions(black, black, black, black, (2, 2), n=10)
    figures.save(figure, tmp_path / "one.png")
    assert figure.axes[0].images[0].get_array().shape == (11, 2)
    assert figure.axes[0].images[0].get_clim() == (0, 1)


def test_other_data_are_drawn_as_steps():
    rng = np.random.default_rng(0)
    rows = rng.random((4, 3, 6))
    figure = figures.plot_reconstructions(*rows, image_shape=None)
    grid = np.reshape(figure.axes, (4, 3))
    for row in range(4):
        for column in range(3):
            steps = grid[row, column].patches[0].get_data()
            np.testing.assert_array_equal(steps.values, rows[row, column])
            np.testing.assert_array_equal(steps.edges, np.arange(7) - 0.5)
    assert to_hex(grid[2, 0].patches[0].get_facecolor()).upper() == figures.STUDENT_COLOR
    assert to_hex(grid[3, 0].patches[0].get_facecolor()).upper() == figures.SUPERVISOR_COLOR
    labels = [axes.get_ylabel() for axes in grid[:, 0]]
    assert labels == ["clean", "noisy", "student", "supervisor"]


def test_reconstructions_that_do_not_fit():
    x = np.ones((2, 6))
    with pytest.raises(DataError, match=r"shapes differ: .*'noisy': \(1, 6\).*; pass the same"):
        figures.plot_reconstructions(x, x[:1], x, x, None)
    with pytest.raises(DataError, match=r"image_shape is \(2, 2\) for 6 features; pass"):
        figures.plot_reconstructions(x, x, x, x, (2, 2))
    with pytest.raises(DataError, match="n is 0; show at least one"):
        figures.plot_reconstructions(x, x, x, x, (2, 3), n=0)


# Parts


@pytest.mark.parametrize("rank", [1, 10, 37])
def test_every_part_is_labelled_and_stands_under_its_label(rank, tmp_path):
    parts = np.random.default_rng(0).random((rank, 12))
    dead = np.arange(rank) % 4 == 2
    figure = figures.plot_parts(parts, (3, 4), dead=dead)
    figures.save(figure, tmp_path / "parts.png")
    axes = figure.axes[0]
    pixels = np.ma.filled(axes.images[0].get_array(), np.nan)
    assert texts(axes) == [f"unit {k}{' dead' if dead[k] else ''}" for k in range(rank)]
    for k, text in enumerate(axes.texts):
        x, y = text.get_position()
        left = round(x + 0.5 - 4 / 2)
        below = np.arange(pixels.shape[0]) > y
        top = np.flatnonzero(below & np.isfinite(pixels[:, left]))[0]
        np.testing.assert_array_equal(pixels[top : top + 3, left : left + 4].ravel(), parts[k])
    assert np.isfinite(pixels).sum() == parts.size
    assert len(axes.lines) == dead.sum()  # the crosses
    assert axes.images[0].get_clim() == (0, parts.max())


def test_effects_of_both_signs_are_on_a_scale_with_white_at_zero():
    parts = np.array([[0.0, 1.0, 2.0, 3.0], [4.0, 0.0, 0.0, 0.0]]) - 1.0
    figure = figures.plot_parts(parts, (2, 2))
    image = figure.axes[0].images[0]
    assert image.get_clim() == (-3, 3)
    assert np.nansum(np.ma.filled(image.get_array(), np.nan)) == parts.sum()
    np.testing.assert_allclose(image.cmap(image.norm(0.0))[:3], 1, atol=0.05)
    assert figure.axes[1].get_ylabel() == "change of the output"


def test_parts_of_other_data_are_a_heat_map(tmp_path):
    parts = np.random.default_rng(0).random((3, 9))
    figure = figures.plot_parts(parts, None, dead=[False, True, False])
    figures.save(figure, tmp_path / "parts.png")
    axes = figure.axes[0]
    np.testing.assert_array_equal(axes.images[0].get_array(), parts)
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["unit 0", "unit 1 (dead)", "unit 2"]
    assert axes.get_xlabel() == "feature"


def test_black_parts_can_be_drawn(tmp_path):
    figures.save(figures.plot_parts(np.zeros((2, 4)), (2, 2)), tmp_path / "black.png")


def test_parts_that_do_not_fit():
    with pytest.raises(DataError, match=r"dead has shape \(2,\); expected \(3,\)"):
        figures.plot_parts(np.eye(3), None, dead=[True, False])


# Cluster matrix


def test_matrix_shows_counts_and_frames_the_matched_pairs():
    y_true = ["a"] * 4 + ["b"] * 5
    y_pred = [7] * 3 + [5] + [9] * 4 + [5]
    assigned = assign_clusters(y_true, y_pred)
    axes = figures.plot_cluster_matrix(assigned, "three clusters").axes[0]
    shown = {text.get_position(): text.get_text() for text in axes.texts}
    assert shown == {
        (column, row): str(count) for (row, column), count in np.ndenumerate(assigned.matrix)
    }
    np.testing.assert_allclose(axes.images[0].get_array(), assigned.matrix / [[4], [5]])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["7", "9", "5"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert [frame.get_xy() for frame in axes.patches] == [(-0.5, -0.5), (0.5, 0.5)]
    assert axes.get_title() == "three clusters"
    assert axes.get_ylabel() == "class"
    assert axes.get_xlabel().startswith("cluster")


def test_matrix_of_many_clusters_has_no_numbers(tmp_path):
    y = np.arange(300) % 10
    figure = figures.plot_cluster_matrix(assign_clusters(y, np.arange(300) % 30), "")
    figures.save(figure, tmp_path / "matrix.png")
    assert not figure.axes[0].texts
    assert len(figure.axes[0].get_xticklabels()) == 30


# Embedding


def test_points_of_each_label_have_its_colour():
    points = np.random.default_rng(0).random((60, 2))
    labels = np.arange(60) % 11
    figure = figures.plot_embedding(points, labels, "codes")
    axes = figure.axes[0]
    assert len(axes.collections) == 11
    for k, cloud in enumerate(axes.collections):
        np.testing.assert_array_equal(cloud.get_offsets(), points[labels == k])
        assert to_hex(cloud.get_facecolor()[0]) == figures.CLASS_COLORS[k % 10].lower()
    tenth, first = axes.collections[10].get_paths()[0], axes.collections[0].get_paths()[0]
    assert len(tenth.vertices) != len(first.vertices)  # the same colour, another marker
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(map(str, range(11)))
    assert axes.get_title() == "codes"
    assert axes.get_xlabel() == "dimension 1 (no unit)"


def test_name_stands_among_its_points_though_they_lie_in_two_places():
    here = np.random.default_rng(0).normal(scale=0.1, size=(60, 2))
    points = np.concatenate([10 * here[:40] + [50.0, 0.0], here])
    axes = figures.plot_embedding(points, ["t"] * 100).axes[0]
    assert texts(axes) == ["t"]
    assert np.linalg.norm(axes.texts[0].get_position()) < 0.1


def test_points_without_labels_and_many_names(tmp_path):
    points = np.random.default_rng(0).random((30, 2))
    plain = figures.plot_embedding(points, None, "codes")
    assert len(plain.axes[0].collections) == 1
    assert not plain.legends
    many = figures.plot_embedding(points, list(range(30)))
    assert not many.axes[0].texts
    assert len(many.legends[0].get_texts()) == 30
    figures.save(many, tmp_path / "many.png")


def test_points_in_one_place(tmp_path):
    figures.save(figures.plot_embedding(np.zeros((4, 2)), [0, 0, 1, 2]), tmp_path / "zeros.png")
    figures.save(figures.plot_embedding(np.zeros((1, 2))), tmp_path / "one.png")


def test_points_that_cannot_be_drawn():
    with pytest.raises(DataError, match=r"points2d has shape \(4, 3\); expected \(k, 2\)"):
        figures.plot_embedding(np.zeros((4, 3)))
    with pytest.raises(DataError, match="labels has 3 entries for 4 points; pass one"):
        figures.plot_embedding(np.zeros((4, 2)), [0, 1, 2])


# Words


def words_outside(figure):
    """Return the texts of a figure that its edge cuts off."""
    figure.canvas.draw()
    width, height = figure.canvas.get_width_height()
    # Labels of ticks are beyond the edge where the tick itself is not drawn.
    ticks = {t for tick in figure.findobj(Tick) for t in (tick.label1, tick.label2)}
    found = [t for t in figure.findobj(Text) if t not in ticks and t.get_text().strip()]
    boxes = {text.get_text(): text.get_window_extent() for text in found}
    return [
        word
        for word, box in boxes.items()
        if min(box.x0, box.y0) < -1 or box.x1 > width + 1 or box.y1 > height + 1
    ]


LONG = "a data set of a somewhat long name, test split: effect of each unit, 5th to 95th percentile"


@pytest.mark.parametrize("rank", [1, 3, 37])  # the narrowest, one row, several rows
@pytest.mark.parametrize("shape", [None, (4, 4)])
def test_no_word_of_the_parts_is_cut_off(rank, shape):
    parts = np.random.default_rng(0).random((rank, 16))
    for values, title in ((parts, LONG), ((parts - 0.5) / 1000, LONG), (parts, "")):
        figure = figures.plot_parts(values, shape, title=title)
        assert words_outside(figure) == []
        assert figure.axes[0].get_title().replace("\n", " ") == title


@pytest.mark.parametrize(("k", "title"), [(1, LONG), (2, ""), (10, LONG)])
def test_no_word_of_the_other_pictures_is_cut_off(k, title):
    x = np.random.default_rng(0).random((k, 16))
    y = np.arange(k)
    drawn = [
        figures.plot_losses(HISTORY, title),
        figures.plot_reconstructions(x, x, x, x, (4, 4), title=title),
        figures.plot_cluster_matrix(assign_clusters(y, y), title),
        figures.plot_embedding(x[:, :2], y, title, "class"),
        figures.plot_reconstructions(x, x, x, x, None, n=4, title=title),
    ]
    for figure in drawn:
        assert words_outside(figure) == []
    for figure in drawn[:4]:
        assert figure.axes[0].get_title().replace("\n", " ") == title
    assert drawn[4].get_suptitle().replace("\n", " ") == f"{title} sample".strip()
    assert drawn[3].legends[0].get_title().get_text() == "class"


# Colours


# Machado, Oliveira and Fernandes (2009), "A physiologically-based model for simulation of color
# vision deficiency", severity 1, in linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)


def lab(color, vision):
    """CIE L*a*b* (D65) of a colour as it is seen."""
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = XYZ @ np.clip(np.array(vision) @ linear, 0, 1) / XYZ.sum(axis=1)
    x, y, z = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("colors", [figures.CLASS_COLORS, tuple(figures.LOSS_COLORS.values())])
@pytest.mark.parametrize("vision", VISION)
def test_colours_can_be_told_apart(colors, vision):
    # A difference of 2.3 is just noticeable side by side; matplotlib's default cycle, which
    # is not safe, falls to 5 under protanopia.
    seen = [lab(color, VISION[vision]) for color in colors]
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 15
    assert all(lab(color, VISION[vision])[0] < 85 for color in colors)  # against white

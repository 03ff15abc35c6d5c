"""``python -m ddnmf_np.bench scaling``."""

import json
from types import SimpleNamespace

import pytest
from matplotlib import image

from ddnmf_np.backends.select import get_ops
from ddnmf_np.bench import scaling
from ddnmf_np.bench.__main__ import main
from ddnmf_np.bench.options import ScalingOptions
from ddnmf_np.bench.scaling import (
    BASE,
    SIZES,
    Point,
    draw,
    fits,
    make_trainer,
    memory,
    to_markdown,
)


def test_a_real_run(tmp_path, capsys):
    flags = [
        "--sizes",
        "tiny",
        "--rounds",
        "1",
        "--seconds",
        "0",
        "--threads",
        "1",
        "--fast",
        "off",
    ]
    assert main(["scaling", *flags, "--output", str(tmp_path)]) == 0
    names = ["scaling.json", "scaling.md", "scaling.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    results = json.loads((tmp_path / "scaling.json").read_text())
    assert len(results["fits"]) == 8
    assert all(p["seconds"][0] > 0.0 and p["bytes"] > 0 for p in results["points"])
    assert image.imread(tmp_path / "scaling.png").shape[1] == 864
    printed = capsys.readouterr().out
    assert printed.strip() == (tmp_path / "scaling.md").read_text().strip()
    assert printed.count("| time of an epoch |") == printed.count("| memory without") == 4


@pytest.mark.parametrize("name", SIZES)
def test_fits_find_the_exponents_that_are_there(name):
    base, sizes = BASE[name], SIZES[name]
    points = [
        {**p._asdict(), "seconds": [9.0, 1e-6 * p.n * p.D**2 * p.depth], "bytes": p.D * p.batch}
        for p in {base._replace(**{s: v}) for s, values in sizes.items() for v in values}
    ]
    for point in points:  # the fastest round counts
        point["seconds"][0] = 9.0 + point["seconds"][1]
    found = {(f["quantity"], f["size"]): f for f in fits(points, name)}
    exponents = {key: round(f["exponent"], 6) for key, f in found.items()}
    assert exponents == {
        ("seconds", "n"): 1, ("seconds", "D"): 2, ("seconds", "depth"): 1, ("seconds", "batch"): 0,
        ("bytes", "n"): 0, ("bytes", "D"): 1, ("bytes", "depth"): 0, ("bytes", "batch"): 1,
    }  # fmt: skip
    assert all(f["last"] == pytest.approx(f["exponent"]) for f in found.values())


def test_a_point_is_what_it_says():
    trainer = make_trainer(
        Point(n=21, D=9, depth=4, batch=5), ScalingOptions(threads=1), get_ops(fast="off")
    )
    assert trainer.model.supervisor.widths == [9] * 5
    assert trainer.model.student.depth == 6
    assert trainer.x.shape == (21, 9)
    assert [s.stop - s.start for s in trainer.batches] == [5, 5, 5, 5, 1]


def test_memory_counts_parameters_and_not_the_data():
    ops, options = get_ops(fast="off"), ScalingOptions(threads=1)
    small, large = (memory(Point(n, 256, 2, 8), options, ops) for n in (64, 512))
    parameters = make_trainer(Point(64, 256, 2, 8), options, ops).model.n_parameters()
    # p, g, m and v of four bytes each, and the buffers
    assert 16 * parameters <= small <= 24 * parameters
    assert large - small < 0.5 * (512 - 64) * 256 * 4


def test_memory_on_a_device_leaves_out_what_the_backend_holds(monkeypatch):
    """For example cuBLAS's workspaces, 32 MiB for each stream, hide how memory grows."""
    held, needed = 4 * 32 * 2**20, 12_345
    pool = SimpleNamespace(taken=held, total_bytes=lambda: pool.taken)
    pool.free_all_blocks = lambda: setattr(pool, "taken", held)

    class Trainer:
        x = SimpleNamespace(nbytes=700)

        def train(self, epochs):
            pool.taken = held + needed + self.x.nbytes

    ops = SimpleNamespace(on_host=False, xp=SimpleNamespace(get_default_memory_pool=lambda: pool))
    monkeypatch.setattr(scaling, "make_trainer", lambda *point: Trainer())
    assert memory(BASE["tiny"], ScalingOptions(threads=1), ops) == needed


def test_the_picture_has_a_panel_for_each_claim():
    base, sizes = BASE["tiny"], SIZES["tiny"]
    points = [
        {**p._asdict(), "seconds": [1e-3 * p.n], "bytes": 1000 * p.D}
        for p in {base._replace(**{s: v}) for s, values in sizes.items() for v in values}
    ]
    results = {
        "options": {"sizes": "tiny", "rounds": 1, "threads": 1},
        "points": points,
        "fits": fits(points, "tiny"),
        "backend": "numpy", "device": "CPU", "cpu": "x", "commit": None, "created": "2026-01-01",
        "environment": {"versions": {}, "cpus": {"usable": 1}, "platform": "y"},
    }  # fmt: skip
    figure = draw(results)
    assert len([ax for ax in figure.axes if ax.lines]) == 8
    assert "commit unknown" in to_markdown(results)

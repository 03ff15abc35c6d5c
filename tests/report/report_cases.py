"""A run folder as ``ddnmf_np.train`` leaves it, and a reader of its page."""

import json
from html.parser import HTMLParser

import numpy as np

from ddnmf_np.config import configure
from ddnmf_np.evaluation import figures as plots
from ddnmf_np.runs.folder import RunFolder

VOID = {"meta", "link", "img", "br", "wbr", "rect", "hr", "input"}

HISTORY = [
    {"epoch": k, "loss_in": 4.0 / k, "loss_sym": 1.0 / k, "loss_ap": 2.0 / k, "loss_nc": 1.0 / k,
     "seconds": 2.0 + k, "samples_per_second": 45 / (2.0 + k)}
    for k in (1, 2, 3)
]  # fmt: skip


def entry(labelled, sizes):
    """Return the scores of a clusterer, as `score_clustering` gives them."""
    found = {"objective": -12.5, "objectives": [-12.5, -13.0], "bic": 77.25, "converged": 1}
    found |= {"n_starts": 2, "cluster_sizes": sizes, "degenerate": None, "seconds": 0.1}
    if labelled:
        spread = {"mean": 0.55, "std": 0.1, "min": 0.4375, "max": 0.6875}
        found |= {"acc": 0.625, "nmi": 0.375, "ari": 0.125}
        found["spread"] = dict.fromkeys(("acc", "nmi", "ari"), spread)
    return found


def summary(labelled=True, rank=3):
    """Return the content of ``summary.json``."""
    return {
        "dataset": {"name": "points", "source": "/home/me/points.npz", "n_train": 45,
                    "n_features": 16},
        "objective": "paper", "epochs": 3, "seed": 5, "parameters": 1234, "losses": HISTORY[-1],
        "evaluation": {
            "split": "test", "n_samples": 15,
            "scores": {"kmeans": entry(labelled, [9, 6]),
                       "gmm-full": entry(labelled, [11, 4])},
            "code": {"mean": 0.5, "std": 0.25, "min": 0.0625, "max": 0.9375,
                     "unit_std": [0.1 * (k + 1) for k in range(rank)], "dead_units": 1,
                     "saturated": 0.02},
            "parts_sparsity": 0.75,
            "unexplained": {"ddnmf": 0.1251, "ddnmf_noisy": 0.1351, "noise": 0.0101, "mean": 1.0,
                            "pca": 0.2651, "nmf": None, "findings": []},
            "reconstruction_error": {"student_clean": 0.03, "student_noisy": 0.04,
                                     "supervisor": 0.01},
        },
        "wall_seconds": 100.0, "training_seconds": 3725.0, "peak_memory_mib": 256.0,
        "finished": "2030-01-02T03:04:05+00:00", "commit": "0123456789abcdef+",
        "backend": "numpy", "device": "CPU",
        "environment": {
            "versions": {"ddnmf-np": "0.0.1", "python": "3.12.1", "numba": None},
            "platform": "Linux-6", "cpus": {"count": 4, "usable": 2},
            "memory": {"total_bytes": 2**33, "available_bytes": 2**32},
            "threads": [{"library": "openblas", "version": "0.3", "threads": 2}],
        },
    }  # fmt: skip


def make_run(path, *, history=HISTORY, about=None, figures=plots, labelled=True, **options):
    """Leave a run folder: with pictures unless ``figures`` is None, finished if ``about``."""
    given = {"dataset": "/home/me/points.npz", "widths": (11, 7), "rank": 3, "epochs": 3, "seed": 5}
    config = configure(**(given | {"clusterers": ("kmeans", "gmm-full")} | options))
    folder = RunFolder(path)
    folder.create(config)
    folder.write_metrics(history)
    about = summary(labelled) if about is None else about
    if about:
        folder.write_summary(about)
    if figures:
        x = np.random.default_rng(0).random((4, 16))
        drawn = {
            "losses": plots.plot_losses(history),
            "reconstructions": plots.plot_reconstructions(x, x, x, x, (4, 4)),
            "parts": plots.plot_parts(x[:3], (4, 4)),
            "effects": plots.plot_parts(x[:3] - 0.5, (4, 4)),
            "embedding": plots.plot_embedding(x[:, :2], [0, 1, 1, 0]),
        }
        if labelled:
            drawn["clusters"] = plots.plot_losses([])  # any picture
        for name, figure in drawn.items():
            plots.save(figure, folder.figures / f"{name}.png")
    return folder


class Page(HTMLParser):
    """A page as a browser would find it: its text, its elements, and whether they are closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.words = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "title"):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def edit(path, change):
    """Change a JSON file in place."""
    found = json.loads(path.read_text("utf-8"))
    change(found)
    path.write_text(json.dumps(found), "utf-8")

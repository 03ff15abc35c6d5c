"""Small campaigns and made-up records that the tests of the experiments share."""

import json
import os
import signal
from dataclasses import dataclass
from fnmatch import fnmatch

from ddnmf_np.evaluation import clustering as clustering_of_codes
from ddnmf_np.evaluation.maps import embed
from ddnmf_np.experiments import campaign
from ddnmf_np.experiments.__main__ import main
from ddnmf_np.experiments.records import FORMAT, checksum_of, key_of
from ddnmf_np.experiments.settings import Source

PLACES = {"mnist": "digits", "fashion-mnist": "digits"}
"""scikit-learn's digits stand for both sets: 1,437 images to train on, 360 to score."""

OPTIONS = {"widths": (16, 11), "rank": 4, "batch_size": 64, "fast": "off"}

FLAGS = ["--epochs", "1", "--starts", "1", "--samples", "200"]


@dataclass(frozen=True)
class Deadly(Source):
    """A data set that kills the process that loads it, as too large a one would."""

    def load(self):
        os.kill(os.getpid(), signal.SIGKILL)


def command(folder, *words, places=PLACES, options=OPTIONS):
    """Run the command line on small networks and images."""
    return main([*words, *FLAGS, "--output", str(folder)], places=places, options=options)


def flatten_maps(patch):
    """Make each map by PCA: t-SNE takes most of the time, and other tests are about it."""
    for module in (campaign, clustering_of_codes):
        patch.setattr(module, "embed", _by_pca)


def _by_pca(H, method, n_components, seed):
    assert method in ("tsne", "umap")
    return embed(H, "pca", n_components, seed)


def records_of(folder):
    """Return the line of every record by its name; of two with one name, the later."""
    path = folder / "records.jsonl"
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    # A last line without its end is being written.
    return {json.loads(line)["name"]: line for line in lines if line.endswith(b"\n")}


def drop(folder, pattern):
    """Remove the records whose names match, and return them."""
    path = folder / "records.jsonl"
    names = [name for name in records_of(folder) if fnmatch(name, pattern)]
    assert names
    lines = path.read_bytes().splitlines(keepends=True)
    gone = [any(f'"{name}"'.encode() in line for name in names) for line in lines]
    path.write_bytes(b"".join(line for line, out in zip(lines, gone, strict=True) if not out))
    return [json.loads(line) for line, out in zip(lines, gone, strict=True) if out]


def clustering(model="ae1", seed=0, acc=0.5, **more):
    """Return a record of a clustering that nobody has computed."""
    noisy = model.startswith("ddnmf") and model != "ddnmf-auto"
    noise_rate = more.pop("noise_rate", 0.1 if noisy else 0.0)
    method = more.pop("method", "kmeans")
    dataset, images = more.pop("dataset", "mnist"), more.pop("images", "clean")
    identity = {"made up": [model, seed, method, dataset, images, noise_rate, more]}
    record = {
        "name": f"{model}-{seed}-clustering-{key_of(identity)}",
        "format": FORMAT,
        "kind": "clustering",
        "key": key_of(identity),
        "identity": identity,
        "dataset": dataset,
        "model": model,
        "seed": seed,
        "epochs": None if model in ("raw", "nmf") else 30,
        "samples": None if model == "raw" else 60_000,
        "noise_rate": noise_rate,
        "n_test": 10_000,
        "images": images,
        "method": method,
        "starts": 10,
        "result": {
            "acc": acc,
            "nmi": acc - 0.05,
            "ari": acc - 0.1,
            "bic": None if method == "kmeans" else (-2000.0 if method == "gmm-full" else -1000.0),
            "degenerate": None,
            "cluster_sizes": [1000] * 10,
            "spread": {
                score: {"mean": m, "std": 0.01, "min": m - 0.02, "max": m + 0.02}
                for score, m in (("acc", acc), ("nmi", acc - 0.05), ("ari", acc - 0.1))
            },
        },
    }
    return json.loads(json.dumps(record | more))


def codes(model="supervisor-demo", seed=0, **more):
    """Return a record of codes that nobody has computed."""
    identity = {"made up codes": [model, seed, more]}
    record = {
        "name": f"{model}-{seed}-codes-{key_of(identity)}",
        "format": FORMAT,
        "kind": "codes",
        "key": key_of(identity),
        "identity": identity,
        "dataset": "mnist",
        "model": model,
        "seed": seed,
        "epochs": 30,
        "samples": 60_000,
        "noise_rate": 0.1,
        "n_test": 10_000,
        "seconds": 1.0,
        "arrays": None,
        "losses": {"loss_in": 3.0, "loss_sym": 1.0, "loss_ap": 2.0, "loss_nc": 0.5},
        "reconstruction_error": {"student_clean": 0.02, "supervisor": 0.01},
        "code": {"unit_std": [0.1, 0.3], "dead_units": 1},
    }
    return json.loads(json.dumps(record | more))


def sealed(record):
    """Return the record with its checksum."""
    return record | {"checksum": checksum_of(record)}


def write(store, *records):
    """Append records, with their checksums, to the store's file."""
    store.create()
    with store.path.open("a") as stream:
        stream.writelines(json.dumps(sealed(record)) + "\n" for record in records)

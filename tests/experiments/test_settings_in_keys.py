"""Settings of clusterings and maps are part of a record's key, and committed keys are current."""

import json
import shlex
from pathlib import Path

import pytest

from ddnmf_np.evaluation import clustering, maps
from ddnmf_np.experiments import baselines
from ddnmf_np.experiments.__main__ import make_settings, parse
from ddnmf_np.experiments.baselines import DataInfo, Representation
from ddnmf_np.experiments.campaign import plan
from ddnmf_np.experiments.claims import load
from ddnmf_np.experiments.settings import Source

ROOT = Path(__file__).parents[2]
INFO = DataInfo(Source("mnist", "digits"), "hash", 100, 50, 784, 10)
GROUPS = {
    "kmeans": clustering.KMEANS_OPTIONS,
    "mixture": clustering.MIXTURE_OPTIONS,
    "tsne": maps.TSNE_OPTIONS,
    "pca": baselines.PCA_OPTIONS,
}
USERS = {
    "kmeans": {"kmeans"},
    "mixture": {"gmm-spherical", "gmm-full", "gmm-full-tsne"},
    "tsne": {"gmm-full-tsne", "map"},
    "pca": {"gmm-spherical", "gmm-full", "gmm-full-tsne"},
}
"""Clusterers and maps whose keys depend on a group; the codes are images, which are wide."""


def keys():
    spec = Representation(INFO, "raw", 0)
    methods = ("kmeans", "gmm-spherical", "gmm-full", "gmm-full-tsne")
    found = {method: spec.clustering("clean", method, 10).key for method in methods}
    return found | {"map": spec.embedding(2000).key}


@pytest.mark.parametrize(
    ("group", "name"), [(group, name) for group, options in GROUPS.items() for name in options]
)
def test_a_change_of_a_setting_changes_the_keys_of_what_uses_it_alone(monkeypatch, group, name):
    before = keys()
    monkeypatch.setitem(GROUPS[group], name, "another")
    after = keys()
    assert {what for what in before if before[what] != after[what]} == USERS[group]


def test_a_change_of_the_start_of_a_map_changes_its_keys(monkeypatch):
    before = keys()
    monkeypatch.setattr(maps, "START_SCALE", 1.0)
    assert {what for what, key in keys().items() if key != before[what]} == USERS["tsne"]


def test_a_setting_that_is_new_is_in_the_key(monkeypatch):
    before = keys()["kmeans"]
    monkeypatch.setitem(clustering.KMEANS_OPTIONS, "algorithm", "elkan")
    assert keys()["kmeans"] != before


def test_committed_records_are_those_that_the_commands_of_the_page_ask_for():
    """Otherwise the commands of the page would compute all records again."""
    text = (ROOT / "derivations" / "experiments.md").read_text("utf-8")
    block = text.split("The commands, ")[1].split("```")[1]
    lines = block.replace("\\\n", " ").strip().splitlines()
    commands = [shlex.split(line)[3:] for line in lines]
    committed, growing = {}, set()
    for path in (ROOT / "notebooks" / "results").rglob("records.jsonl"):
        for line in map(json.loads, path.read_text("utf-8").splitlines()):
            if path.parent.name == "curves":
                growing |= {line["name"]} if line["model"] != "ddnmf-auto" else set()
            elif line["kind"] != "parts":  # a campaign by itself, see test_known_parts.py
                committed[line["name"]] = line
    hashes = {
        r["dataset"]: r["identity"]["data_sha256"]
        for r in committed.values()
        if r["kind"] == "codes"
    }
    assert committed.keys() == asked_by(commands, hashes)
    steps = [command.split() for step in load().steps.values() for command in step]
    steps = [[word for word in words if word != "ddnmf-auto"] for words in steps]  # reads the data
    steps = [words for words in steps if words != ["parts"]]
    assert growing <= asked_by(steps, hashes)


def test_nmf_of_the_campaign_reached_its_tolerance():
    """A fit that stops at its limit of iterations is not the NMF that the claims are about."""
    files = [
        ROOT / "notebooks" / "results" / name / "records.jsonl"
        for name in ("curves", "experiments")
    ]
    records = [json.loads(line) for path in files for line in path.read_text("utf-8").splitlines()]
    fits = [r for r in records if r["kind"] == "codes" and r["model"] in ("nmf", "ae2-nmf")]
    assert [r["name"] for r in fits if r["iterations"] >= r["identity"]["max_iter"]] == []


def asked_by(commands, hashes):
    """Return the names of the records that commands make."""
    asked = set()
    for words in commands:
        settings = make_settings(parse(words))
        infos = {
            source.name: DataInfo(
                source, hashes[source.name], settings.samples or 60_000, 10_000, 784, 10
            )
            for source in settings.sources
        }
        for unit in plan(settings, infos):
            asked |= {str(unit.clustering(need)) for need in unit.needs}
            asked |= {str(unit.spec.embedding(unit.map_samples))} if unit.map_samples else set()
            asked |= {str(unit.spec.name)} if unit.spec.model != "raw" else set()
    return asked

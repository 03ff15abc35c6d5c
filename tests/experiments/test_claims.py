"""Claims: what the file may say, how a claim is decided, and the table."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from experiments_cases import OPTIONS, PLACES, clustering, records_of
from scipy import stats

from ddnmf_np.errors import UsageError
from ddnmf_np.experiments import claims, parts, published
from ddnmf_np.experiments.__main__ import commands_of, main, make_settings, parse
from ddnmf_np.experiments.claims import Claim, Claims, compare, decide, holm
from ddnmf_np.experiments.networks import NOISE_MODELS
from ddnmf_np.experiments.settings import SOURCES

RULE = claims.load().rule
SHORT = ["--epochs", "1", "--starts", "1", "--samples", "120", "--seeds", "1"]
"""A tiny budget for every step."""


def records(model, scores, **more):
    """Return a clustering with full covariances for each seed; 60,000 images."""
    found = []
    for seed, acc in enumerate(scores):
        record = clustering(model, seed, acc=0.99, method="gmm-full", **more)
        record["result"]["spread"]["acc"]["mean"] = acc
        found.append(record)
    return found


def verdict_of(lines, **claim):
    """Return the verdict on one claim, and its test, if it is the only one."""
    claim = {"text": "t", "source": "s", "datasets": ["mnist"], "steps": ["mnist"], **claim}
    [test] = decide(lines, Claims(RULE, {}, [Claim(**claim)]))
    return test.verdict(holm([test.p])[0], RULE), test


# -- the file -----------------------------------------------------------------------------


def test_every_row_and_step_of_the_file_exists():
    found = claims.load()
    for claim in found.claims:
        assert claim.kind in ("better", "not worse", "parts")
        assert claim.over in ("each", "mean")
        assert set(claim.steps) <= found.steps.keys()
        for one, other in claim.pairs:
            first, second = (found.line(text, claim.kind) for text in (one, other))
            assert first != second
            assert first.title != second.title
        assert set(claim.datasets) <= {*(parts.KNOWN if claim.kind == "parts" else SOURCES)}


def made_by(command):
    """Yield data set, network and number of epochs of everything that a command makes."""
    settings = make_settings(parse(command))
    for result in settings.results:
        models = NOISE_MODELS if result in ("table3", "figure3") else settings.models_of(result)
        for source, model in itertools.product(settings.sources_of(result), models):
            for epochs in settings.lengths_of(result, model):
                yield source.name, model, epochs


def test_rows_are_those_that_the_steps_make():
    """A claim would otherwise never be measured."""
    found = claims.load()
    for claim in found.claims:
        if claim.kind == "parts":
            continue
        commands = [command for step in claim.steps for command in found.steps[step]]
        made = {one for command in commands for one in made_by(command.split())}
        for dataset, text in itertools.product(claim.datasets, itertools.chain(*claim.pairs)):
            line = found.line(text, claim.kind)
            lengths = {e for d, model, e in made if (d, model) == (dataset, line.model)}
            assert lengths if line.epochs is None else line.epochs in lengths, text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ddnmf-dem 5", "model 'ddnmf-dem' is unknown; did you mean 'ddnmf-demo'"),
        ("ae1 often", "'often' is no epochs, noise, method"),
    ],
)
def test_row_that_does_not_exist_is_an_error(text, message):
    with pytest.raises(UsageError, match=message):
        claims.load().line(text, "better")


# -- statistics ---------------------------------------------------------------------------


def test_pair_is_that_of_the_formulas():
    one, other = np.array([0.7, 0.8, 0.75, 0.9]), np.array([0.6, 0.65, 0.8, 0.7])
    d = one - other
    pair = compare("", one, other)
    half = stats.t.ppf(0.975, 3) * d.std(ddof=1) / 2.0
    assert pair.mean == pytest.approx(d.mean())
    assert pair.interval == pytest.approx((d.mean() - half, d.mean() + half))
    t = d.mean() / (d.std(ddof=1) / 2.0)
    assert pair.p == pytest.approx(2.0 * stats.t.sf(abs(t), 3))
    assert pair.iqm == pytest.approx(np.sort(d)[1:3].mean())
    wins = [(a > b) + 0.5 * (a == b) for a in one for b in other]
    assert pair.improvement == pytest.approx(np.mean(wins))


def test_pair_is_tested_against_a_value():
    d = np.array([0.001, -0.002, 0.003, 0.0])
    near, wide, far = (compare("", x, np.zeros(4), -0.02) for x in (d, d * 20, d - 0.5))
    assert near.p < 0.001 < 0.05 < wide.p
    assert far.p < 0.001
    assert (near.above, far.above) == (True, False)
    assert near.p == pytest.approx(stats.ttest_1samp(d + 0.02, 0.0).pvalue)
    assert near.interval == compare("", d, np.zeros(4)).interval  # that of the difference


def test_rows_without_spread():
    same = np.full(3, 0.5)
    assert compare("", same, same).p == 1.0
    assert compare("", same, same, -0.02).p == 0.0
    better = compare("", same + 0.25, same)
    assert better.p == 0.0
    assert better.interval == (0.25, 0.25)
    assert not math.isnan(better.iqm)


def test_holm_is_that_of_the_definition():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.0125]) == [0.0125]
    assert holm([]) == []


# -- deciding -----------------------------------------------------------------------------

SCORES = [0.80, 0.81, 0.79, 0.80, 0.82]


def test_better_worse_level_and_open():
    lines = [
        *records("ae1", SCORES, epochs=30),
        *records("nmf", [s - 0.3 for s in SCORES[::-1]]),
        *records("ae2", [s + d for s, d in zip(SCORES, [3e-3, -2e-3, 0, 1e-3, 0], strict=True)]),
        *records("ddnmf-demo", [0.2, 0.9, 0.5, 0.99, 0.8]),
    ]
    assert verdict_of(lines, pairs=[["ae1 30", "nmf"]])[0] == "yes"
    assert verdict_of(lines, pairs=[["nmf", "ae1 30"]])[0] == "no"
    assert verdict_of(lines, pairs=[["ae1 30", "ae2 30"]])[0] == "no: level"
    assert verdict_of(lines, pairs=[["ae1 30", "ddnmf-demo 30"]])[0] == "not told apart"
    for pair, verdict in (
        (["ae1 30", "ae2 30"], "yes"),
        (["ae2 30", "ae1 30"], "yes"),
        (["ae1 30", "nmf"], "yes"),
        (["nmf", "ae1 30"], "no"),
        (["ae1 30", "ddnmf-demo 30"], "not told apart"),
    ):
        assert verdict_of(lines, pairs=[pair], kind="not worse")[0] == verdict, pair


def test_best_must_beat_every_rival_and_one_better_rival_is_enough():
    lines = [
        *records("ae1", SCORES),
        *records("nmf", [s - 0.3 for s in SCORES[::-1]]),
        *records("ae2", [s - 0.1 for s in SCORES[::-1]]),
        *records("raw", [s + 0.1 for s in SCORES[::-1]], epochs=None),
        *records("ddnmf-demo", [0.2, 0.9, 0.5, 0.99, 0.7]),
    ]
    rivals = {"nmf": "nmf", "ae2": "ae2 30", "raw": "raw", "open": "ddnmf-demo 30"}

    def best_of(*names):
        return verdict_of(lines, pairs=[["ae1 30", rivals[name]] for name in names])

    verdict, test = best_of("nmf", "ae2")
    assert verdict == "yes"
    assert test.p == max(pair.p for pair in test.pairs)
    assert best_of("nmf", "open")[0] == "not told apart"
    verdict, test = best_of("nmf", "ae2", "raw")
    assert verdict == "no"
    assert test.p == pytest.approx(3 * test.pairs[2].p)


def test_mean_over_representations_is_one_comparison():
    lines = [*records("ae1", SCORES), *records("nmf", SCORES[::-1])]
    for model in ("ae1", "nmf"):
        for record in records(model, [s - 0.2 for s in SCORES]):
            lines.append(record | {"method": "kmeans"})
    pairs = [["ae1 30", "ae1 30 kmeans"], ["nmf", "nmf kmeans"]]
    verdict, test = verdict_of(lines, pairs=pairs, over="mean")
    assert verdict == "yes"
    [pair] = test.pairs
    assert pair.mean == pytest.approx(0.2)
    assert pair.title == "mean over 2 representations"


def test_only_seeds_length_size_and_noise_of_the_rows_count():
    lines = [
        *records("ae1", SCORES[:4], epochs=10),
        *records("nmf", SCORES),
        *records("ae1", [0.1] * 5, epochs=20),
        *records("ae1", [0.1] * 5, epochs=10, samples=10_000),
        *records("ae1", [0.1] * 5, epochs=10, noise_rate=0.5),
        *records("ae1", [0.1] * 5, epochs=10, images="noisy"),
    ]
    _, test = verdict_of(lines, pairs=[["ae1 10", "nmf"]])
    assert test.pairs[0].n == 4
    assert test.pairs[0].mean == 0.0
    verdict, test = verdict_of(lines[:2] + lines[4:9], pairs=[["ae1 10", "nmf"]])
    assert (verdict, test.p, test.pairs[0].n) == ("2 of 5 seeds", 1.0, 2)
    verdict, test = verdict_of(lines[:1] + lines[4:9], pairs=[["ae1 10", "nmf"]])
    assert (verdict, test.p, test.pairs) == ("not measured", 1.0, ())


def test_maps_that_are_made_again_do_not_count():
    """With --map-seeds a network has a record for each of its maps; `again` counts them from 0."""
    first = [*records("ae1", SCORES), *records("nmf", [s - 0.2 for s in SCORES[::-1]])]
    again = [record | {"again": 1} for record in records("ae1", [0.1] * 5)]
    for lines in (first + again, again + first):
        _, test = verdict_of(lines, pairs=[["ae1 30", "nmf"]])
        assert test.pairs[0].mean == pytest.approx(0.2)


def test_seeds_of_a_row_come_from_one_folder():
    """Two folders may have one run twice, rounded differently; a mixture of both is neither."""
    there = [r | {"folder": "there"} for r in records("ae1", SCORES)]
    here = [r | {"folder": "here"} for r in records("ae1", [0.1] * 5)]
    nmf = records("nmf", [s - 0.2 for s in SCORES[::-1]])
    for lines in (there + here[:4] + nmf, here[:4] + nmf + there):
        verdict, test = verdict_of(lines, pairs=[["ae1 30", "nmf"]])
        assert (verdict, test.folders) == ("yes", ["", "there"])
        assert test.pairs[0].mean == pytest.approx(0.2)
    _, test = verdict_of(there + here + nmf, pairs=[["ae1 30", "nmf"]])
    assert test.folders == ["", "here"]


def test_claims_without_records_still_count_for_holm():
    table = claims.render(records("raw", SCORES, epochs=None))
    tests = sum(len(claim.tests) for claim in claims.load().claims)
    assert f"for all {tests} tests" in table
    assert f"Of {tests} tests: {tests} wait for records" in table
    both = [
        *records("raw", SCORES, epochs=None),
        *records("nmf", [0.57, 0.64, 0.53, 0.62, 0.59]),
    ]
    table = claims.render(both)
    [line] = [line for line in table.splitlines() if "NMF makes" in line and "+0.2" in line]
    [test] = [t for t in decide(both) if t.pairs]
    assert "rows 3 and 4 | yes | not measured (step fashion) |" in table
    assert 0.001 < tests * test.p < 0.05
    assert "| MNIST | images, GMM, full - NMF, GMM, full | +0.2" in line
    assert f"] | {tests * test.p:.3f} | 5 | " in line
    assert f"Of {tests} tests: 1 yes, {tests - 1} wait for records" in table
    few = claims.render([r for r in both if r["seed"] < 3])
    assert "rows 3 and 4 | 3 of 5 seeds | not measured" in few
    assert "[+" not in few  # no look in between
    assert f"Of {tests} tests: {tests} wait for records" in few


def test_part_is_compared_with_the_best_control_of_its_seed():
    lines = []
    for seed in range(3):
        scores = {"demo": 0.5, "samples": 0.4, "kmeans": 0.45 + 0.1 * (seed == 2)}
        for method, score in scores.items():
            found = dict.fromkeys(parts.COLUMNS, 0.0) | {"cosine_decoded": 0.1}
            found |= {"cosine_effects": score + 0.01 * seed * (method == "demo")}
            lines.append({"kind": "parts", "dataset": "bars", "method": method, "seed": seed,
                          "found": found, "folder": "parts"})  # fmt: skip
    _, test = verdict_of(lines, pairs=[["demo", "controls"]], kind="parts", datasets=["bars"])
    differences = [0.05, 0.06, 0.52 - 0.55]
    assert test.pairs[0].mean == pytest.approx(np.mean(differences))
    assert test.folders == ["parts"]


def test_table_names_records_and_the_steps_of_what_is_missing():
    lines = [r | {"folder": "here"} for r in records("raw", SCORES, epochs=None)]
    lines += [r | {"folder": "there"} for r in records("nmf", [s - 0.2 for s in SCORES[::-1]])]
    table = claims.render(lines)
    assert "| here, there |" in table
    assert "| not measured (step mnist, paper) | not measured (step fashion, paper) |" in table
    steps = claims.render_steps(lines)
    assert "step mnist` | `curves" in steps
    of_step = [line.split(" | ")[-1] for line in steps.splitlines() if "step fashion`" in line]
    of_step += [line.split(" | ")[-1] for line in steps.splitlines() if "step mnist`" in line]
    of_step += [line.split(" | ")[-1] for line in steps.splitlines() if "step long`" in line]
    assert of_step == ["0 of 11 |", "1 of 12 |", "- |"]


def test_short_table_has_the_decided_claims_of_the_paper():
    both = [
        *records("raw", SCORES, epochs=None),
        *records("nmf", [s - 0.2 for s in SCORES[::-1]]),
        *records("ddnmf-demo", SCORES, epochs=70),
        *records("ddnmf-auto", [s - 0.2 for s in SCORES[::-1]], epochs=70),
    ]
    table = claims.render_verdicts(both)
    assert "| yes | NMF makes the clusters of images worse (MNIST) † |" in table
    both += [record | {"dataset": "fashion-mnist"} for record in both]
    assert "| yes | NMF makes the clusters of images worse † |" in claims.render_verdicts(both)
    assert "default preset" not in claims.render_verdicts(both)  # ours
    paper = [c for c in claims.load().claims if not c.source.startswith(claims.OURS)]
    tests = sum(len(claim.tests) for claim in paper)
    assert f"| open | tests: 0 not told apart, {tests - 1} not measured (" in table


def test_short_table_joins_claims_and_leaves_the_undecided_to_a_count(monkeypatch):
    """A verdict that is none of the four, as of too few seeds, is not decided."""
    given = iter(["no", "no", "3 of 5 seeds", "yes", "no: level", "not told apart"])
    monkeypatch.setattr(claims.Test, "verdict", lambda *args: next(given, "not measured"))
    lines = claims.render_verdicts([]).splitlines()
    first, second, third = claims.load().claims[:3]
    assert [len(claim.datasets) for claim in (first, second, third)] == [2, 2, 2]
    assert lines[2] == f"| yes | {second.text} (Fashion-MNIST) |"
    assert third.seen
    assert lines[3] == f"| no: level | {third.text} (MNIST) † |"
    assert lines[4] == f"| no | {first.text} |"
    assert lines[5].startswith("| open | tests: 1 not told apart, ")


# -- steps --------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["mnist", "paper", "ablation", "ae1", "noise", "default", "long"])
@pytest.mark.usefixtures("sketched_module")
def test_step_runs_with_a_tiny_budget(tmp_path, step, capsys, monkeypatch):
    """Of the other steps, fashion is mnist, and maps, stable and parts have tests elsewhere."""
    monkeypatch.setattr(published.figures, "draw", lambda *args: [])
    monkeypatch.setattr(published, "_draw_curves", lambda *args: Path("curves.png"))
    short = [*SHORT, "--output", str(tmp_path)]
    commands = commands_of(["step", step, *short])
    at = ["--at", "1"] if any("--at" in command for command in commands) else []
    few = ["--noise-rates", "0.5", "--noise-starts", "1"] if step == "noise" else []
    words = ["step", step, *short, *at, *few]
    assert main(words, places=PLACES, options=OPTIONS) == 0, capsys.readouterr()
    found = {json.loads(line)["model"] for line in records_of(tmp_path).values()}
    asked = {model for c in commands for _, model, _ in made_by([*c, *at, *few])}
    assert found >= asked


def test_steps_are_several_commands_with_the_same_options():
    commands = commands_of(["step", "mnist", "paper", "--jobs", "2"])
    assert len(commands) == 3
    assert all(command[-2:] == ["--jobs", "2"] for command in commands)
    assert commands_of(["table1"]) == [["table1"]]
    assert commands_of(["step", "--help"]) == [["step", "--help"]]


@pytest.mark.parametrize("words", [["step"], ["step", "minst"], ["step", "mnist", "often"]])
def test_unknown_step_is_an_error(words, capsys):
    assert main(words) == 2
    assert "step" in capsys.readouterr().err


def test_file_is_in_the_package():
    assert claims.FILE.parent == Path(claims.__file__).parent

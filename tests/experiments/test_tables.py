"""Tables and figures: pure functions of the records that show every seed."""

import random
import re

import pytest
from experiments_cases import clustering

from ddnmf_np.errors import DataError
from ddnmf_np.experiments import figures, networks, tables
from ddnmf_np.experiments.networks import (
    CLUSTERERS,
    MAPPED_MODELS,
    NOISE_MODELS,
    TABLE_MODELS,
    NetworkRow,
)


def campaign(seeds=range(5), datasets=("mnist", "fashion-mnist")):
    """Return a record for each place of tables 1 and 2, all with other scores."""
    draw = random.Random(0)
    return [
        clustering(model, seed, draw.uniform(0.2, 0.9), method=method, dataset=dataset)
        for dataset in datasets
        for model in TABLE_MODELS
        for method in (*CLUSTERERS, *(["gmm-full-tsne"] if model in MAPPED_MODELS else []))
        for seed in seeds
    ]


def noise_campaign(seeds=range(3), rates=(0.1, 0.8)):
    draw = random.Random(1)
    return [
        clustering(model, seed, draw.uniform(0.2, 0.9), method=m, images=images, noise_rate=rate)
        for model in NOISE_MODELS
        for m in CLUSTERERS
        for images in ("clean", "noisy")
        for rate in rates
        for seed in seeds
    ]


def body(text):
    """Return the lines of the first Markdown table, as lists of cells."""
    lines = re.search(r"((?:^\|.*\n)+)", text, re.MULTILINE)[1].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_rows_are_those_of_the_paper_in_its_order():
    rows = body(tables.render("table1", campaign(range(2))))
    assert len(rows) == len(TABLE_MODELS) * len(CLUSTERERS) + len(MAPPED_MODELS)
    mapped = [row for row in rows if row[2] == "GMM, full, on a t-SNE map"]
    assert [row[0] for row in mapped] == [""] * len(MAPPED_MODELS)
    rows = [row for row in rows if row not in mapped]
    numbers = [row[0] for row in rows]
    assert [n for k, n in enumerate(numbers) if k % 3 < 2][:10] == list(map(str, range(1, 11)))
    assert set(numbers) == {*map(str, range(1, 13)), ""}
    for row in rows:
        assert (int(row[0] or 1) % 2 == 1) == (row[2] == "k-means") or row[0] == ""


def test_a_further_network_is_no_row_of_the_paper(monkeypatch):
    """It takes an entry in `TABLE_NETWORKS` and in `TABLE_MODELS`."""
    ours, plain = (
        NetworkRow("Ours", "ddnmf", {"objective": "demo", "noise_redraw": True}),
        NetworkRow("AE, denoised", "autoencoder", {"objective": "demo"}),
    )
    for name, network in (("ddnmf-ours", ours), ("ae-denoised", plain)):
        monkeypatch.setitem(networks.NETWORKS, name, network)
        monkeypatch.setitem(networks.TITLES, name, network.title)
    models = (*TABLE_MODELS, "ae-denoised", "ddnmf-ours")
    monkeypatch.setattr(tables, "TABLE_MODELS", models)
    text = tables.render(
        "table1",
        [clustering(m, s, noise_rate=tables.table_noise(m)) for m in models for s in (0, 1)],
    )
    numbers = {row[1]: row[0] for row in body(text)}
    assert numbers["DDNMF (demo's objective)"] == "11"
    assert numbers["Ours"] == numbers["AE, denoised"] == ""


def ddnmf(epochs, samples, *, noise=True, clean=True, seeds=(0, 1)):
    """Return records of DDNMF as table 1 (clean images) and table 3 (noisy ones) need them."""
    return [
        clustering(model, seed, method=method, images=images, epochs=epochs, samples=samples)
        for model in ("ddnmf-paper", "ddnmf-demo")
        for method in CLUSTERERS
        for images in (["clean"] if clean else []) + (["noisy"] if noise else [])
        for seed in seeds
    ]


def sections(records):
    """Return epochs and training images of every table 1."""
    text = tables.render("table1", records)
    return re.findall(r"^### Table 1: .* for (\d+) epochs.* ([\d,]+) training images", text, re.M)


def test_networks_of_table_3_are_no_table_1_where_another_has_them():
    table_1 = [*ddnmf(5, 60_000, noise=False), clustering("ae1", 0, epochs=5)]
    table_3 = ddnmf(5, 6_000)
    table_3.append(clustering("ae1-denoising", 0, epochs=5, samples=6_000, noise_rate=0.8))
    assert sections(table_1 + table_3) == [("5", "60,000")]
    assert sections(ddnmf(5, 60_000, noise=False) + table_3) == [("5", "60,000")]
    others = [clustering("ae-linear", 0, epochs=5)]
    assert sections(others + table_3) == [("5", "60,000")]
    # As little, when the campaign was stopped before their noisy images were clustered.
    unfinished = ddnmf(5, 6_000, noise=False)
    unfinished.append(clustering("ddnmf-demo", 0, epochs=5, samples=6_000, noise_rate=0.8))
    assert sections(table_1 + unfinished) == [("5", "60,000")]


def test_no_table_1_goes_for_what_else_is_in_the_folder():
    asked = ddnmf(5, 60_000)
    assert sections(asked) == [("5", "60,000")]
    longer = clustering("ae1", 0, epochs=20)
    assert sections([*asked, longer]) == [("5", "60,000"), ("20", "60,000")]
    shorter = [*ddnmf(2, 60_000, noise=False), clustering("ae1", 0, epochs=2)]
    assert sections([*asked, *shorter]) == [("2", "60,000"), ("5", "60,000")]


def test_numbers_are_those_of_the_records():
    records = [clustering("ae1", seed, acc) for seed, acc in enumerate([0.5, 0.6, 0.7])]
    [row] = body(tables.render("table1", records))
    assert row[:4] == ["9", "AE1", "k-means", "3"]
    assert row[4] == "0.600 ± 0.100 (0.500-0.700)"
    assert row[5] == "0.550 ± 0.100 (0.450-0.650)"
    # Within a seed, whose starts have a deviation of 0.01; lowest and highest of all seeds.
    assert row[7] == "± 0.010 (0.480-0.720)"
    assert row[8] == "0.600 ± 0.100"


def test_a_score_is_the_mean_over_starts_and_the_likeliest_start_has_a_column():
    records = [clustering("ae1", seed, 0.5 + seed / 10) for seed in range(2)]
    for record in records:
        record["result"]["acc"] = 0.9  # the start with the best likelihood
    text = tables.render("table1", records)
    [row] = body(text)
    assert row[4] == "0.550 ± 0.071 (0.500-0.600)"
    assert row[8] == "0.900 ± 0.000"
    assert "| AE1, k-means | 0.500 / 0.450 / 0.400 |" in text


def test_every_seed_is_shown():
    records = campaign(seeds=(0, 3, 17))
    text = tables.render("table2", records)
    assert "| seed 0 | seed 3 | seed 17 |" in text
    for record in records:
        if record["dataset"] == "fashion-mnist":
            result = record["result"]
            assert f"{result['acc']:.3f} / {result['nmi']:.3f} / {result['ari']:.3f}" in text


def test_a_seed_that_is_missing_is_a_dash_and_the_row_says_how_many():
    records = [clustering("ae1", 0), clustering("ae1", 1), clustering("ae2", 1)]
    text = tables.render("table1", records)
    assert [row[3] for row in body(text)] == ["1", "2"]
    assert "| AE2, k-means | - | 0.500" in text


def test_collapsed_codes_are_marked():
    records = [clustering("ae1", 0), clustering("ae1", 1)]
    records[1]["result"]["degenerate"] = "collapsed codes"
    text = tables.render("table1", records)
    assert "0.400 * |" in text
    assert "collapsed codes or empty clusters" in text


@pytest.mark.parametrize("name", ["table1", "table2", "table3"])
def test_tables_are_a_pure_function_of_the_records(name):
    records = campaign(range(3)) + noise_campaign(rates=(0.2, 0.8))
    text = tables.render(name, records)
    random.Random(2).shuffle(records)
    assert tables.render(name, records) == text
    assert tables.render(name, []) == ""


def test_title_says_what_the_schedule_was():
    records = campaign(range(2))
    assert "30 epochs (the authors' demo: 300), 60,000 training images" in tables.render(
        "table1", records
    )
    full = [record | {"epochs": 300} for record in records if record["epochs"]]
    assert "300 epochs, 60,000" in tables.render("table1", full)


def test_two_budgets_are_two_tables_and_what_is_not_trained_is_in_both():
    records = [clustering("raw", 0), clustering("ae1", 0), clustering("ae1", 0, epochs=2)]
    text = tables.render("table1", records, short=True)
    assert text.count("### Table 1") == 2
    assert text.count("| images | k-means |") == 2


def test_what_is_not_trained_makes_one_table_and_no_budget_is_passed_over():
    records = [clustering("raw"), clustering("nmf")]
    assert tables.render("table1", records).count("### Table 1") == 1
    records += [clustering("ae1"), clustering("raw", starts=3)]
    text = tables.render("table1", records)
    assert text.count("### Table 1") == 2
    assert "3 starts of each" in text


def test_two_records_for_one_place_are_an_error():
    records = [clustering("ae1", 0), clustering("ae1", 0, backend="other")]
    with pytest.raises(DataError, match="both ae1, kmeans, seed 0 on mnist"):
        tables.render("table1", records)


def test_bic_is_compared_on_the_same_codes():
    text = tables.render("table1", campaign())
    assert "images 5 of 5" in text


def test_table_3_has_each_clusterer_and_kind_of_images():
    text = tables.render("table3", noise_campaign())
    assert text.count("| noisy | GMM, full | 80% |") == 3
    assert "DDNMF (paper's objective), 80%, noisy" in text


def test_table_3_has_a_column_for_each_rate():
    records = [
        clustering("ae1-denoising", seed, acc + seed / 10, noise_rate=rate, images="noisy")
        for rate, acc, seeds in ((0.1, 0.8, 2), (0.4, 0.6, 1))
        for seed in range(seeds)
    ]
    records.append(clustering("ddnmf-demo", 0, 0.3, noise_rate=0.4, images="noisy"))
    text = tables.render("table3", records, short=True)
    assert "| ACC of | seeds | 10% | 40% |" in text
    assert [row[2:] for row in body(text)] == [
        ["AE1 (denoising)", "1-2", "0.850 ± 0.071", "0.600"],
        ["DDNMF (demo's objective)", "1", "-", "0.300"],
    ]


def test_table_1_alone_is_no_table_3():
    assert tables.render("table3", campaign()) == ""


def test_figures_are_drawn_where_there_are_records(tmp_path, sketched):
    assert figures.draw("figure3", campaign(), tmp_path) == []
    assert figures.draw("figure2", [], tmp_path) == []
    drawn = figures.draw("figure3", noise_campaign(), tmp_path)
    assert sorted(drawn) == sorted(path.name for path in tmp_path.iterdir())
    assert len(drawn) == 2


def test_every_network_of_table_3_has_a_colour_of_its_own():
    assert set(figures.COLORS) == set(NOISE_MODELS)
    assert len(set(figures.COLORS.values())) == len(NOISE_MODELS)


def test_curves_are_the_means_and_bands_the_ranges():
    records = noise_campaign()
    figure = figures.noise_curves(records, "noisy")
    [acc, _, _] = figure.axes
    line = acc.get_lines()[0]
    found = [
        [r["result"]["acc"] for r in records
         if (r["model"], r["method"], r["images"], r["noise_rate"])
         == (NOISE_MODELS[0], "gmm-full", "noisy", rate)]
        for rate in (0.1, 0.8)
    ]  # fmt: skip
    assert list(line.get_xdata()) == [0.1, 0.8]
    assert list(line.get_ydata()) == pytest.approx([sum(f) / len(f) for f in found])
    heights = acc.collections[0].get_paths()[0].vertices[:, 1]
    for values in found:
        assert min(values) in heights
        assert max(values) in heights

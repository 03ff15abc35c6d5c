"""Options: each bad value is refused by name, each good one survives flags, TOML and JSON."""

import json
import math
import re
from dataclasses import fields
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from training_cases import OTHER, make_config

from ddnmf_np.backends.select import Execution
from ddnmf_np.config import (
    DECIDED_BY,
    OPTIONS,
    PARTS,
    PRESETS,
    Config,
    by_preset,
    changed_on_resume,
    configure,
    read_config,
)
from ddnmf_np.data.defaults import DECIDED
from ddnmf_np.data.noise import Noise
from ddnmf_np.data.options import Data
from ddnmf_np.engine import losses
from ddnmf_np.engine.descent import Descent
from ddnmf_np.engine.losses import Objective
from ddnmf_np.errors import UsageError, shown
from ddnmf_np.model import Architecture
from ddnmf_np.runs.preparation import prepare
from ddnmf_np.train import make_parser, parse


def of_kind(kind, *, many=False):
    return [o.name for o in OPTIONS.values() if (o.kind.type, o.kind.many) == (kind, many)]


def flag(name):
    return "--" + name.replace("_", "-")


def given(name):
    """Return the command line that sets an option to its value in ``OTHER``."""
    value = OTHER[name]
    if isinstance(value, bool):
        return [flag(name) if value else f"--no-{name.replace('_', '-')}"]
    return [flag(name), *map(str, value if isinstance(value, tuple) else [value])]


# -- one declaration, three faces -------------------------------------------------------------


def test_the_other_values_are_other_values():
    assert list(OTHER) == list(OPTIONS)
    for base in (configure(), make_config()):
        assert not [name for name in OPTIONS if base[name] == OTHER[name]]


def test_every_option_has_a_flag_and_a_help():
    actions = {string: a for a in make_parser()._actions for string in a.option_strings}
    for option in OPTIONS.values():
        action = actions[flag(option.name)]
        assert len(option.help) > 8
        assert option.help in action.help.replace("%%", "%")
        default = option.default
        if option.name == "objective":
            assert "(default: auto)" in action.help  # of the command, not of `configure`
        elif default is not None:
            shown = " ".join(map(str, default)) if isinstance(default, tuple) else str(default)
            assert f"(default: {shown})" in action.help
        assert action.choices is None or list(action.choices) == list(option.kind.choices)


def test_help_is_printed(capsys):
    with pytest.raises(SystemExit) as caught:
        parse(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for name in OPTIONS:
        assert flag(name) in text
    assert "130 interrupted" in text


def test_every_flag_sets_its_option_and_no_other():
    for option in OPTIONS.values():
        options = parse(given(option.name))
        assert options.keys() == {option.name}
        if option.name == "activation":
            options["widths"] = (9, 8)
        config = configure(**options)
        assert config[option.name] == OTHER[option.name]
        assert type(config[option.name]) is type(OTHER[option.name])


def test_flags_that_are_not_given_decide_nothing():
    assert parse([]) == {}


def test_every_option_survives_toml_and_json(tmp_path):
    for option in OPTIONS.values():
        config = configure(make_config(), **{option.name: OTHER[option.name]})
        path = tmp_path / "config.toml"
        path.write_text(config.to_toml(), "utf-8")
        assert configure(**read_config(path)) == config
        assert configure(**json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    "text",
    [
        "C:\\data\\x.npz",
        'a "quoted" name.npz',
        "données/été.npz",
        "数据/😀.npz",
        "tab\tand\nline.npz",
        "\x7f\x01\u2028.npz",
        "# no comment = [1]",
    ],
    ids=ascii,
)
def test_any_path_survives_toml(tmp_path, text):
    path = tmp_path / "config.toml"
    path.write_text(configure(dataset=text).to_toml(), "utf-8")
    assert configure(**read_config(path)).data.dataset == text


def test_a_byte_order_mark_is_no_part_of_the_file():
    """Some editors of Windows write one."""
    assert read_config(b"\xef\xbb\xbfrank = 3\n") == {"rank": 3}


@pytest.mark.parametrize("value", [1e-300, 5e-324, 0.1 + 0.2, 1e300, 1.0, 12345678.9])
def test_numbers_survive_toml_to_the_last_bit(tmp_path, value):
    path = tmp_path / "config.toml"
    path.write_text(configure(lr=value).to_toml())
    assert configure(**read_config(path)).optimizer.lr == value


def test_sections_are_optional(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("rank = 4\n[optimizer]\nlr = 1\n")
    config = configure(**read_config(path))
    assert (config.model.rank, config.optimizer.lr) == (4, 1.0)
    assert isinstance(config.optimizer.lr, float)


# -- presets ----------------------------------------------------------------------------------


def test_presets():
    assert list(PRESETS) == list(losses.PRESETS)
    for name in ("paper", "demo"):  # algorithm 1: noise drawn once, one rate
        config = configure(objective=name)
        assert config == Config(objective=Objective(name))
    config = configure(objective="stable")
    assert config.noise == Noise(redraw=True)
    assert config.optimizer == Descent(lr_schedule="cosine")
    assert config.model == Architecture(nmf_start="pca", nmf_spread=0.3)


@pytest.mark.parametrize("objective", PRESETS)
def test_a_preset_decides_what_has_no_default_and_nothing_else(objective):
    optional = {name for name, o in OPTIONS.items() if o.kind.optional}
    decided = {name for name, o in OPTIONS.items() if o.default is None} - optional
    decided -= set(DECIDED) - set(DECIDED_BY.get(objective, ()))
    found = by_preset(configure(objective=objective))
    assert found.keys() == decided
    other = configure(**(OTHER | {"objective": objective}))
    assert by_preset(other) == found  # whatever was chosen by hand


@pytest.mark.parametrize("part", [Objective, Descent])
def test_the_docstring_of_a_part_has_the_texts_of_its_options(part):
    assert part.__doc__.startswith(("The weights of equation 7 and ", "The rule by which "))
    for f in fields(part):
        text = f.metadata["help"]
        assert re.search(rf"^{f.name} : \S.*\n    {re.escape(text)}\.$",
                         part.__doc__, re.MULTILINE | re.IGNORECASE), f.name  # fmt: skip
    kinds = {
        "reduction : {'sum', 'mean'}", "gamma_nc : float, >= 0", "base_bias : bool",
        "optimizer : {'adam', 'momentum', 'gd'}", "lr : float, > 0", "adam_b1 : float, in [0, 1)",
    }  # fmt: skip
    assert len(kinds & set(part.__doc__.splitlines())) == 3


def test_the_docstring_of_a_part_names_tuples_and_what_is_optional():
    lines = [line.strip() for line in (Data.__doc__ + Execution.__doc__).splitlines()]
    assert "image_shape : tuple of int, from 1 to 16777216, optional" in lines
    assert "ignore : tuple of str, optional" in lines
    assert next(x for x in lines if x.startswith("digits"))  # a value keeps its small letter
    assert next(x for x in lines if x.startswith("numpy"))
    assert lines.count("OptionError") == 2


def test_option_given_by_hand_wins_over_the_preset():
    objective = configure(objective="demo", beta_ap=3.0, base_bias=False).objective
    assert (objective.beta_ap, objective.base_bias) == (3.0, False)
    assert objective.reduction == "mean"
    for name in by_preset(configure(objective="auto")).keys() - {"activation"}:
        for value in (OTHER[name], configure()[name]):
            for preset in PRESETS:
                more = {"nmf_start": "pca"} if name == "nonnegative" else {}
                more |= {"nonnegative": "decoder"} if value == "nmf" else {}
                limited = name in ("base_activation", "output_activation")  # see below
                if not (limited and preset == "parts"):
                    assert configure(objective=preset, **more, **{name: value})[name] == value


@pytest.mark.parametrize("objective", PRESETS)
@pytest.mark.parametrize("other", PRESETS)
def test_one_preset_gives_way_to_another(objective, other):
    chosen = {"rank": 3, "gamma_nc": 7.0, "noise_rate": 0.3}
    base = configure(objective=objective, **chosen)
    assert configure(base, objective=other) == configure(objective=other, **chosen)
    assert configure(base) == base


@pytest.mark.parametrize("name", ["identity", "tanh"])
def test_codes_of_a_nonnegative_decoder_cannot_be_negative(name):
    with pytest.raises(UsageError, match=f"base_activation is {name}, .*choose relu, sigmoid or"):
        configure(objective="parts", base_activation=name)


def test_output_of_a_nonnegative_decoder_must_be_able_to_be_0():
    text = (
        r"nonnegative is decoder, but output_activation is sigmoid.*choose output_activation='relu'"
    )
    with pytest.raises(UsageError, match=text):
        configure(objective="parts", output_activation="sigmoid")
    x = np.random.default_rng(0).uniform(size=(30, 4))
    config = configure(objective="auto", nonnegative="decoder")
    with pytest.raises(UsageError, match=text):  # here the data choose it
        prepare(x, config)
    configure(objective="parts", output_activation="tanh")


def test_start_from_parts_needs_a_decoder_that_is_not_negative():
    with pytest.raises(UsageError, match=r"nmf_start is nmf, but nonnegative is both; .*or nmf_"):
        configure(objective="parts", nonnegative="both")
    configure(objective="parts", nonnegative="both", nmf_start="pca")


def test_motion_is_of_the_ranges_that_are_not_zero():
    assert Noise().motion == Noise(redraw=True).motion == {}
    zeros = {"shift": 0.0, "rotation": 0.0, "zoom": 0.0, "shear": 0.0}
    for name in zeros:
        assert Noise(**{name: 0.5}).motion == zeros | {name: 0.5}


@pytest.mark.parametrize("part", PARTS.values(), ids=lambda part: part.__name__)
def test_a_part_made_by_hand_is_checked(part):
    for f in fields(part):
        with pytest.raises(UsageError, match=rf"^{f.name} is \{{\}}; expected "):
            part(**{f.name: {}})


def test_learning_rate():
    assert [Descent(lr=0.5).rate(progress) for progress in (0.0, 0.3, 1.0, 7.0)] == [0.5] * 4
    cosine = Descent(lr=0.5, lr_schedule="cosine").rate
    for progress, share in ((0.0, 1.0), (1 / 3, 0.75), (0.5, 0.5), (2 / 3, 0.25), (1.0, 0.0)):
        assert cosine(progress) == pytest.approx(0.5 * share, rel=1e-15, abs=1e-16)
    assert cosine(0.0) == 0.5
    assert cosine(1.0) == cosine(1.5) == 0.0  # no rise beyond the end
    falling = [cosine(progress) for progress in np.linspace(0.0, 1.0, 1001)]
    assert (np.diff(falling) < 0.0).all()
    for descent in (Descent(), Descent(lr_schedule="cosine")):
        assert type(descent.rate(0.25)) is float


def test_what_a_resumed_run_may_change():
    may = {name for name, o in OPTIONS.items() if o.resumable}
    assert may == {
        *(
            "dataset",
            "labels",
            "ignore",
            "data_dir",
            "epochs",
            "checkpoint_every",
            "backend",
            "fast",
            "threads",
            "matmul_precision",
        ),
        *("clusters", "clusterers", "starts", "embedding", "embedding_samples", "save_codes"),
    }
    old = configure()
    assert changed_on_resume(old, configure(old)) == []
    assert changed_on_resume(old, configure(old, epochs=99, starts=1)) == []
    assert changed_on_resume(old, configure(old, lr=1.0, rank=3)) == ["rank", "lr"]
    demo = configure(objective="demo")
    assert "beta_ap" in changed_on_resume(old, demo)
    cosine = configure(lr_schedule="cosine")
    assert changed_on_resume(cosine, configure(cosine, starts=1)) == []
    assert changed_on_resume(cosine, configure(cosine, epochs=99)) == ["epochs"]
    assert changed_on_resume(old, cosine) == changed_on_resume(cosine, old) == ["lr_schedule"]


# -- values that cannot be used ---------------------------------------------------------------

WRONG_KIND = {
    "a whole number": (of_kind(int), [2.0, "2", b"2", 1 + 0j, [2], {}, True, np.bool_(True)]),
    "a number": (
        of_kind(float),
        ["0.5", b"0.5", [0.5], {}, 0.5 + 0j, True, np.bool_(True), 10**400],
    ),
    "true or false": (of_kind(bool), [0, 1, "true", 1.0, [True]]),
    "a text": (of_kind(str), [1, 0.5, True, b"adam", ["adam"], {}]),
}


@pytest.mark.parametrize("words", WRONG_KIND)
def test_wrong_kind(words):
    for name, value in product(*WRONG_KIND[words]):
        with pytest.raises(UsageError) as caught:
            configure(**{name: value})
        assert str(caught.value) == f"{name} is {shown(value)}; expected {words}"


@pytest.mark.parametrize(
    ("name", "value", "item"),
    [
        ("widths", (5, 2.0), "2.0"),
        ("widths", "5", "'5'"),
        ("widths", [[5]], "[5]"),
        ("widths", (5, True), "True"),
        ("activation", (1,), "1"),
        ("activation", [["relu"]], "['relu']"),
        ("clusterers", (None,), "None"),
        ("image_shape", (8, 8.0), "8.0"),
        ("image_shape", "8x8", "'8x8'"),
    ],
)
def test_wrong_kind_of_one_of_many(name, value, item):
    with pytest.raises(UsageError) as caught:
        configure(**{name: value})
    assert str(caught.value).startswith(f"{name} is {item}; expected ")


LIMITS = {
    **dict.fromkeys(("rank", "batch_size", "starts", "stream_window"), (1, None)),
    **dict.fromkeys(("epochs", "patience"), (0, None)),
    "seed": (0, 2**32 - 1),
    "threads": (1, 1024),
    "clusters": (1, None),
    "embedding_samples": (2, None),
}
POSITIVE = ("lr", "adam_eps", "nmf_spread")
FRACTIONS = ("noise_rate", "momentum", "adam_b1", "adam_b2", "validation_fraction", "tol")
FRACTIONS += ("test_fraction",)
WEIGHTS = ("alpha_sym", "beta_ap", "gamma_nc", "student_reconstruction")
MOTIONS = {"noise_shift": None, "noise_rotation": 180.0, "noise_zoom": 1.0, "noise_shear": None}
"""What each is to be below."""
NAN, INF = math.nan, math.inf
BAD_SIZE = [
    *((name, low - 1) for name, (low, _) in LIMITS.items()),
    *((name, -(10**30)) for name in LIMITS),
    *((name, high + 1) for name, (_, high) in LIMITS.items() if high),
    *((name, value) for name in FRACTIONS for value in (1.0, -0.1, 1.5, NAN, INF, -INF)),
    *(
        (name, value)
        for name in ("lr", "adam_eps", "nmf_spread")
        for value in (0.0, -1e-3, NAN, INF, -INF)
    ),
    *((name, value) for name in (*WEIGHTS, "checkpoint_every") for value in (-1e-9, NAN, INF)),
    *((name, value) for name in MOTIONS for value in (-1e-9, NAN, INF, -INF)),
    *((name, limit) for name, limit in MOTIONS.items() if limit),
    *(("widths", value) for value in ((0,), (5, 0), (-3,), 0)),
    *(("image_shape", v) for v in ((8,), 8, (8, 8, 1), (0, 8), (8, -8), (8, 2**24 + 1))),
]


def test_every_number_has_a_limit():
    names = {name for name, _ in BAD_SIZE}
    assert names == {o.name for o in OPTIONS.values() if o.kind.type in (int, float)}


def test_out_of_range():
    for name, value in BAD_SIZE:
        with pytest.raises(UsageError, match=rf"^{name} is .*; expected "):
            configure(**{name: value})


@pytest.mark.parametrize("name", LIMITS)
def test_limits_themselves_are_good(name):
    low, high = LIMITS[name]
    assert configure(**{name: low})[name] == low
    if high:
        assert configure(**{name: high})[name] == high


@pytest.mark.parametrize("name", [*FRACTIONS, *WEIGHTS, *MOTIONS, "checkpoint_every"])
def test_zero_is_good(name):
    assert configure(**{name: 0})[name] == 0.0


@pytest.mark.parametrize(
    "option", [o for o in OPTIONS.values() if o.kind.choices], ids=lambda o: o.name
)
def test_choices(option):
    choices = option.kind.choices
    for choice in choices:
        more = {"nonnegative": "decoder"} if choice == "nmf" else {}
        value = configure(**{option.name: choice}, **more)[option.name]
        assert value == ((choice,) if option.kind.many else choice)
    wrong = choices[0] + "x"
    with pytest.raises(UsageError) as caught:
        configure(**{option.name: wrong})
    near = f"{option.name} is {wrong!r}; did you mean {choices[0]!r}?"
    assert str(caught.value) == near
    with pytest.raises(UsageError, match=rf"{option.name} is '\?'; choose one of {choices[0]}, "):
        configure(**{option.name: "?"})


def test_none_is_a_value_only_where_it_has_a_meaning():
    for option in OPTIONS.values():
        if option.kind.optional:
            assert configure(**{option.name: None})[option.name] is None
            continue
        with pytest.raises(UsageError, match=f"^{option.name} is None; leave it out"):
            configure(**{option.name: None})


@pytest.mark.parametrize(
    ("widths", "activation"), [((5,), ("relu", "tanh")), ((5, 4, 3), ("relu", "tanh"))]
)
def test_activations_for_other_layers(widths, activation):
    with pytest.raises(UsageError, match=f"activation names {len(activation)} functions for"):
        configure(widths=widths, activation=activation)


@pytest.mark.parametrize("name", ["widths", "activation", "clusterers", "image_shape"])
def test_an_empty_list_is_refused_before_any_work(name):
    with pytest.raises(UsageError, match=rf"{name} is \(\), which is empty; give at least one"):
        configure(**{name: ()})


def test_an_objective_that_trains_no_student_is_refused():
    with pytest.raises(UsageError, match="nothing trains the student"):
        configure(beta_ap=0.0, gamma_nc=0.0)
    configure(beta_ap=0.0, gamma_nc=0.0, student_reconstruction=1.0)


def test_numpy_s_numbers_are_numbers():
    config = configure(
        rank=np.int64(4),
        lr=np.float32(0.5),
        widths=np.array([7, 5]).tolist(),
        noise_rescale=np.bool_(False),
        dataset=Path("x.npz"),
        momentum=0,
    )
    assert config == configure(
        rank=4, lr=0.5, widths=(7, 5), noise_rescale=False, dataset="x.npz", momentum=0.0
    )
    types = {name: type(config[name]) for name in ("rank", "lr", "noise_rescale")}
    assert types == {"rank": int, "lr": float, "noise_rescale": bool}


# -- files that cannot be used ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("ranks = 3", "option 'ranks' is unknown; did you mean 'rank'?"),
        ("[model]\nwidth = [3]", "option 'width' is unknown; did you mean 'widths'?"),
        ("zzz = 1", "option 'zzz' is unknown; choose one of dataset, data_dir, "),
        ("[modell]\nrank = 3", "table 'modell' is unknown; did you mean 'model'?"),
        ("[model.rank]\nx = 3", "rank is {'x': 3}; expected a whole number"),
        ("rank = ", "is not valid TOML: Invalid value (at "),
        ("rank = 3\nrank = 4", "is not valid TOML: Cannot overwrite a value"),
        (b"\xff\xfe", "is not valid TOML: 'utf-8' codec can't decode byte 0xff"),
    ],
)
def test_bad_file(tmp_path, content, text):
    path = tmp_path / "config.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError) as caught:
        configure(**read_config(path))
    assert text in str(caught.value)
    if "expected" not in text:
        assert str(caught.value).startswith(f"config {path}: ")


def test_missing_file(tmp_path):
    with pytest.raises(UsageError, match=r"config .*: cannot be read: No such file or directory"):
        read_config(tmp_path / "config.toml")
    with pytest.raises(UsageError, match=r"config .*: cannot be read: Is a directory"):
        read_config(tmp_path)

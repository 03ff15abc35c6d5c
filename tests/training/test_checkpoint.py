"""A run that stops and goes on is the run that never stopped; a damaged file is never believed."""

import json
import os
import pickle
import random
import zipfile

import numpy as np
import pytest
from tolerances import assert_same_bits
from training_cases import (
    OTHER,
    STEPS_PER_EPOCH,
    assert_same_state,
    draw,
    losses_of,
    make_config,
    make_trainer,
    poison,
    saved,
    snapshot,
    stop_after,
    trainer_of,
)

import ddnmf_np
from ddnmf_np.config import OPTIONS, PRESETS, configure
from ddnmf_np.errors import CheckpointError
from ddnmf_np.runs.checkpoint import load_checkpoint, save_checkpoint

LAST_STEP = 3 * STEPS_PER_EPOCH


@pytest.fixture(scope="module")
def trained():
    """A trainer that stopped in the middle of its second epoch."""
    trainer = make_trainer()
    trainer.train(3, on_step=stop_after(STEPS_PER_EPOCH + 2))
    return trainer


@pytest.fixture(scope="module")
def good(trained, tmp_path_factory):
    """The bytes of its checkpoint."""
    return saved(tmp_path_factory.mktemp("good") / "checkpoint.npz", trained).read_bytes()


def rewritten(path, good, change):
    """Write the checkpoint with its members changed by a function of (meta, arrays)."""
    path.write_bytes(good)
    with np.load(path) as archive:
        arrays = dict(archive)
    meta = json.loads(arrays.pop("meta").tobytes())
    change(meta, arrays)
    text = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    np.savez(path, meta=text, **arrays)
    return path


# -- interrupted and resumed ------------------------------------------------------------------


@pytest.mark.parametrize("redraw", [False, True], ids=["drawn once", "redrawn"])
@pytest.mark.parametrize("objective", ["paper", "demo"])
@pytest.mark.parametrize("optimizer", ["adam", "momentum", "gd"])
def test_resumed_run_is_the_run_without_a_pause(tmp_path, optimizer, objective, redraw):
    dtype = "float64" if redraw == (objective == "paper") else "float32"  # each with each other
    options = {
        "optimizer": optimizer,
        "objective": objective,
        "noise_redraw": redraw,
        "dtype": dtype,
        "lr": 0.01,
    }
    whole = make_trainer(**options)
    whole.train(3)
    number = [optimizer, objective, redraw, dtype]
    at_random = random.Random(str(number)).sample(range(1, LAST_STEP), 3)
    # Before the first step, after it, last step of an epoch, first of the next; and the last.
    for steps in (0, 1, 5, 6, *at_random, LAST_STEP):
        first = make_trainer(**options)
        first.stop_requested = steps == 0
        first.train(3, on_step=stop_after(steps))
        path = saved(tmp_path / "checkpoint.npz", first)
        assert first.model.optimizer.t == steps
        second = make_trainer(**options)
        poison(second)
        load_checkpoint(path).restore(second, second.config, "data")
        assert_same_state(second.model, first.model)
        second.train(3)
        assert_same_state(second.model, whole.model)
        assert second.model.optimizer.t == whole.model.optimizer.t
        assert losses_of(second.history) == losses_of(whole.history), f"stopped after {steps}"


SCHEDULED = {
    "lr_schedule": "cosine",
    "noise_redraw": True,
    "noise_shift": 1.5,
    "noise_rotation": 20.0,
    "noise_zoom": 0.2,
    "noise_shear": 0.3,
    "lr": 0.01,
}


@pytest.mark.parametrize(
    "options", [SCHEDULED, *({"objective": name} for name in PRESETS)], ids=str
)
def test_schedule_and_motion_go_on_where_they_stopped(tmp_path, options):
    def rate_at(trainer):
        rates.append(trainer.model.optimizer.lr)

    whole, rates = make_trainer(**options), []
    whole.train(3, on_step=rate_at)
    expected = list(rates)
    for steps in (0, 1, 5, 6, 8, 10, 14, LAST_STEP):  # in the middle of an epoch, and at its ends
        first, rates = make_trainer(**options), []
        first.stop_requested = steps == 0
        stop = stop_after(steps)
        first.train(3, on_step=lambda trainer, stop=stop: (rate_at(trainer), stop(trainer)))
        second = make_trainer(**options)
        poison(second)
        second.model.optimizer.lr = float("nan")  # a checkpoint holds none: the position says it
        load_checkpoint(saved(tmp_path / "checkpoint.npz", first)).restore(
            second, second.config, "data"
        )
        second.train(3, on_step=rate_at)
        assert_same_state(second.model, whole.model)
        assert losses_of(second.history) == losses_of(whole.history), f"stopped after {steps}"
        assert rates == expected


def test_a_schedule_is_of_its_epochs(tmp_path):
    """A cosine over 5 epochs does not begin as one over 3 does; a constant rate knows no end."""
    for options in (SCHEDULED, SCHEDULED | {"lr_schedule": "constant"}):
        trainer = make_trainer(**options)
        trainer.train(3, on_step=stop_after(7))
        checkpoint = load_checkpoint(saved(tmp_path / "checkpoint.npz", trainer))
        longer = make_trainer(**options, epochs=5)
        if options["lr_schedule"] == "constant":
            checkpoint.restore(longer, longer.config, "data")
            longer.train(5)
            whole = make_trainer(**options, epochs=5)
            whole.train(5)
            assert_same_state(longer.model, whole.model)
            continue
        before = snapshot(longer.model)
        with pytest.raises(
            CheckpointError,
            match=r"epochs = 3, not 5 \(the learning rate of lr_schedule 'cosine' .*; leave the",
        ):
            checkpoint.restore(longer, longer.config, "data")
        assert_same_state(longer.model, before)
        assert longer.position.batch == 0


@pytest.mark.parametrize("objective", PRESETS)
def test_the_preset_s_schedule_decides_whether_epochs_may_change(tmp_path, objective):
    path = saved(tmp_path / "checkpoint.npz", make_trainer(objective=objective))
    longer = make_trainer(objective=objective, epochs=4)
    if configure(objective=objective).optimizer.lr_schedule == "constant":
        load_checkpoint(path).restore(longer, longer.config, "data")
    else:
        with pytest.raises(CheckpointError, match="the run has epochs = 3, not 4"):
            load_checkpoint(path).restore(longer, longer.config, "data")


def test_stopped_and_resumed_over_and_over(tmp_path):
    whole = make_trainer()
    whole.train(3)
    path = saved(tmp_path / "checkpoint.npz", make_trainer())
    for _ in range(LAST_STEP):
        trainer = make_trainer()
        load_checkpoint(path).restore(trainer, trainer.config, "data")
        trainer.train(3, on_step=stop_after(1))
        save_checkpoint(path, trainer.config, trainer, "data")
    assert_same_state(trainer.model, whole.model)
    assert losses_of(trainer.history) == losses_of(whole.history)


def test_saving_disturbs_nothing(tmp_path):
    whole, saving = make_trainer(), make_trainer()
    whole.train(3)

    def on_step(trainer):
        save_checkpoint(tmp_path / "checkpoint.npz", trainer.config, trainer, "data")

    saving.train(3, on_step=on_step)
    assert_same_state(saving.model, whole.model)


@pytest.mark.parametrize("optimizer", ["adam", "momentum"])
def test_numba_goes_on_where_plain_numpy_stopped(tmp_path, optimizer):
    # ``fast`` may change on resume, and ``auto`` changes with what is installed.
    pytest.importorskip("numba")
    from ddnmf_np.backends.ops_numba import NumbaOps

    options = {"optimizer": optimizer, "lr": 0.01}
    whole, first = make_trainer(**options), make_trainer(**options)
    whole.train(3)
    first.train(3, on_step=stop_after(7))
    path = saved(tmp_path / "checkpoint.npz", first)
    second = make_trainer(ops=NumbaOps(), **options)
    load_checkpoint(path).restore(second, second.config, "data")
    second.train(3)
    assert_same_state(second.model, whole.model)


def test_time_spent_is_kept(tmp_path):
    first = make_trainer()
    first.train(3, on_step=stop_after(7))
    first.position.seconds = 100.0
    second = make_trainer()
    load_checkpoint(saved(tmp_path / "checkpoint.npz", first)).restore(
        second, second.config, "data"
    )
    second.train(3)
    assert second.history[0] == first.history[0]
    assert second.history[1]["seconds"] > 100.0


# -- what is in the file ----------------------------------------------------------------------


def test_file_holds_all_blocks_and_no_more(tmp_path, good, trained):
    path = tmp_path / "checkpoint.npz"
    path.write_bytes(good)
    with np.load(path, allow_pickle=False) as archive:
        names = set(archive.files)
    blocks = {
        f"{net}.{block}{slot}"
        for net, network in trained.model.nets.items()
        for block in network.arena.shapes
        for slot in ("", ":m", ":v")
    }
    assert names == blocks | {"meta", "loss_sums"}
    checkpoint = load_checkpoint(path)
    assert checkpoint.config == trained.config
    meta = checkpoint.meta
    assert meta["version"] == ddnmf_np.__version__
    assert (meta["n_features"], meta["n_samples"], meta["t"]) == (13, 45, 7)
    assert meta["position"]["epoch"] == 1
    assert meta["position"]["batch"] == 2
    assert meta["high"] == float(trained.x.max())
    assert meta["history"] == trained.history


def test_restored_model_encodes_to_the_same_bits(ops, tmp_path, good, trained):
    path = tmp_path / "checkpoint.npz"
    path.write_bytes(good)
    model = load_checkpoint(path).restore_model(ops)
    x = draw(300, seed=3)
    assert_same_bits(model.encode(x), trained.model.encode(x))
    assert_same_bits(model.denoise(x), trained.model.denoise(x))
    assert_same_bits(model.supervise(x), trained.model.supervise(x))
    H = model.encode(x)
    assert_same_bits(model.decode(H), trained.model.decode(H))


def test_path_may_be_a_text(tmp_path, good):
    (tmp_path / "checkpoint.npz").write_bytes(good)
    assert load_checkpoint(str(tmp_path / "checkpoint.npz")).meta["t"] == 7


# -- damaged files ----------------------------------------------------------------------------


def believed(path, trained):
    """Return whether a file is read and restored, and then fail unless it is the original."""
    try:
        checkpoint = load_checkpoint(path)
        trainer = make_trainer(widths=trained.config.model.widths)
        poison(trainer)
        checkpoint.restore(trainer, trainer.config, "data")
    except CheckpointError as error:
        reason = str(error)
    else:
        assert_same_state(trainer.model, trained.model)
        assert trainer.position == trained.position
        assert trainer.history == trained.history
        assert_same_bits(trainer.model.loss.sums, trained.model.loss.sums)
        assert trainer.model.optimizer.t == trained.model.optimizer.t
        return True
    assert str(path) in reason
    return False


def test_truncated(tmp_path, good):
    path = tmp_path / "checkpoint.npz"
    lengths = {*range(0, len(good), 97), *range(len(good) - 30, len(good)), 1, 2, 3, 4}
    for length in sorted(lengths):
        path.write_bytes(good[:length])
        with pytest.raises(CheckpointError, match="corrupt or no checkpoint of ddnmf_np"):
            load_checkpoint(path)


def flipped(good, bit):
    damaged = bytearray(good)
    damaged[bit // 8] ^= 1 << (bit % 8)
    return damaged


def test_flipped_bits_anywhere(tmp_path, good, trained):
    path = tmp_path / "checkpoint.npz"
    for bit in random.Random(2021).sample(range(8 * len(good)), 100):
        path.write_bytes(flipped(good, bit))
        believed(path, trained)


def test_flipped_bits_of_values(tmp_path, good, trained):
    """Of the weights themselves not one bit may be wrong, so all flips must be found."""
    path = tmp_path / "checkpoint.npz"
    path.write_bytes(good)
    with zipfile.ZipFile(path) as archive:
        starts = [
            good.index(b"\n", good.index(b"\x93NUMPY", member.header_offset)) + 1
            for member in archive.infolist()
        ]
    for start in starts[::4]:
        for bit in (8 * start, 8 * start + 30):
            path.write_bytes(flipped(good, bit))
            assert not believed(path, trained)


def test_flipped_bits_of_an_array_s_header(tmp_path):
    """A wrong header can make NumPy stop before the end of a part, where it finds no checksum.

    With a shorter header, say, it takes blanks of the header for the first weights. Seen only in
    parts of more than 4096 bytes: smaller ones are read to the end in one go.
    """
    trained = make_trainer(widths=(300,))
    trained.train(1)
    path = saved(tmp_path / "checkpoint.npz", trained)
    good = path.read_bytes()
    magic = good.index(b"\x93NUMPY", good.index(b"student.W1.npy"))
    for byte in range(magic, magic + 20):
        for bit in range(8):
            path.write_bytes(flipped(good, 8 * byte + bit))
            assert not believed(path, trained)


def test_flipped_bits_of_the_directory(tmp_path, good, trained):
    """Flags, sizes, names and offsets; dates and rights do not matter, and may be wrong."""
    path = tmp_path / "checkpoint.npz"
    entry = good.index(b"PK\x01\x02")
    entry = good.index(b"PK\x01\x02", entry + 1)  # the first array
    found = 0
    for byte in range(entry, entry + 46):
        for bit in (0, 4, 5):
            path.write_bytes(flipped(good, 8 * byte + bit))
            found += not believed(path, trained)
    assert found > 40


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize(
    "make",
    [
        lambda path, bomb: path.write_bytes(b""),
        lambda path, bomb: path.write_text("weights\n"),
        lambda path, bomb: path.write_bytes(b"PK\x03\x04"),
        lambda path, bomb: path.mkdir(),
        lambda path, bomb: path.write_bytes(pickle.dumps(bomb)),
        lambda path, bomb: path.write_bytes(pickle.dumps({"format": 1})),
        lambda path, bomb: np.save(path.open("wb"), np.zeros(3)),
        lambda path, bomb: np.savez(path, meta=np.array([bomb], dtype=object)),
        lambda path, bomb: np.savez(path, weights=np.zeros(3)),
        lambda path, bomb: np.savez(path, meta=np.zeros(3)),
        lambda path, bomb: np.savez(path, meta=np.frombuffer(b"[1, 2]", np.uint8)),
        lambda path, bomb: np.savez(path, meta=np.frombuffer(b"{}", np.uint8)),
    ],
    ids=[
        "empty",
        "text",
        "signature",
        "folder",
        "pickle",
        "harmless pickle",
        "npy",
        "object array",
        "no meta",
        "meta of numbers",
        "meta of a list",
        "meta without format",
    ],
)
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # np.save above
def test_other_files(tmp_path, make):
    path = tmp_path / "checkpoint.npz"
    make(path, Bomb(str(tmp_path / "unpickled")))
    with pytest.raises(CheckpointError, match=r"checkpoint\.npz: is corrupt or no checkpoint"):
        load_checkpoint(path)
    assert not (tmp_path / "unpickled").exists()


def test_object_array_beside_good_blocks(tmp_path, good):
    def change(meta, arrays):
        arrays["student.W1"] = np.array([Bomb(str(tmp_path / "unpickled"))], dtype=object)

    with pytest.raises(CheckpointError, match="corrupt or no checkpoint"):
        load_checkpoint(rewritten(tmp_path / "checkpoint.npz", good, change))
    assert not (tmp_path / "unpickled").exists()


def test_missing_file(tmp_path):
    path = tmp_path / "checkpoint.npz"
    with pytest.raises(CheckpointError, match=r"checkpoint\.npz: there is no checkpoint; train"):
        load_checkpoint(path)


# -- files that are whole but do not belong here ----------------------------------------------


@pytest.mark.parametrize("block", ["student.W_rec", "supervisor.b3", "student.W1:v"])
def test_missing_block_is_named(tmp_path, good, block):
    path = rewritten(tmp_path / "checkpoint.npz", good, lambda meta, arrays: arrays.pop(block))
    checkpoint = load_checkpoint(path)
    with pytest.raises(CheckpointError, match=f"block {block} is missing; expected shape"):
        checkpoint.restore(make_trainer(), make_config(), "data")
    if ":" not in block:
        with pytest.raises(CheckpointError, match=f"block {block} is missing"):
            checkpoint.restore_model()


def test_blocks_of_another_architecture(tmp_path, good):
    def change(meta, arrays):
        meta["config"]["widths"] = [11, 8]

    path = rewritten(tmp_path / "checkpoint.npz", good, change)
    expected = (
        r"checkpoint\.npz: block supervisor.W2 is of shape \(7, 11\); expected shape \(8, 11\)"
    )
    with pytest.raises(CheckpointError, match=expected):
        load_checkpoint(path).restore_model()


def test_missing_loss_sums(tmp_path, good):
    path = rewritten(tmp_path / "checkpoint.npz", good, lambda m, arrays: arrays.pop("loss_sums"))
    with pytest.raises(CheckpointError, match="its loss sums are not those of this objective"):
        load_checkpoint(path).restore(make_trainer(), make_config(), "data")


@pytest.mark.parametrize("number", [1, 3, "2", True, 2.0])
def test_other_format(tmp_path, good, number):
    def change(meta, arrays):
        meta["format"], meta["version"] = number, "9.8.7"

    path = rewritten(tmp_path / "checkpoint.npz", good, change)
    expected = (
        f"has format {number!r} .written by ddnmf_np 9.8.7.; this version, .*, reads format 2"
    )
    with pytest.raises(CheckpointError, match=expected):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("widht", [3], "option 'widht' is unknown; did you mean 'widths'?"),
        ("lr", -1.0, "lr is -1.0; expected a finite number > 0"),
        ("rank", "ten", "rank is 'ten'; expected a whole number"),
    ],
)
def test_configuration_that_cannot_be_used(tmp_path, good, name, value, text):
    path = rewritten(
        tmp_path / "checkpoint.npz", good, lambda meta, arrays: meta["config"].update({name: value})
    )
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert f"{path}: its description cannot be used: {text}" in str(caught.value)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda meta: meta.pop("position"),
        lambda meta: meta.pop("data_sha256"),
        lambda meta: meta.update(t="7"),
        lambda meta: meta.update(t=-1),
        lambda meta: meta.update(history=None),
        lambda meta: meta.update(history=[]),
        lambda meta: meta.update(n_features=0),
        lambda meta: meta["position"].update(epoch=-1),
        lambda meta: meta["position"].update(batch="1"),
        lambda meta: meta["position"].update(more=1),
    ],
)
def test_description_that_cannot_be_used(tmp_path, good, spoil):
    path = rewritten(tmp_path / "checkpoint.npz", good, lambda meta, arrays: spoil(meta))
    with pytest.raises(CheckpointError, match="its description cannot be used"):
        load_checkpoint(path)


def test_other_data(tmp_path, good):
    path = tmp_path / "checkpoint.npz"
    path.write_bytes(good)
    trainer = make_trainer()
    before = snapshot(trainer.model)
    with pytest.raises(CheckpointError, match=r"other data .SHA-256 data.*, now other.*give those"):
        load_checkpoint(path).restore(trainer, trainer.config, "other")
    assert_same_state(trainer.model, before)


@pytest.mark.parametrize("option", OPTIONS.values(), ids=lambda o: o.name)
def test_changed_option(tmp_path, good, option):
    path = tmp_path / "checkpoint.npz"
    path.write_bytes(good)
    config = configure(make_config(), **{option.name: OTHER[option.name]})
    trainer = trainer_of(config)
    checkpoint = load_checkpoint(path)
    if option.resumable:
        checkpoint.restore(trainer, trainer.config, "data")
        assert trainer.position.batch == 2
        return
    with pytest.raises(CheckpointError) as caught:
        checkpoint.restore(trainer, trainer.config, "data")
    text = str(caught.value)
    old, new = make_config()[option.name], config[option.name]
    assert f"the run has {option.name} = {old!r}, not {new!r}; leave the option out" in text
    assert trainer.position.batch == 0


def test_options_written_out_are_the_same_options(tmp_path, good):
    """The run's folder holds the preset's values; they are no change."""
    path = tmp_path / "checkpoint.npz"
    path.write_bytes(good)
    trainer = trainer_of(make_config())
    load_checkpoint(path).restore(trainer, trainer.config, "data")
    assert trainer.position.batch == 2


def test_every_option_survives(tmp_path):
    for name in OPTIONS:
        config = configure(make_config(), **{name: OTHER[name]})
        path = saved(tmp_path / "checkpoint.npz", trainer_of(config))
        assert load_checkpoint(path).config == config

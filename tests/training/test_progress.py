"""What is seen of a run: a line an epoch in a log, a bar on a terminal."""

import io
import os
import re
import select

import pytest
from training_cases import make_trainer, stop_after

from ddnmf_np.runs import progress


def watch(trainer, epochs, stream, on_step=None):
    shown = progress.Progress(trainer, epochs, stream)

    def both(trainer):
        shown.on_step(trainer)
        if on_step is not None:
            on_step(trainer)

    trainer.train(epochs, on_step=both, on_epoch=shown.on_epoch)
    shown.close()


def on_terminal(trainer, epochs):
    """Return what a terminal of 200 columns is sent."""
    pty = pytest.importorskip("pty", reason="Windows has no pseudo-terminals")
    import fcntl
    import struct
    import termios

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 200, 0, 0))
    shown = b""
    with os.fdopen(slave, "w") as stream:
        watch(trainer, epochs, stream)
        # It comes in pieces, the line's end last.
        while not shown.endswith(b"\n") and select.select([master], [], [], 5.0)[0]:
            shown += os.read(master, 4096)
    os.close(master)
    return shown.decode()


def test_lines_of_a_log():
    stream = io.StringIO()
    trainer = make_trainer()
    watch(trainer, 3, stream)
    *legend, one, two, three = stream.getvalue().splitlines()
    assert [line.split()[0] for line in legend] == ["total", "supervisor", "follow", "factorize"]
    for number, (line, record) in enumerate(
        zip((one, two, three), trainer.history, strict=True), start=1
    ):
        found = re.fullmatch(
            rf"epoch {number}/3  total (\S+) = supervisor (\S+) \+ follow (\S+) \+ "
            r"factorize (\S+)  ([\d,]+) samples/s",
            line,
        )
        assert found
        shown = [float(text.replace(",", "")) for text in found.groups()]
        exact = [record[f"loss_{name}"] for name in ("in", "sym", "ap", "nc")]
        assert shown[0] == pytest.approx(exact[0], rel=1e-3)
        assert shown[:4] == pytest.approx(exact, abs=exact[0] / 1000)  # all weights are 1
        assert shown[4] == pytest.approx(record["samples_per_second"], abs=0.51)


RECORD = {"loss_in": 0.0, "loss_sym": 0.06209, "loss_ap": 0.04446, "samples_per_second": 6267.0}


@pytest.mark.parametrize("alpha", [0.0137, 1.0, 13.67, 54321.0])
def test_shown_losses_are_weighted_and_add_up(alpha):
    weights = {"sym": alpha, "ap": 0.01}
    total = alpha * 0.06209 + 0.01 * 0.04446
    shown = progress.describe(RECORD | {"loss_in": total}, weights)
    numbers = [float(n) for n in re.findall(r"(?<=[a-z] )[\d.]+", shown.split("  ")[0])]
    assert len(numbers) == 3
    assert numbers[0] == pytest.approx(total, rel=1e-3)
    assert numbers[0] == pytest.approx(sum(numbers[1:]), rel=2e-3)


@pytest.mark.parametrize("total", [0.0, float("nan"), float("inf")])
def test_a_total_that_has_no_size_is_shown(total):
    shown = progress.describe(RECORD | {"loss_in": total}, {"sym": 1.0})
    assert shown.startswith(f"total {total:.3f} = supervisor 0.062")


def test_legend_explains_what_the_lines_have_and_nothing_else():
    text = progress.legend({"sym": 1.0, "rec": 2.0}, held_out=True)
    first, *rest = text.splitlines()
    assert first == "total = supervisor + student, each loss times its weight"
    assert [line.split()[0] for line in rest] == ["supervisor", "student", "unexplained"]


@pytest.mark.parametrize(("silence", "shown"), [(1e9, [1, 2, 4, 6, 8, 9]), (0.0, range(1, 10))])
def test_log_of_many_epochs_is_thinned_but_never_silent(monkeypatch, silence, shown):
    """A million epochs print their first, and one after each ten seconds."""
    monkeypatch.setattr(progress, "LINES", 4)
    monkeypatch.setattr(progress, "SILENCE", silence)
    stream = io.StringIO()
    watch(make_trainer(), 9, stream)
    found = re.findall(r"^epoch (\d)/9  ", stream.getvalue(), re.MULTILINE)
    assert [*map(int, found)] == [*shown]


def test_bar_on_a_terminal():
    shown = on_terminal(make_trainer(), 3)
    last = shown.rstrip().split("\r")[-1]
    assert "100%" in last
    assert "15/15" in last  # steps of all epochs
    assert " supervisor " in last
    assert shown.count("each loss times its weight") == 1
    assert "samples/s" in last
    assert shown.endswith("\n")  # what is printed next has a line of its own
    assert "epoch 1/3" not in shown


def test_bar_of_a_resumed_run_starts_where_it_stopped():
    trainer = make_trainer()
    trainer.train(3, on_step=stop_after(7))
    trainer.stop_requested = False
    shown = on_terminal(trainer, 3)
    assert "7/15" in next(text for text in shown.split("\r") if "/15" in text)
    assert "15/15" in shown

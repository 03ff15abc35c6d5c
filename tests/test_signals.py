"""SIGTERM ends every command as Ctrl-C does; what an error says cannot command a terminal."""

import signal
from importlib import import_module

import pytest

from ddnmf_np.errors import INTERRUPTED

COMMANDS = {
    "report.__main__": ("report.page.make_report", ["run"]),
    "explore.__main__": ("explore.content.open_run", ["run"]),
    "bench.__main__": ("bench.__main__.run_comparison", []),
    "bench.shuffling": ("bench.shuffling.measure", []),
    "experiments.__main__": ("experiments.campaign.run", ["table1"]),
    "teaching.__main__": ("teaching.grading.grade", ["grade", "x"]),
    "teaching.refresh": ("teaching.refresh.refresh", ["x.py"]),
    "doctor": ("doctor.examine", []),
}
"""By module: the function that does the work, and arguments with which it is called."""


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no such signal")
@pytest.mark.parametrize("number", [signal.SIGTERM, getattr(signal, "SIGHUP", None)])
@pytest.mark.parametrize("name", COMMANDS)
def test_signal_ends_as_ctrl_c_does(name, number, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    module, (work, arguments) = import_module(f"ddnmf_np.{name}"), COMMANDS[name]
    before = signal.getsignal(number)
    monkeypatch.setattr(f"ddnmf_np.{work}", lambda *_, **__: signal.raise_signal(number))
    assert module.main(arguments) == INTERRUPTED
    assert "interrupted" in capsys.readouterr().err
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("name", ["report.__main__", "explore.__main__", "teaching.refresh"])
def test_names_in_errors_command_no_terminal(name, tmp_path, capsys):
    module = import_module(f"ddnmf_np.{name}")
    assert module.main([str(tmp_path / "\x1b[31mred")]) != 0
    err = capsys.readouterr().err
    assert "red" in err
    assert "\x1b" not in err

from __future__ import annotations

import io

import pytest

from mafl_opt.cli.progress import show_progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_silent_progress_is_none():
    with show_progress("work", silent=True) as progress:
        assert progress is None


def test_progress_off_a_terminal_prints_a_few_lines(capsys, monkeypatch):
    now = iter([0.0, 1.0, 4.9, 5.0, 6.0])
    monkeypatch.setattr("mafl_opt.cli.progress.time.monotonic", lambda: next(now))
    with show_progress("work") as progress:
        for step in range(5):
            progress(f"step {step}", None if step == 0 else step / 4)
    assert capsys.readouterr().err == "work: step 0\nwork: 75% step 3\n"


def test_progress_on_a_terminal_is_a_bar_that_leaves_no_trace(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with show_progress("work") as progress:
        progress("bound 1.5", 0.25)
        progress("overshoot", 7.0)
    text = terminal.getvalue()
    assert "work:  25%" in text
    assert "bound 1.5" in text
    assert "100%" in text
    assert text.rstrip("\r").endswith(" ") and "\n" not in text


def test_progress_lets_errors_through(monkeypatch):
    monkeypatch.setattr("sys.stderr", Terminal())
    with pytest.raises(RuntimeError, match="lost"), show_progress("work"):
        raise RuntimeError("lost")

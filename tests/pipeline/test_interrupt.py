"""Ctrl-C is heard at the next step even where Python drops the exception."""

import gc
import os
import signal
import sys
from contextlib import suppress

import pytest

from pipeline.interrupt import heard, unheard


def test_a_ctrl_c_whose_exception_was_swallowed_is_raised_at_the_next_check() -> None:
    before = signal.getsignal(signal.SIGINT)
    heard_at = []
    with suppress(KeyboardInterrupt), heard() as interrupt:
        with suppress(KeyboardInterrupt):  # as the interpreter does in a garbage collector's callback
            os.kill(os.getpid(), signal.SIGINT)
        heard_at.append("before")
        interrupt.check()
        heard_at.append("after")
    assert heard_at == ["before"]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_swallowed_ctrl_c_is_raised_at_the_end_when_no_check_follows() -> None:
    with pytest.raises(KeyboardInterrupt), heard(), suppress(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_processes_that_start_unheard_ignore_ctrl_c_and_the_run_hears_it_afterwards() -> None:
    with heard() as interrupt:
        with unheard():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGINT) == interrupt.ask


def test_what_python_drops_in_a_callback_leaves_no_traceback_and_other_errors_do(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)  # pytest's own gathers, the interpreter's prints

    def stop(phase: str, info: dict[str, int]) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    def fail(phase: str, info: dict[str, int]) -> None:
        raise ValueError("an error of the callback itself")

    for callback in (fail, stop):
        with suppress(KeyboardInterrupt), heard():
            gc.callbacks.append(callback)
            gc.collect()
            gc.callbacks.remove(callback)
    told = capsys.readouterr().err
    assert "an error of the callback itself" in told
    assert "KeyboardInterrupt" not in told
    assert sys.unraisablehook is sys.__unraisablehook__

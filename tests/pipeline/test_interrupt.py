"""Ctrl-C is heard at the next step even where Python drops the exception."""

import os
import signal
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

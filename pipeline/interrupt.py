"""Ctrl-C that cannot be lost: the signal is remembered, since Python drops an exception raised inside a callback of its own.

A garbage collector's callback (dask has one) or a destructor swallows KeyboardInterrupt with a traceback on stderr; a run
that heard nothing would go on to its end. The wish is remembered, and the traceback, which tells the user nothing, is left out.
"""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, current_thread, main_thread
from types import FrameType


class Interrupt:
    """Remembers that the user asked to stop."""

    def __init__(self) -> None:
        self._asked = Event()

    def ask(self, number: int = signal.SIGINT, frame: FrameType | None = None) -> None:
        """Note the wish and stop at once where that is possible (a signal handler)."""
        self._asked.set()
        raise KeyboardInterrupt

    def check(self) -> None:
        """Raise KeyboardInterrupt when the user has asked to stop."""
        if self._asked.is_set():
            raise KeyboardInterrupt


@contextmanager
def heard() -> Iterator[Interrupt]:
    """Hear Ctrl-C for the time of a run; the run calls `check` between its steps. Outside the main thread nothing changes."""
    interrupt = Interrupt()
    if current_thread() is not main_thread():
        yield interrupt
        return
    before = signal.signal(signal.SIGINT, interrupt.ask)
    hook = sys.unraisablehook

    def tell(dropped: "sys.UnraisableHookArgs") -> None:
        if not issubclass(dropped.exc_type, KeyboardInterrupt):
            hook(dropped)

    sys.unraisablehook = tell
    try:
        yield interrupt
        interrupt.check()
    finally:
        sys.unraisablehook = hook
        signal.signal(signal.SIGINT, before)


@contextmanager
def unheard() -> Iterator[None]:
    """Let processes that start now ignore Ctrl-C, which a terminal sends to all: the run stops its workers itself."""
    if current_thread() is not main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)

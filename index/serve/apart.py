"""Work that reads for hours, in a process of its own: it shares no lock of Python's with the searches, and gives way to them."""

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from index.serve.jobs import Note
from pipeline.errors import StorageError, TamisError

P = ParamSpec("P")
T = TypeVar("T")
_NICE: Final = 10


def apart(work: Callable[Concatenate[Note, P], T], note: Note, *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what `work(note, …)` returns, done in another process; both it and its arguments must be such that pickle takes them.

    A TamisError comes back as itself; StorageError when the process was killed.
    """
    context = multiprocessing.get_context("spawn")  # a fork would copy the server's threads' locks
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(theirs, work, args, kwargs), name="tamis-apart")
    process.start()
    theirs.close()  # the other process has its own end, and the pipe ends with it
    try:
        while True:
            kind, said = mine.recv()
            if kind == "note":
                note(*said)
            elif kind == "done":
                result: T = said
                return result
            else:
                raise said if isinstance(said, TamisError) else RuntimeError(said)
    except EOFError:
        process.join()
        raise StorageError(
            f"the work was stopped from outside (exit code {process.exitcode}); begin it again"
        ) from None
    finally:
        mine.close()
        process.join()


def _work(send: Connection, work: Callable[..., Any], args: Any, kwargs: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is meant for the server, which waits for us
    os.nice(_NICE)

    def note(what: str, done: int, total: int) -> None:
        send.send(("note", (what, done, total)))

    try:
        said = "done", work(note, *args, **kwargs)
    except TamisError as error:
        said = "failed", error
    except Exception:  # noqa: BLE001 (it goes to the server's log)
        said = "failed", traceback.format_exc()
    send.send(said)

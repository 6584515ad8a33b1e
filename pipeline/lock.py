"""One run at a time on a data set. Commits are safe without it; the lock spares two runs the same work."""

import fcntl
import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

from pipeline.errors import DatasetBusy, StorageError
from pipeline.store import Store

_NAME = "run.lock"
_STALE_S = 60.0
_BEAT_S = 10.0


def _holder() -> dict[str, object]:
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "since_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _busy(store: Store, holder: str) -> DatasetBusy:
    return DatasetBusy(
        f"{store.root}: another run holds this data set ({holder}); wait for it or stop it, then run again. "
        "`tamis status` shows how far it is"
    )


@contextmanager
def hold(store: Store) -> Iterator[None]:
    """Hold the data set for one run, or raise DatasetBusy naming the run that does.

    Locally the kernel drops the lock with the process, however it ends. On an object store the lock is an object that
    its holder renews every 10 s and that counts as abandoned after 60 s.
    """
    with _hold_local(store) if store.is_local else _hold_remote(store):
        yield


@contextmanager
def _hold_local(store: Store) -> Iterator[None]:
    path = Path(store.root) / _NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as handle:
        for attempt in range(10):  # a `tamis status` holds it for a moment
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                handle.seek(0)
                if attempt == 9:
                    raise _busy(store, handle.read().strip() or "unknown") from None
                time.sleep(0.1)
        os.set_inheritable(handle.fileno(), False)  # workers must not keep the lock of a killed run
        with suppress(OSError):  # who holds it is a courtesy; on a full disk the lock holds all the same
            handle.truncate(0)
            handle.write(json.dumps(_holder()))
            handle.flush()
        yield
        with suppress(OSError):
            handle.truncate(0)


@contextmanager
def _hold_remote(store: Store) -> Iterator[None]:
    mine = _holder() | {"token": uuid.uuid4().hex, "beat": time.time()}
    if not store.create(_NAME, json.dumps(mine).encode()):
        theirs: dict[str, object] = {}
        with suppress(FileNotFoundError, ValueError):
            theirs = json.loads(store.read(_NAME))
        if time.time() - float(str(theirs.get("beat", 0))) < _STALE_S:
            raise _busy(store, json.dumps(theirs))
        store.delete(_NAME)
        if not store.create(_NAME, json.dumps(mine).encode()):
            raise _busy(store, "one that has just started")
    stop = Event()

    def beat() -> None:
        while not stop.wait(_BEAT_S):
            with suppress(OSError, StorageError, ValueError):
                if json.loads(store.read(_NAME)).get("token") != mine["token"]:
                    return  # taken over: commits stay safe without the lock
                store.write(_NAME, json.dumps(mine | {"beat": time.time()}).encode())

    thread = Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        with suppress(FileNotFoundError, ValueError):
            if json.loads(store.read(_NAME)).get("token") == mine["token"]:
                store.delete(_NAME)


def is_held(store: Store) -> bool:
    """Tell whether a run holds the data set right now."""
    path = store.local(_NAME)
    if path is None:
        with suppress(FileNotFoundError, ValueError):
            beat = json.loads(store.read(_NAME)).get("beat", 0)
            return time.time() - float(beat) < _STALE_S
        return False
    if not path.exists():
        return False
    with path.open("r") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False

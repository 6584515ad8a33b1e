"""Work in a process of its own comes back as if it had been done here, also where it fails or is killed."""

import os
import signal
from typing import Any

import pytest

from index.serve.apart import apart
from index.serve.jobs import Note
from pipeline.errors import InputError, StorageError


def count(note: Note, most: int) -> tuple[int, int, int]:
    for number in range(most):
        note("counting", number, most)
    return most, os.getpid(), os.nice(0)


def fail(note: Note, how: str) -> None:
    if how == "told":
        raise InputError("not that")
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    raise ZeroDivisionError("/secret")


def test_its_result_and_its_progress_come_back() -> None:
    seen: list[Any] = []
    most, process, nice = apart(count, lambda *said: seen.append(said), 3)
    assert (most, seen) == (3, [("counting", number, 3) for number in range(3)])
    assert process != os.getpid()
    assert nice > os.nice(0)


@pytest.mark.parametrize(
    ("how", "error", "says"),
    [
        ("told", InputError, "^not that$"),
        ("failed", RuntimeError, "ZeroDivisionError: /secret"),
        ("killed", StorageError, r"stopped from outside \(exit code -9\); begin it again"),
    ],
)
def test_its_failure_is_a_failure_here(how: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        apart(fail, lambda *_: None, how)

"""Where a run's exports went, and the evidence of what they saw: `exports/<id>/` in the run's folder, noted before an export is written.

The evidence (the checkpoint's cursor, the ledger up to its step) is the export's own: what becomes of the run's checkpoints
and ledger later changes nothing of what is said about what was handed out.
"""

import errno
import json
import os
import shutil
import socket
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, TypeAdapter

from pipeline.errors import FormatError, InputError
from pipeline.snapshot import require_latest
from train import checkpoint, ledger
from train.run import enter, open_run

FOLDER: Final = "exports"
_NOTE = "export.json"


@dataclass(frozen=True)
class HandedOut:
    """An export of a checkpoint's weights; the folder may have been moved, copied or removed since."""

    folder: str
    draft: str
    """Where it was being written."""
    host: str
    step: Annotated[int, Field(ge=0, lt=2**62)]
    utc: str
    evidence: Path
    """Folder with the checkpoint's cursor and the ledger up to its step."""
    damage: str | None = None
    """Why nothing else here can be believed."""

    @property
    def place(self) -> str:
        """Return where it went: the draft that a killed export left on this machine, or the folder."""
        return self.draft if self.host == socket.gethostname() and _exists(Path(self.draft)) else self.folder

    def must_be_sound(self) -> None:
        """Raise FormatError where the note is damaged."""
        if self.damage is not None:
            raise FormatError(self.damage)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # no name that could be
        return False


_NOTES: Final = TypeAdapter(HandedOut)


@contextmanager
def noted(weights: Sequence[tuple[Path, int]], out: Path) -> Iterator[Path]:
    """Note in each run's folder that its weights of a step go to `out`, and give the folder to draft them in.

    What is not written after all is taken back. InputError where `out` holds something or lies among such notes.
    """
    out = _resolved(out)
    for run, _ in weights:
        if out.is_relative_to(run.resolve() / FOLDER):
            raise InputError(f"{out}: lies where {run} keeps the notes of its exports; name another folder")
    checkpoint.must_be_new(out)
    draft = out.with_name(f".{out.name[:40]}.{uuid.uuid4().hex[:8]}.draft")  # a name may be as long as names may be
    made = []
    try:
        for run, step in weights:
            source = open_run(run)
            require_latest(source.store)
            enter(source)  # a copy of a run is found by lineage too, once weights of it leave
            made.append(_note(run, step, out, draft))
        yield draft
    except BaseException as error:
        others = isinstance(error.__cause__, OSError) and error.__cause__.errno in (errno.ENOTEMPTY, errno.EEXIST)
        if not _exists(draft) and (others or not (out.is_dir() and any(out.iterdir()))):
            for note in made:
                shutil.rmtree(note, ignore_errors=True)
        raise


def _resolved(out: Path) -> Path:
    try:
        found = out.resolve()
        str(found).encode()
        found.exists()  # asks whether the disk can have such a name
    except (RuntimeError, OSError, UnicodeEncodeError) as error:
        name = os.fsencode(out).decode(errors="replace")
        raise InputError(f"{name}: no folder that an export can be told by ({error}); name another") from error
    return found


def _note(run: Path, step: int, out: Path, draft: Path) -> Path:
    told = {
        "folder": str(out), "draft": str(draft), "host": socket.gethostname(), "step": step,
        "utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip

    def write(note: Path) -> None:
        note.mkdir(parents=True)
        checkpoint.copy_cursor(run, step, note)
        ledger.link(run, step, note)
        (note / _NOTE).write_text(json.dumps(told, sort_keys=True, indent=1) + "\n")

    name = uuid.uuid4().hex[:16]
    checkpoint.publish(run / FOLDER / name, run / FOLDER / f".{name}.draft", write)
    return run / FOLDER / name


def exports(run: Path) -> list[HandedOut]:
    """Return the exports of a run's weights by their steps, damaged notes among them; FormatError where they cannot be listed."""
    found = []
    try:
        notes = sorted(path for path in (run / FOLDER).iterdir() if not path.name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise FormatError(f"{run / FOLDER}: what was exported cannot be listed ({error})") from error
    for path in notes:
        try:
            told = json.loads((path / _NOTE).read_bytes())
            found.append(_NOTES.validate_python({**told, "evidence": path}))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            why = (
                f"{path / _NOTE}: not a note of an export ({error}); restore it from a backup, or remove {path} if you know where "
                "the export is"
            )
            found.append(HandedOut(str(path), "", "an unknown machine", 0, "", path, why))
    return sorted(found, key=lambda one: (one.step, one.utc, one.folder))

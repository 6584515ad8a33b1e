"""A run that is damaged is told to be so; nothing is said of what it saw, and the other runs answer."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import TamisError
from pipeline.store import Store
from tests.train import tiny_run
from tests.train.command import tamis
from tests.train.test_lineage import fed, hide
from train.lineage import checkpoints
from train.run import REGISTER


def _edited(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    told = json.loads((folder / "run.json").read_text())
    change(told)
    (folder / "run.json").write_text(json.dumps(told))


def _as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a key that is none": lambda run: _edited(run, lambda told: told["config"].update(extra={})),
    "a value that is none": lambda run: _edited(run, lambda told: told["config"]["optim"].update(batch="x")),
    "no configuration": lambda run: _edited(run, lambda told: told.update(config=None)),
    "a kind that is none": lambda run: _edited(run, lambda told: told.update(kind="sculptor")),
    "parents of another type": lambda run: _edited(run, lambda told: told.update(parents=3)),
    "parts of another type": lambda run: _edited(run, lambda told: told.update(frozen=["x"])),
    "a snapshot of another type": lambda run: _edited(run, lambda told: told.update(snapshot="one")),
    "another seed": lambda run: _edited(run, lambda told: told["config"]["data"].update(seed=9)),
    "other rows": lambda run: (run / "rows" / "names.npy").write_bytes(
        (run / "rows" / "names.npy").read_bytes()[:-1] + b"x"
    ),
    "fewer names": lambda run: np.save(run / "rows" / "names.npy", np.load(run / "rows" / "names.npy")[:-1]),
    "names of floats": lambda run: np.save(run / "rows" / "names.npy", np.load(run / "rows" / "names.npy") * 1.0),
    "a folder of names": lambda run: _as_folder(run / "rows" / "names.npy"),
    "no shards": lambda run: (run / "rows" / "manifest.json").write_text(
        json.dumps(json.loads((run / "rows" / "manifest.json").read_text()) | {"shards": []})
    ),
    "no ledger": lambda run: shutil.rmtree(run / "ledger"),
    "a gap in the ledger": lambda run: next((run / "ledger").glob("000000000-*.npz")).unlink(),
    "a folder in the ledger": lambda run: _as_folder(next((run / "ledger").glob("000000000-*.npz"))),
    "a checkpoint without its cursor": lambda run: next((run / "checkpoints").glob("*/cursor.json")).unlink(),
    "an empty scale": lambda run: (run / "ledger" / "scale.roaring").write_bytes(b""),
    "no rows of the scale": lambda run: (run / "ledger" / "scale.roaring").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_run_is_said_to_be_unknown_and_the_others_answer(own: Store, tmp_path: Path, damage: str) -> None:
    sound, broken = (tiny_run.trained(own, tmp_path / name, "prior") for name in ("sound", "broken"))
    uid = fed(sound, 1)[0][0]
    DAMAGES[damage](broken.folder)
    told = {one["run"]: one for one in checkpoints(own, [uid])[uid]}
    assert told[sound.facts.id]["times"] == 1
    assert (told[broken.facts.id]["times"], str(broken.folder) in told[broken.facts.id]["unknown"]) == (None, True)
    hide(own, uid)
    before = len(own.names(REGISTER))
    with pytest.raises(TamisError):
        tamis("train", "after-erasure", broken.folder, "--out", tmp_path / "new")
    assert (len(own.names(REGISTER)), (tmp_path / "new").exists()) == (before, False)

"""Exports: noted before they are written, told like checkpoints, and not forgotten with them."""

import socket
from pathlib import Path

import pytest

from pipeline import exposure
from pipeline.errors import InputError, TamisError
from pipeline.store import Store
from tests.train import tiny_run
from tests.train.command import tamis
from tests.train.test_lineage import every, fed, hide
from train import checkpoint
from train.handed_out import exports, noted
from train.lineage import checkpoints, tainted


def test_exports_are_told_like_checkpoints_and_outlive_them(own: Store, tmp_path: Path) -> None:
    """What was handed out at a step holds what the step had seen, whatever became of the run's checkpoints."""
    run = tiny_run.trained(own, tmp_path / "run", "decoder", **every(3, of=9))
    prior = tiny_run.trained(own, tmp_path / "prior", "prior", optim={"steps": 4})
    early, late = tmp_path / "early", tmp_path / "late"
    tamis("export", run.folder, "--step", "3", "--out", early)
    tamis("export", run.folder, "--prior", prior.folder, "--out", late)
    batches = fed(run, 9)
    uid = next(uid for uid in batches[4] if all(uid not in batch for batch in batches[:3]))  # and no scale knows it
    told = {one["checkpoint"]: one for one in checkpoints(own, [uid])[uid] if one["run"] == run.facts.id}
    assert list(told) == [*(str(run.folder / checkpoint.name(step)) for step in (6, 9)), str(late)]
    at = told[str(late)]
    assert (at["exported"]["step"], at["first_step"], at["times"]) == (
        9,
        4,
        told[str(run.folder / checkpoint.name(9))]["times"],
    )
    assert (at["exported"]["host"], at["last_clean"]) == (socket.gethostname(), str(run.folder / checkpoint.name(3)))
    assert f"{late}, exported there of step 9 on {socket.gethostname()}, 20" in exposure.told(at)
    shared = fed(prior, 1)[0][0]
    of_prior = [one for one in checkpoints(own, [shared])[shared] if one["run"] == prior.facts.id]
    assert [(one["checkpoint"], one.get("exported", {}).get("step")) for one in of_prior][-1] == (str(late), 4)
    hide(own, uid)
    holders, export = [str(run.folder / checkpoint.name(step)) for step in (6, 9)], f"{late} (an export, on "
    found = tainted(run)
    assert found is not None
    assert (found.first_step, found.clean, found.holders[:-1]) == (4, 3, holders)
    assert found.holders[-1].startswith(export)
    for step in checkpoint.steps(run.folder):
        checkpoint.remove(run.folder, step)
    found = tainted(run)
    assert found is not None
    assert (found.first_step, found.clean, len(found.holders), found.holders[0].startswith(export)) == (
        4,
        None,
        1,
        True,
    )
    told = {one["checkpoint"]: one for one in checkpoints(own, [uid])[uid] if one["run"] == run.facts.id}
    assert list(told) == [str(late), str(run.folder)]
    assert "copies of them" in told[str(run.folder)]["unknown"]


def test_an_export_that_fails_is_not_told_and_one_that_is_there_is_not_forgotten(own: Store, tmp_path: Path) -> None:
    run = tiny_run.trained(own, tmp_path / "run", optim={"steps": 4})
    out = tmp_path / "model"
    during: list[int] = []

    def fails() -> None:
        with noted([(run.folder, 4)], out):
            during.extend(one.step for one in exports(run.folder))
            raise TamisError("the disk is full")

    with pytest.raises(TamisError, match="full"):
        fails()
    assert (during, exports(run.folder)) == ([4], [])  # noted before the first byte of it
    tamis("export", run.folder, "--out", out)
    with pytest.raises(InputError, match="is not empty"):
        tamis("export", run.folder, "--out", out)
    with pytest.raises(InputError, match="was exported already"):
        tamis("export", out, "--out", tmp_path / "again")
    assert [(one.step, one.folder) for one in exports(run.folder)] == [(4, str(out))]
    (note,) = (run.folder / "exports").iterdir()
    note.write_text("{")
    uid = fed(run, 1)[0][0]
    (told,) = [one for one in checkpoints(own, [uid])[uid] if one["run"] == run.facts.id]
    assert "not a note of an export" in told["unknown"]

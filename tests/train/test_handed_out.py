"""Exports: noted before they are written, told like checkpoints, and not forgotten with them."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import exposure
from pipeline.errors import InputError, InvariantError, TamisError
from pipeline.store import Store
from tests.train import tiny_clip, tiny_run
from tests.train.command import tamis
from tests.train.test_lineage import every, fed, hide
from train import checkpoint
from train.handed_out import exports, noted
from train.lineage import checkpoints, tainted
from train.run import create, open_run
from train.start import train

ROOT = Path(__file__).parents[2]


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
    assert f"{late}, an export of step 9 made on {socket.gethostname()}, 20" in exposure.told(at)
    shared = fed(prior, 1)[0][0]
    of_prior = [one for one in checkpoints(own, [shared])[shared] if one["run"] == prior.facts.id]
    assert [(one["checkpoint"], one.get("exported", {}).get("step")) for one in of_prior][-1] == (str(late), 4)
    hide(own, uid)
    found = tainted(run)
    assert found is not None
    assert (found.rows, found.first_step, found.clean) == (1, 4, 3)
    assert found.holders == [str(run.folder / checkpoint.name(step)) for step in (6, 9)]
    assert found.exports == [f"{late} (an export of step 9 made on {socket.gethostname()})"]
    for step in checkpoint.steps(run.folder):
        checkpoint.remove(run.folder, step)
    found = tainted(run)
    assert found is not None
    assert (found.first_step, found.clean, found.holders) == (4, None, [])
    assert [one.split(" (")[0] for one in found.exports] == [
        str(late), "copies of checkpoints after step 0 that were moved away",
    ]  # fmt: skip
    told = {one["checkpoint"]: one for one in checkpoints(own, [uid])[uid] if one["run"] == run.facts.id}
    assert list(told) == [str(late), str(run.folder)]
    assert "copies of them" in told[str(run.folder)]["unknown"]
    said = tamis("train", "after-erasure", run.folder)
    assert "there is nothing to train again" in said
    assert f"  {late} (an export of step 9" in said


def test_what_an_export_saw_stays_known_when_its_run_goes_another_way(own: Store, tmp_path: Path) -> None:
    """The checkpoint is moved away, somebody is hidden, the run is resumed: the export alone has seen them."""
    run = tiny_run.trained(own, tmp_path / "run", "decoder", **every(2, of=4))
    tamis("export", run.folder, "--out", tmp_path / "model")
    uid = fed(run, 4)[3][0]
    assert uid not in [one for batch in fed(run, 3) for one in batch]
    checkpoint.remove(run.folder, 4)
    (gone,) = checkpoints(own, [uid])[uid][1:]
    assert (gone["first_step"], "after step 2 are gone" in gone["unknown"]) == (3, True)
    hide(own, uid)
    assert train(open_run(run.folder), quiet=True)
    (told,) = checkpoints(own, [uid])[uid]
    assert (told["checkpoint"], told["first_step"], told["times"]) == (str(tmp_path / "model"), 3, 1)
    assert told["last_clean"] == str(run.folder / checkpoint.name(4))
    found = tainted(open_run(run.folder))
    assert found is not None
    assert (found.rows, found.holders, len(found.exports)) == (1, [], 1)


def test_whose_vectors_scaled_an_export_stays_known_when_its_run_begins_anew(own: Store, tmp_path: Path) -> None:
    run = tiny_run.trained(own, tmp_path / "run", "prior", data={"scale_rows": 32}, optim={"steps": 2})
    decoder = tiny_run.trained(own, tmp_path / "decoder", optim={"steps": 2})
    tamis("export", decoder.folder, "--prior", run.folder, "--out", tmp_path / "model")
    uid = fed(run, 4)[3][0]
    checkpoint.remove(run.folder, 2)
    hide(own, uid)
    assert train(open_run(run.folder), quiet=True)
    told = [one for one in checkpoints(own, [uid])[uid] if one["run"] == run.facts.id]
    assert [(one["checkpoint"], one["first_step"], one["times"]) for one in told] == [
        (str(tmp_path / "model"), None, 0)
    ]


@pytest.mark.parametrize("damage", ["no evidence", "another seed", "no scale", "no cursor"])
def test_an_export_of_which_nothing_can_be_said_any_more_is_unknown(own: Store, tmp_path: Path, damage: str) -> None:
    run = tiny_run.trained(own, tmp_path / "run", optim={"steps": 4})
    tamis("export", run.folder, "--out", tmp_path / "model")
    uid = fed(run, 1)[0][0]
    (note,) = (run.folder / "exports").iterdir()
    match damage:
        case "no evidence":
            shutil.rmtree(note / "ledger")
        case "another seed":
            checkpoint.remove(run.folder, 4)
            path = run.folder / "run.json"
            path.write_text(path.read_text().replace('"seed": 0', '"seed": 9'))
        case "no scale":
            (note / "ledger" / "scale.roaring").unlink()
        case "no cursor":
            (note / "cursor.json").unlink()
    told = [one for one in checkpoints(own, [uid])[uid] if "unknown" in one]
    assert len(told) == 1
    assert told[0]["times"] is None
    hide(own, uid)
    if damage == "another seed":
        with pytest.raises(InvariantError):
            tainted(open_run(run.folder))
    else:
        found = tainted(run)
        assert found is not None
        assert (
            f"{tmp_path / 'model'} (an export of step 4 made on {socket.gethostname()}), perhaps: " in found.exports[0]
        )


@pytest.mark.parametrize("at", ["noting", "drafting"])
def test_an_export_killed_at_any_point_is_told_where_it_lies(own: Store, tmp_path: Path, at: str) -> None:
    """kill -9 before the draft leaves a note too many, in the draft the note names the draft."""
    run = tiny_run.trained(own, tmp_path / "run", optim={"steps": 4})
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from train.handed_out import noted\n"
        "with noted([(Path(sys.argv[1]), 4)], Path(sys.argv[2])) as draft:\n"
        "    if sys.argv[3] == 'drafting':\n"
        "        draft.mkdir()\n"
        "        (draft / 'weights').write_bytes(bytes(9))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, run.folder, tmp_path / "model", at], cwd=ROOT)
    assert done.returncode == -9
    uid = fed(run, 1)[0][0]
    (told,) = [one for one in checkpoints(own, [uid])[uid] if "exported" in one]
    if at == "noting":
        assert told["checkpoint"] == str(tmp_path / "model")
    else:
        (draft,) = tmp_path.glob(".model.*.draft")
        assert told["checkpoint"] == str(draft)
    tamis("export", run.folder, "--out", tmp_path / "model")
    assert len(exports(run.folder)) == 2


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
    assert (during, exports(run.folder)) == ([4], [])  # it was noted before the first byte of it
    tamis("export", run.folder, "--out", out)
    with pytest.raises(InputError, match="is not empty"):
        tamis("export", run.folder, "--out", out)
    with pytest.raises(InputError, match="was exported already"):
        tamis("export", out, "--out", tmp_path / "again")
    with pytest.raises(InputError, match="keeps the notes of its exports"):
        tamis("export", run.folder, "--out", run.folder / "exports" / "mine")
    with pytest.raises(InputError, match="keeps the notes of its exports"):
        tamis("export", run.folder, "--out", run.folder / "exports")
    assert [(one.step, one.folder) for one in exports(run.folder)] == [(4, str(out))]
    (note,) = (run.folder / "exports").iterdir()
    (note / "export.json").write_text("{")
    uid = fed(run, 1)[0][0]
    (told,) = [one for one in checkpoints(own, [uid])[uid] if "unknown" in one]
    assert "not a note of an export" in told["unknown"]
    assert any(one["checkpoint"] == str(run.folder / checkpoint.name(4)) for one in checkpoints(own, [uid])[uid])


def test_what_leaves_a_copy_of_a_run_is_told_too(own: Store, tmp_path: Path) -> None:
    run = tiny_run.trained(own, tmp_path / "run", "decoder", **every(3, of=6))
    uid = fed(run, 5)[4][0]
    shutil.copytree(run.folder, tmp_path / "copy")
    tamis("export", tmp_path / "copy", "--out", tmp_path / "model")
    checkpoint.remove(run.folder, 6)
    told = {one["checkpoint"] for one in checkpoints(own, [uid])[uid] if "unknown" not in one}
    assert told == {str(tmp_path / "copy" / checkpoint.name(6)), str(tmp_path / "model")}


def test_where_the_data_set_is_out_of_reach_nobody_is_said_to_be_there_still(own: Store, tmp_path: Path) -> None:
    run = tiny_run.trained(own, tmp_path / "run", "prior", optim={"steps": 4})
    hide(own, fed(run, 1)[0][0])
    Path(own.root).rename(tmp_path / "away")
    with pytest.raises(InputError, match="no snapshot"):
        tamis("train", "after-erasure", run.folder)


def test_of_two_exports_into_one_folder_the_one_that_is_there_is_told(own: Store, tmp_path: Path) -> None:
    one, two = (tiny_run.trained(own, tmp_path / name, optim={"steps": 2}) for name in ("one", "two"))
    out = tmp_path / "model"

    def second() -> None:
        with noted([(two.folder, 2)], out) as draft:
            tamis("export", one.folder, "--out", out)  # meanwhile
            checkpoint.publish(out, draft, lambda draft: draft.mkdir())

    with pytest.raises(TamisError):
        second()
    assert ([note.folder for note in exports(one.folder)], exports(two.folder)) == ([str(out)], [])
    assert not list(tmp_path.glob(".model*"))


def test_a_folder_whose_name_is_no_text_takes_no_export(own: Store, tmp_path: Path) -> None:
    run = tiny_run.trained(own, tmp_path / "run", optim={"steps": 2})
    with pytest.raises(InputError, match="no folder that an export can be told by"):
        tamis("export", run.folder, "--out", os.fsdecode(bytes(tmp_path) + b"/mod\xffel"))
    assert exports(run.folder) == []


def test_a_name_as_long_as_names_may_be_takes_an_export_or_no_note(own: Store, tmp_path: Path) -> None:
    run = tiny_run.trained(own, tmp_path / "run", optim={"steps": 2})
    tamis("export", run.folder, "--out", tmp_path / ("m" * 255))
    assert [one.place for one in exports(run.folder)] == [str(tmp_path / ("m" * 255))]
    with pytest.raises(InputError, match="no folder that an export can be told by"):
        tamis("export", run.folder, "--out", tmp_path / ("m" * 256))
    assert len(exports(run.folder)) == 1


def test_a_checkpoint_of_another_way_that_is_put_back_is_unknown(own: Store, tmp_path: Path) -> None:
    """Moved away, somebody hidden, gone on without it, and put back: the ledger is not its own any more."""
    run = tiny_run.trained(own, tmp_path / "run", "decoder", **every(2, of=4))
    uid = fed(run, 4)[3][0]
    (run.folder / checkpoint.name(4)).rename(tmp_path / "away")
    hide(own, uid)
    assert train(open_run(run.folder), quiet=True)
    checkpoint.remove(run.folder, 4)
    (tmp_path / "away").rename(run.folder / checkpoint.name(4))
    (told,) = checkpoints(own, [uid])[uid]
    assert "is of another way that the run once took" in told["unknown"]
    with pytest.raises(InvariantError, match="another way"):
        tainted(open_run(run.folder))


def test_exports_that_cannot_be_listed_are_not_told_as_none(own: Store, tmp_path: Path) -> None:
    run = tiny_run.trained(own, tmp_path / "run", optim={"steps": 2})
    (run.folder / "exports").write_text("no folder")
    uid = fed(run, 1)[0][0]
    (told,) = [one for one in checkpoints(own, [uid])[uid] if one["run"] == run.facts.id]
    assert "cannot be listed" in told["unknown"]


def test_a_clip_leaves_no_copy_while_its_data_set_is_out_of_reach(own: Store, tmp_path: Path) -> None:
    model = tiny_clip.folder(tmp_path / "base", weights=True)
    run = create("clip", own, tiny_clip.config(model, optim={"steps": 2}), tmp_path / "run")
    assert train(run, quiet=True)
    shutil.copytree(run.folder, tmp_path / "copy")
    Path(own.root).rename(tmp_path / "away")
    with pytest.raises(InputError, match="no snapshot"):
        tamis("export", tmp_path / "copy", "--out", tmp_path / "model")
    assert not (tmp_path / "model").exists()

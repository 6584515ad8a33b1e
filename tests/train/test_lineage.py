"""Which checkpoint saw whom: as the loop really fed it, and what to do when somebody is gone."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyroaring import BitMap64

from pipeline import exposure
from pipeline.errors import FormatError, InputError, InvariantError
from pipeline.store import Store
from pipeline.tombstones import of_request, publish
from tests import small_dataset
from tests.train import tiny_run
from tests.train.command import tamis
from train import checkpoint, grid, ledger, sheets
from train import run as train_run
from train.data import Batches
from train.lineage import Exposure, checkpoints, tainted
from train.manifest import name
from train.run import REGISTER, Run, branch, open_run
from train.start import train


def fed(run: Run, until: int) -> list[list[bytes]]:
    """Return the uids of every step's batch as the loader gives them."""
    source = Batches(run.store, run.shown, run.order, pictures=False)
    return [
        [bytes(u).ljust(16, b"\0") for u, w in zip(b.uid, b.weight, strict=True) if w]
        for b in map(source.__getitem__, range(until))
    ]


def every(steps: int, *, of: int) -> dict[str, dict[str, Any]]:
    """Return what is set for checkpoints at so many steps, all kept; the scale is taken from no row that came after the first."""
    return {
        "optim": {"steps": of},
        "run": {"checkpoint_steps": steps, "keep_last": 9},
        "data": {"scale_rows": 8 * steps},
    }


def hide(store: Store, *uids: bytes) -> None:
    publish(store, of_request(list(uids), [""] * len(uids), "r1"))


@pytest.fixture(scope="module")
def long_run(pictures: Store, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A prior of 24 steps, more than two epochs, with checkpoints at 5, 10, 15, 20 and 24."""
    folder = tmp_path_factory.mktemp("runs") / "prior"
    sections = {"optim": {"steps": 24}, "run": {"checkpoint_steps": 5, "keep_last": 9}, "data": {"scale_rows": 40}}
    return tiny_run.trained(pictures, folder, "prior", **sections)


def test_every_sample_is_told_with_its_first_step_how_often_and_the_last_clean_checkpoint(long_run: Run) -> None:
    batches = fed(long_run, 24)
    uids = sorted({uid for batch in batches for uid in batch})
    assert len(uids) == long_run.shown.rows_shown
    told = checkpoints(long_run.store, uids)
    steps = checkpoint.steps(long_run.folder)
    assert steps == [5, 10, 15, 20, 24]
    for uid in uids:
        mine = [one for one in told[uid] if one["run"] == long_run.facts.id]
        first = next(step for step, batch in enumerate(batches) if uid in batch)
        saw = [step for step in steps if any(uid in batch for batch in batches[:step])]
        clean = max((step for step in steps if step <= first), default=None)
        assert [one["checkpoint"] for one in mine] == [str(long_run.folder / checkpoint.name(step)) for step in saw]
        assert {one["first_step"] for one in mine} == {first}
        assert [one["times"] for one in mine] == [Counter(u for b in batches[:step] for u in b)[uid] for step in saw]
        assert {one["last_clean"] for one in mine} == {str(long_run.folder / checkpoint.name(clean)) if clean else None}


def test_rows_held_out_for_validation_were_seen_by_no_checkpoint(long_run: Run) -> None:
    held = [
        int(name).to_bytes(8, "big")
        for name, bucket in zip(long_run.held.names, long_run.held.bucket, strict=True)
        if bucket == 0
    ]
    assert held
    assert all(Exposure(long_run).of(name + bytes(8)) == [] for name in held)


def test_times_leave_out_what_was_hidden_when_its_turn_came(own: Store, tmp_path: Path) -> None:
    run = tiny_run.begun(own, tmp_path / "run", "prior", **every(6, of=24))
    batches = fed(run, 24)
    late = batches[7][0]  # hidden after step 6: never seen
    seen = batches[2][1]  # seen once, hidden from then on
    first = tiny_run.config(
        "prior", optim={"steps": 6}, run={"checkpoint_steps": 6, "keep_last": 9}, data={"scale_rows": 48}
    )
    run = rewritten(run, first.model_dump(mode="json"))
    assert train(run, quiet=True)
    hide(own, late, seen)
    assert train(rewritten(run, {**run.facts.config, "optim": {**run.facts.config["optim"], "steps": 24}}), quiet=True)
    run = open_run(run.folder)
    assert Exposure(run).of(late) == []
    assert [one["times"] for one in Exposure(run).of(seen)] == [1, 1, 1, 1]
    assert checkpoint.read(run.folder / checkpoint.name(24)).skipped == sum(
        b.count(late) + b.count(seen) for b in batches[6:]
    )
    assert ledger.check(run.folder, run.shown, run.order, 24) == sum(map(len, batches)) - sum(
        b.count(late) + b.count(seen) for b in batches[6:]
    )


def rewritten(run: Run, config: dict[str, object]) -> Run:
    path = run.folder / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"config": config}))
    return open_run(run.folder)


def test_a_ledger_that_differs_from_the_order_is_found_with_the_epoch_and_the_row(
    long_run: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(long_run.folder, folder)
    assert ledger.check(folder, long_run.shown, long_run.order, 24) == sum(map(len, fed(long_run, 24)))
    segment = next(ledger.read(folder))
    row = segment.seen[0].pop()
    ledger.write(folder, segment)
    with pytest.raises(InvariantError, match=f"epoch 0, steps 0 to 5, 1 rows differ .* row {row}"):
        ledger.check(folder, long_run.shown, long_run.order, 24)
    path = folder / "ledger" / "000000005-000000010.npz"
    whole = path.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], whole[:100] + bytes([whole[100] ^ 255]) + whole[101:]):
        path.write_bytes(damaged)
        with pytest.raises(FormatError, match=r"000000005-000000010\.npz: not a segment of a ledger, or a damaged one"):
            list(ledger.read(folder))
    path.unlink()
    segment.seen[0].add(row)
    ledger.write(folder, segment)
    with pytest.raises(InvariantError, match="nothing for steps 5 to 10"):
        ledger.check(folder, long_run.shown, long_run.order, 24)


def test_the_command_names_checkpoints_and_a_run_that_is_gone_is_said_to_be_unknown(tmp_path: Path) -> None:
    own = small_dataset.build(tmp_path / "set", shard_samples=10_000).store  # cut as its configuration says
    run = tiny_run.trained(own, tmp_path / "run", "prior", optim={"steps": 6})
    uid = fed(run, 1)[0][0]
    said = tamis("lineage", own.root, "--uid", uid.hex())
    assert f"seen by   {run.folder / checkpoint.name(4)}, first at step 0, once; last clean: none" in said
    assert len(own.names(REGISTER)) == 1
    confirmed = json.loads(tamis("optout", "confirm", own.root, "--uid", uid.hex(), "--json"))
    assert [(one["uid"], one["first_step"], one["times"]) for one in confirmed["checkpoints"]] == [
        (uid.hex(), 0, 1)
    ] * 2
    shutil.move(run.folder, tmp_path / "elsewhere")
    (sample,) = json.loads(tamis("lineage", own.root, "--uid", uid.hex(), "--json"))["samples"]
    (seen,) = sample["checkpoints"]
    assert (seen["checkpoint"], seen["times"], "no run is there" in seen["unknown"]) == (str(run.folder), None, True)


def test_after_an_erasure_a_new_run_goes_on_from_the_last_clean_checkpoint(own: Store, tmp_path: Path) -> None:
    run = tiny_run.trained(own, tmp_path / "run", "prior", **every(3, of=9))
    assert tainted(run) is None
    gone = fed(run, 5)[4][2]
    hide(own, gone)
    found = tainted(run)
    assert found is not None
    assert (found.rows, found.first_step, found.clean) == (1, 4, 3)
    said = tamis("train", "after-erasure", run.folder, "--out", tmp_path / "new", "--quiet")
    assert "1 sample that is gone was seen, first at step 4; goes on from the checkpoint of step 3" in said
    assert [line.strip()[-9:] for line in said.splitlines() if line.startswith("  ")] == ["000000006", "000000009"]
    new = open_run(tmp_path / "new")
    assert tainted(new) is None
    assert new.facts.parents == [f"{run.facts.id}@3"]
    assert Exposure(new).of(gone) == []
    skips = BitMap64()
    for segment in ledger.read(new.folder):
        skips.update(segment.skips)
    assert [slot // 8 for slot in skips] == [4]
    assert checkpoint.steps(run.folder) == [3, 6, 9]
    assert len(own.names(REGISTER)) == 2


def test_whoever_the_scale_was_taken_from_is_in_every_checkpoint_and_in_none_of_the_new_run(
    own: Store, tmp_path: Path
) -> None:
    how = {"optim": {"steps": 9}, "run": {"checkpoint_steps": 3, "keep_last": 9}, "data": {"scale_rows": 48}}
    run = tiny_run.begun(own, tmp_path / "run", "prior", **how)
    batches = fed(run, 9)
    scaled = {uid for batch in batches[:6] for uid in batch}
    assert train(run, quiet=True)
    late = next(uid for batch in batches[6:] for uid in batch if uid not in scaled)
    early = next(uid for uid in batches[5] if uid not in {u for batch in batches[:5] for u in batch})
    stopped = tmp_path / "stopped"  # as somebody's Ctrl-C after step 3 leaves it
    shutil.copytree(run.folder, stopped)
    for step in (6, 9):
        checkpoint.remove(stopped, step)
    ledger.drop_after(stopped, 3)
    seen = {uid: Exposure(open_run(stopped)).of(uid) for uid in (early, late)}
    assert [(one["times"], one["last_clean"]) for one in seen[early]] == [(0, None)]
    assert seen[late] == []
    assert Exposure(run).of(late)[0]["last_clean"] == str(run.folder / checkpoint.name(6))
    hide(own, early)
    found = tainted(open_run(stopped))
    assert found is not None
    assert (found.rows, found.clean) == (1, None)
    new = branch(run, None, tmp_path / "new")
    assert train(new, quiet=True)
    numbers = {name_: int(at) for at, name_ in enumerate(run.shown.names.tolist())}
    gone = numbers[int(name(early))]
    assert (gone in ledger.scale(run.folder), gone in ledger.scale(new.folder)) == (True, False)
    assert len(ledger.scale(new.folder)) == len(ledger.scale(run.folder)) - 1 == len(scaled) - 1


def test_a_run_does_not_go_on_with_other_rows_settings_or_without_its_ledger(own: Store, tmp_path: Path) -> None:
    run = tiny_run.trained(own, tmp_path / "run", "prior")
    asked = replace(run.facts, config={**run.facts.config, "optim": {**run.facts.config["optim"], "steps": 12}})

    def goes_on(copy: str) -> None:
        assert train(replace(open_run(tmp_path / copy), facts=replace(asked, dataset=own.root)), quiet=True)

    for copy in ("rows", "names", "seed", "ledger", "as it was"):
        shutil.copytree(run.folder, tmp_path / copy)
    for stem, copy in (("buckets", "rows"), ("names", "names")):
        path = tmp_path / copy / "rows" / f"{stem}.npy"
        path.write_bytes(path.read_bytes()[:-1] + b"\7")
        with pytest.raises(InvariantError, match=r"the rows \(rows/\) changed since the checkpoint of step 8"):
            goes_on(copy)
    (tmp_path / "ledger" / "ledger" / "000000004-000000008.npz").unlink()
    with pytest.raises(InvariantError, match="the ledger ends at step 4, the checkpoint at 8"):
        goes_on("ledger")
    asked = replace(asked, config={**asked.config, "data": {**asked.config["data"], "seed": 4}})
    with pytest.raises(InvariantError, match=r"the settings \(run.json\) changed"):
        goes_on("seed")
    asked = replace(asked, config={**asked.config, "data": run.facts.config["data"]})
    goes_on("as it was")
    (tmp_path / "rows" / "rows" / "names.npy").write_bytes(b"")
    with pytest.raises(FormatError, match="not a run's manifest, or a damaged one"):
        open_run(tmp_path / "rows")


def test_after_erasure_called_again_after_a_kill_never_begins_from_what_is_tainted_by_now(
    own: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = {"optim": {"steps": 9}, "run": {"checkpoint_steps": 3, "keep_last": 9}, "data": {"scale_rows": 24}}
    run = tiny_run.trained(own, tmp_path / "run", "prior", **how)
    batches = fed(run, 9)
    hide(own, batches[7][0])
    found = tainted(run)
    assert found is not None
    assert found.clean == 6

    def killed(_: Run) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("train.run.keep", killed)
        with pytest.raises(KeyboardInterrupt):
            branch(run, found.clean, tmp_path / "new")
    copied = str(tmp_path / "new")
    entries = [json.loads(own.read(one))["folder"] for one in own.names(REGISTER)]
    assert copied in entries, "the copy is known though its run was not made"
    hide(own, batches[4][0])
    found = tainted(open_run(run.folder))
    assert found is not None
    assert found.clean == 3
    new = branch(run, found.clean, tmp_path / "new")
    assert checkpoint.steps(new.folder) == [3]
    assert ledger.reach(new.folder) == 3
    assert tainted(new) is None


def test_a_damaged_entry_in_the_register_is_told_and_the_others_answer(tmp_path: Path) -> None:
    own = small_dataset.build(tmp_path / "set", shard_samples=10_000).store  # cut as its configuration says
    run = tiny_run.trained(own, tmp_path / "run", "prior", optim={"steps": 6})
    own.write(f"{REGISTER}/damaged.json", b'{"run": "x", "kin')
    uid = fed(run, 1)[0][0]
    said = tamis("lineage", own.root, "--uid", uid.hex())
    assert f"seen by   {run.folder / checkpoint.name(4)}, first at step 0, once; last clean: none" in said
    assert "damaged.json: a damaged entry" in said


def test_who_only_asks_for_lineage_does_not_wait_for_diffusers() -> None:
    loaded = "import sys, train.lineage; print(*(one for one in ('diffusers', 'transformers', 'open_clip') if one in sys.modules))"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_after_erasure_makes_nothing_where_the_shards_have_expired(own: Store, tmp_path: Path) -> None:
    run = tiny_run.trained(own, tmp_path / "run", "prior", optim={"steps": 4})
    hide(own, fed(run, 1)[0][0])
    for name_ in own.names("shards/000001"):
        own.delete(name_)
    before = own.names(REGISTER)
    with pytest.raises(InputError, match="have expired"):
        tamis("train", "after-erasure", run.folder, "--out", tmp_path / "new")
    assert (own.names(REGISTER), (tmp_path / "new").exists()) == (before, False)


def test_after_erasure_names_its_folder_after_the_run_it_stands_in(
    own: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tiny_run.trained(own, tmp_path / "run", "prior")
    hide(own, fed(run, 8)[7][0])
    monkeypatch.chdir(run.folder)
    tamis("train", "after-erasure", ".", "--quiet")
    (new,) = tmp_path.glob("run-after-*")
    assert open_run(new).facts.parents[-1].startswith(run.facts.id)


def test_a_run_whose_checkpoints_are_gone_may_live_on_in_a_copy(own: Store, tmp_path: Path) -> None:
    run = tiny_run.trained(own, tmp_path / "run", "prior", data={"scale_rows": 8}, optim={"steps": 6})
    seen, unseen = (fed(run, 7)[at][0] for at in (5, 6))
    for step in checkpoint.steps(run.folder):
        checkpoint.remove(run.folder, step)
    (told,) = checkpoints(own, [seen])[seen]
    assert (told["checkpoint"], told["first_step"], told["times"]) == (str(run.folder), 5, None)
    assert "its checkpoints are gone, or were never finished; copies of them that were made hold it" in told["unknown"]
    assert checkpoints(own, [unseen])[unseen] == []


def test_of_a_row_that_gave_only_its_vector_no_step_is_told(own: Store, tmp_path: Path) -> None:
    run = tiny_run.trained(own, tmp_path / "run", "prior", data={"scale_rows": 32}, optim={"steps": 2})
    uid = fed(run, 4)[3][0]
    (told,) = checkpoints(own, [uid])[uid]
    assert (told["first_step"], told["times"], told["last_clean"]) == (None, 0, None)
    assert "its vector alone, for the scale of vectors" in exposure.told(told)


def test_who_is_removed_while_after_erasure_begins_is_not_carried_on(
    own: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tiny_run.trained(
        own,
        tmp_path / "run",
        "prior",
        optim={"steps": 9},
        run={"checkpoint_steps": 3, "keep_last": 9},
        data={"scale_rows": 8},
    )
    late, early = fed(run, 9)[7][0], fed(run, 9)[4][0]
    hide(own, late)
    begun = train_run.branch

    def meanwhile(*args: Any) -> Run:
        made = begun(*args)
        hide(own, early)
        return made

    monkeypatch.setattr(train_run, "branch", meanwhile)
    with pytest.raises(InputError, match=r"somebody else was removed meanwhile: remove .*new and run the same command"):
        tamis("train", "after-erasure", run.folder, "--out", tmp_path / "new", "--quiet")
    assert checkpoint.steps(tmp_path / "new") == [6]
    assert not (tmp_path / "new" / "metrics.jsonl").exists()


def test_sheets_go_when_somebody_they_were_drawn_for_has_gone(own: Store, tmp_path: Path) -> None:
    run = tiny_run.trained(own, tmp_path / "run", run={"sample_steps": 4})
    batches = grid.source(run)
    drawn, other = (bytes(one).ljust(16, b"\0") for one in (batches[0].uid[1], fed(run, 1)[0][0]))
    (run.folder / "quality.png").write_bytes(b"sheet")
    (run.folder / "quality.json").write_text(json.dumps({"sheet_uids": [drawn.hex()]}))
    hide(own, other)
    assert sheets.stale(run) == []
    for unknown in ("{", "[]", "{}", '{"sheet_uids": ["zz"]}', '{"sheet_uids": null}'):
        (run.folder / "quality.json").write_text(unknown)
        assert sheets.stale(run) == [run.folder / "quality.png"]  # whoever stands in it, somebody has gone
    (run.folder / "quality.json").write_text(json.dumps({"sheet_uids": [drawn.hex()]}))
    hide(own, drawn)
    said = tamis("train", "after-erasure", run.folder, "--out", tmp_path / "new", "--quiet")
    assert said.count("samples/") == 2
    assert "quality.png" in said
    assert not (run.folder / "quality.png").exists()
    assert drawn.hex() not in (run.folder / "quality.json").read_text()
    assert list((run.folder / "samples").iterdir()) == []

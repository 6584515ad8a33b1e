"""Checkpoints are whole or absent, whatever moment the power fails at, and only those the policy names are kept."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.errors import FormatError, InputError, StorageError
from train import checkpoint, ledger
from train.checkpoint import Cursor
from train.run import Run


def cursor(step: int, loss: float | None = None) -> Cursor:
    return Cursor(step, 0, 8, 0, 1, "m", "c", "v", {}, 8 * step, 0, step, loss)


def fill(folder: Path) -> None:
    (folder / "model").mkdir()
    (folder / "model" / "weights").write_bytes(b"w" * 1000)


def made(run: Path, *steps: int, losses: dict[int, float] | None = None) -> None:
    for step in steps:
        checkpoint.commit(run, cursor(step, (losses or {}).get(step)), fill)


def test_a_checkpoint_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    folder = checkpoint.commit(tmp_path, cursor(7, 0.5), fill)
    assert folder == tmp_path / "checkpoints" / "000000007"
    digest = hashlib.sha256(b"w" * 1000).hexdigest()
    assert checkpoint.read(folder) == replace(cursor(7, 0.5), files={"model/weights": digest})
    assert checkpoint.steps(tmp_path) == [7]
    assert (folder / "model" / "weights").stat().st_size == 1000


@pytest.mark.parametrize(
    ("keep_last", "keep_steps", "left"),
    [(1, None, [20, 60]), (2, None, [20, 50, 60]), (1, 30, [20, 30, 60]), (9, None, [10, 20, 30, 40, 50, 60])],
)
def test_the_last_ones_every_nth_and_the_best_are_kept(
    tmp_path: Path, keep_last: int, keep_steps: int | None, left: list[int]
) -> None:
    made(tmp_path, 10, 20, 30, 40, 50, 60, losses={10: 0.5, 20: 0.3, 30: 0.4, 40: 0.35, 60: 0.31})
    checkpoint.prune(tmp_path, keep_last, keep_steps)
    assert checkpoint.steps(tmp_path) == left


def test_a_loss_that_is_no_number_is_never_the_best(tmp_path: Path) -> None:
    made(tmp_path, 1, 2, 3, 4, losses={1: 0.5, 2: float("nan"), 3: 0.7, 4: 0.9})
    checkpoint.prune(tmp_path, 1, None)
    assert checkpoint.steps(tmp_path) == [1, 4]


def test_a_folder_that_is_no_checkpoint_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no checkpoint here"):
        checkpoint.read(tmp_path)
    (tmp_path / "cursor.json").write_text('{"step": 4')
    with pytest.raises(FormatError, match="not a checkpoint's cursor"):
        checkpoint.read(tmp_path)


@pytest.mark.parametrize(("damage", "says"), [("flip", "damaged"), ("cut", "damaged"), ("remove", "gone")])
def test_a_checkpoint_that_is_not_what_was_written_is_never_gone_on_with(
    tmp_path: Path, damage: str, says: str
) -> None:
    made(tmp_path, 3)
    folder = tmp_path / checkpoint.name(3)
    checkpoint.sound(folder)
    weights = folder / "model" / "weights"
    match damage:
        case "flip":
            weights.write_bytes(b"w" * 500 + b"v" + b"w" * 499)
        case "cut":
            weights.write_bytes(b"w" * 999)
        case _:
            weights.unlink()
    with pytest.raises(FormatError, match=rf"weights: {says} since it was written; move .*000000003 away"):
        checkpoint.sound(folder)
    checkpoint.sound(folder, "ema/")


def test_a_full_disk_is_explained_and_leaves_the_checkpoints_as_they_were(tmp_path: Path) -> None:
    made(tmp_path, 1)

    def full(folder: Path) -> None:
        fill(folder)
        raise OSError(28, "No space left on device")

    with pytest.raises(StorageError, match=r"free some room; then `tamis train … --resume` goes on"):
        checkpoint.commit(tmp_path, cursor(2), full)
    assert checkpoint.steps(tmp_path) == [1]
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["000000001"]


def test_killed_at_any_write_of_a_save_the_run_has_the_old_or_the_new_checkpoint_whole(tmp_path: Path) -> None:
    made(tmp_path, 1, 2)
    before = {step: checkpoint.read(tmp_path / checkpoint.name(step)) for step in (1, 2)}
    moments, seen = 0, set()
    while killed(lambda: save_and_prune(tmp_path), at=moments):
        moments += 1
        have = checkpoint.steps(tmp_path)
        seen.add(tuple(have))
        assert have in ([1, 2], [1, 2, 3], [2, 3])
        for step in have:
            folder = tmp_path / checkpoint.name(step)
            assert replace(checkpoint.read(folder), files={}) == replace(before.get(step, cursor(3)), files={})
            checkpoint.sound(folder)
            assert (folder / "model" / "weights").stat().st_size == 1000
        checkpoint.sweep(tmp_path)
        if 3 in checkpoint.steps(tmp_path):
            checkpoint.remove(tmp_path, 3)
        made(tmp_path, *({1, 2} - set(checkpoint.steps(tmp_path))))
    assert seen == {(1, 2), (1, 2, 3), (2, 3)}
    assert moments > 9
    assert checkpoint.steps(tmp_path) == [2, 3]


def save_and_prune(run: Path) -> None:
    checkpoint.commit(run, cursor(3), fill)
    checkpoint.prune(run, 2, None)


def killed(work: Callable[[], None], at: int) -> bool:
    """Do the work in a process that kills itself before its `at`-th change to the disk; tell whether it came to that."""
    child = os.fork()
    if child == 0:
        done = 0

        def watch(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal done
            writes = event == "open" and isinstance(arguments[1], str) and arguments[1][0] in "wax"
            if writes or event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree"):
                if done == at:
                    os.kill(os.getpid(), signal.SIGKILL)
                done += 1

        sys.addaudithook(watch)
        work()
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0
    return os.WIFSIGNALED(status)


def test_an_optimiser_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    def stepped(optimizer: torch.optim.AdamW, weight: torch.nn.Parameter, times: int) -> None:
        for _ in range(times):
            weight.grad = torch.ones_like(weight) * weight.detach()
            optimizer.step()

    one = torch.nn.Parameter(torch.arange(5.0))
    first = torch.optim.AdamW([one], lr=0.1, fused=True)
    stepped(first, one, 3)
    checkpoint.save_optimizer(first, tmp_path / "o.safetensors")
    two = torch.nn.Parameter(one.detach().clone())
    second = torch.optim.AdamW([two], lr=0.1, fused=True)
    checkpoint.load_optimizer(second, tmp_path / "o.safetensors")
    stepped(first, one, 3)
    stepped(second, two, 3)
    assert torch.equal(one, two)


def test_a_cursor_says_where_it_is_on_what(decoder_run: Run) -> None:
    found = json.loads((decoder_run.folder / checkpoint.name(8) / "cursor.json").read_text())
    assert (found["step"], found["epoch"], found["batch"], found["seed"]) == (8, 0, 8, 0)
    assert found["manifest_digest"] == decoder_run.shown.digest
    assert found["config_digest"] == decoder_run.config.digest()
    assert found["clip"]["model"] == "tamis-mini"
    assert found["validation_loss"] > 0


def test_what_lies_beside_checkpoints_and_segments_is_passed_over(decoder_run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(decoder_run.folder, folder)
    shutil.copytree(folder / checkpoint.name(4), folder / "checkpoints" / "³")
    segment = folder / "ledger" / "000000004-000000008.npz"
    shutil.copy(segment, segment.with_name("000000004-000000008 (copy).npz"))
    assert checkpoint.steps(folder) == [4, 8]
    assert ledger.reach(folder) == 8
    assert [(one.first, one.last) for one in ledger.read(folder)] == [(0, 4), (4, 8)]
    ledger.drop_after(folder, 4)
    assert ledger.reach(folder) == 4
    assert segment.with_name("000000004-000000008 (copy).npz").exists()


@pytest.mark.parametrize("key", ["files", "step", "clip"])
def test_a_cursor_of_other_types_is_said_to_be_none(decoder_run: Run, tmp_path: Path, key: str) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(decoder_run.folder / checkpoint.name(8), folder)
    told = json.loads((folder / "cursor.json").read_text())
    (folder / "cursor.json").write_text(json.dumps({**told, key: ["x"]}))
    with pytest.raises(FormatError, match="not a checkpoint's cursor"):
        checkpoint.sound(folder)


def test_a_disk_that_is_full_for_safetensors_is_full(tmp_path: Path) -> None:
    """Its own exception is told as everybody's; the limit of a file's size stands for the disk."""
    writes = (
        "import resource, torch; from pathlib import Path; from safetensors.torch import save_file; from train import checkpoint; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)); "
        "fill = lambda draft: (draft.mkdir(), save_file({'a': torch.zeros(9999)}, draft / 'a.safetensors')); "
        f"checkpoint.publish(Path({str(tmp_path)!r}) / 'made', Path({str(tmp_path)!r}) / 'draft', fill)"
    )
    ignoring = "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    done = subprocess.run([sys.executable, "-c", ignoring + writes], capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("pipeline.errors.StorageError: writing "), done.stderr
    assert "then run the same command again" in last
    assert list(tmp_path.iterdir()) == []

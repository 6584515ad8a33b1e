"""What a run does, and the laws of its weights: neither interruptions nor the number of processes change them."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pipeline.errors import InputError, StorageError, TamisError
from pipeline.pins import FOLDER, pinned
from pipeline.store import Store
from pipeline.tombstones import of_request, publish
from tests.train import tiny_run
from train import checkpoint, ledger, loop
from train.data import Batch, Batches
from train.order import Order
from train.presets import Kind
from train.progress import METRICS, Progress
from train.run import Run, open_run
from train.start import first_embeddings, make_task, train
from train.validation import Validation
from train.world import World


def weights(run: Run, step: int, which: str = "ema") -> dict[str, torch.Tensor]:
    folder = run.folder / checkpoint.name(step)
    files = [*sorted((folder / which).rglob("*.safetensors")), folder / "optimizer.safetensors"]
    return {f"{path.parent.name}/{name}": value for path in files for name, value in load_file(path).items()}


def equal(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(value, two[name]) for name, value in one.items())


def metrics(run: Run, name: str) -> list[float]:
    lines = (run.folder / METRICS).read_text().splitlines()
    return [found[name] for found in map(json.loads, lines) if name in found]


def started(
    *arguments: str | Path, processes: int = 1, alone: bool = False, command: str = "decoder"
) -> "subprocess.Popen[str]":
    """Start `tamis train …`, under torchrun where there are several processes."""
    tamis = Path(loop.__file__).parents[1] / "tamis.py"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    start = launch if processes > 1 else [sys.executable]
    words = [*start, str(tamis), "train", command, *map(str, arguments)]
    threads = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(tamis.parent)}
    return subprocess.Popen(
        words, env=threads, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=alone
    )


@pytest.mark.parametrize("kind", ["decoder", "prior"])
def test_a_run_learns_and_tells_what_it_measured(pictures: Store, tmp_path: Path, kind: Kind) -> None:
    run = tiny_run.trained(
        pictures, tmp_path / "run", kind, optim={"steps": 60}, run={"checkpoint_steps": 60, "sample_steps": 60}
    )
    losses, validation = metrics(run, "loss"), metrics(run, "validation_loss")
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:5])
    assert len(losses) == 60
    assert validation[-1] < validation[0]
    assert len(metrics(run, "seen_loss")) == len(validation) == 15
    assert list((run.folder / "tensorboard").iterdir())
    assert (run.folder / "samples" / "000000060.png").exists() == (kind == "decoder")
    assert len(metrics(run, "sampled_cos")) == (kind == "prior")
    cursor = checkpoint.read(run.folder / checkpoint.name(60))
    assert ledger.check(run.folder, run.shown, run.order, 60) == cursor.images_seen


def test_eight_steps_are_four_steps_and_a_restart_and_four_more_to_the_last_bit(
    decoder_run: Run, pictures: Store, tmp_path: Path
) -> None:
    run = tiny_run.begun(pictures, tmp_path / "run", run={"checkpoint_steps": 3})
    source = make_batches(run)
    half = loop.Loop(run, make_task(run, source, alone()), alone(), Counted(source, 5), quiet(run))
    with pytest.raises(KeyboardInterrupt):  # as a power cut after step 4: the checkpoint of step 3 is what is left
        half.go()
    assert checkpoint.steps(run.folder) == [3]
    assert train(open_run(run.folder), quiet=True)
    assert equal(weights(run, 8), weights(decoder_run, 8))
    assert equal(weights(run, 8, "model"), weights(decoder_run, 8, "model"))
    assert metrics(run, "loss") == metrics(decoder_run, "loss")[3:]


@pytest.mark.slow
def test_a_run_killed_at_any_moment_ends_with_the_same_weights(
    decoder_run: Run, pictures: Store, tmp_path: Path
) -> None:
    run = tiny_run.begun(pictures, tmp_path / "run", run={"checkpoint_steps": 2})
    for killed in range(3):
        going = started(pictures.root, "--out", run.folder, "--resume")
        while not checkpoint.steps(run.folder) or checkpoint.steps(run.folder)[-1] < 2 * (killed + 1):
            assert going.poll() is None, going.communicate()[0]
            time.sleep(0.005)
        going.send_signal(signal.SIGKILL)
        going.wait()
    going = started(pictures.root, "--out", run.folder, "--resume")
    said = going.communicate()[0]
    assert going.returncode == 0, said
    assert equal(weights(run, 8), weights(decoder_run, 8))


def test_two_processes_see_the_same_batches_and_come_to_the_same_losses(
    decoder_run: Run, pictures: Store, tmp_path: Path
) -> None:
    settings = tiny_run.toml(tmp_path / "run.toml")
    going = started(pictures.root, "--out", tmp_path / "run", "--config", settings, processes=2)
    said = going.communicate(timeout=240)[0]
    assert going.returncode == 0, said
    run = open_run(tmp_path / "run")
    for name in ("loss", "validation_loss", "seen_loss"):
        assert metrics(run, name) == pytest.approx(metrics(decoder_run, name), rel=1e-4)
    one, two = weights(run, 8, "model"), weights(decoder_run, 8, "model")
    assert all(torch.allclose(one[name], two[name], atol=1e-3) for name in one if "step" not in name)
    whole, halves = ({s.first: s for s in ledger.read(one.folder)} for one in (decoder_run, run))
    assert {at: (s.seen, s.skips) for at, s in whole.items()} == {at: (s.seen, s.skips) for at, s in halves.items()}


def test_loader_workers_and_micro_batches_change_nothing_but_rounding(
    decoder_run: Run, pictures: Store, tmp_path: Path
) -> None:
    with_workers = tiny_run.trained(pictures, tmp_path / "workers", run={"workers": 2})
    assert equal(weights(with_workers, 8), weights(decoder_run, 8))
    pieces = tiny_run.trained(pictures, tmp_path / "pieces", optim={"micro_batch": 3})
    assert metrics(pieces, "loss") == pytest.approx(metrics(decoder_run, "loss"), rel=1e-5)


def test_a_stopped_run_keeps_where_it_was_and_goes_on(decoder_run: Run, pictures: Store, tmp_path: Path) -> None:
    run = tiny_run.begun(pictures, tmp_path / "run")
    source = make_batches(run)
    going = loop.Loop(run, make_task(run, source, alone()), alone(), source, quiet(run))
    going.stop.set()
    assert not going.go()
    assert checkpoint.steps(run.folder) == [2]
    assert train(open_run(run.folder), quiet=True)
    assert equal(weights(run, 8), weights(decoder_run, 8))


def test_the_first_ctrl_c_asks_and_the_second_one_stops() -> None:
    stop = threading.Event()
    with loop.heeded(stop):
        signal.raise_signal(signal.SIGINT)
        assert stop.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_hidden_row_has_no_part_in_the_gradient_and_is_counted(own: Store, tmp_path: Path) -> None:
    run = tiny_run.begun(own, tmp_path / "run", optim={"steps": 1})
    gone = bytes(make_batches(run)[0].uid[2]).ljust(16, b"\0")
    publish(own, of_request([gone], [""], "r1"))
    source = make_batches(run)
    task = make_task(run, source, alone())
    batch = source[0]
    assert batch.weight.tolist() == [1, 1, 0, 1, 1, 1, 1, 1]
    found = []
    for pixel in (0, 255):
        other = batch.pixels.clone()
        other[2] = pixel
        going = loop.Loop(run, task, alone(), source, quiet(run))
        task.module.zero_grad()
        losses = going.gradient.add(task, task.module, Batch(**{**vars(batch), "pixels": other}))
        assert (losses == 0).tolist() == [False, False, True, *[False] * 5]
        found.append([one.grad.clone() for one in task.module.parameters() if one.grad is not None])
    assert found[0]
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))
    assert going.step == 0
    assert train(run, quiet=True)
    cursor = checkpoint.read(run.folder / checkpoint.name(1))
    assert (cursor.images_seen, cursor.skipped) == (7, 1)
    assert [list(segment.skips) for segment in ledger.read(run.folder)] == [[2]]


def test_a_row_that_is_hidden_while_its_batch_waits_weighs_nothing_when_it_is_used(own: Store, tmp_path: Path) -> None:
    run = tiny_run.begun(own, tmp_path / "run", optim={"steps": 1})
    batch = make_batches(run)[0]
    gone = bytes(batch.uid[4]).ljust(16, b"\0")
    after = loop.without(batch, frozenset([gone, b"x" * 16]))
    assert (after.weight.tolist(), after.hidden) == ([1, 1, 1, 1, 0, 1, 1, 1], 1)
    assert loop.without(batch, frozenset()) is batch


def test_the_loop_asks_again_who_is_hidden_before_it_uses_a_batch(
    own: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tiny_run.begun(own, tmp_path / "run", optim={"steps": 2})
    gone: list[bytes] = []

    def ahead(source: Batches, first: int, last: int, workers: int) -> Iterator[Batch]:
        made = [source[step] for step in range(first, last)]
        gone.append(bytes(made[1].uid[3]).ljust(16, b"\0"))
        publish(own, of_request(gone, [""], "r1"))
        yield from made

    monkeypatch.setattr(loop, "loader", ahead)
    assert train(run, quiet=True)
    cursor = checkpoint.read(run.folder / checkpoint.name(2))
    assert (cursor.images_seen, cursor.skipped) == (15, 1)
    seen = set().union(*(set(rows) for segment in ledger.read(run.folder) for rows in segment.seen.values()))
    place = run.shown.find(gone[0])
    assert place is not None
    assert int(run.shown.number(np.array(place[:1]), np.array(place[1:]))[0]) not in seen
    assert len(seen) == 15


def test_validation_and_scales_leave_out_who_is_hidden(own: Store, tmp_path: Path) -> None:
    run = tiny_run.begun(own, tmp_path / "run")
    task = make_task(run, make_batches(run), alone())
    before = Validation.of(run, task, alone()).estimates()
    image, text, rows = first_embeddings(make_batches(run), 2)
    assert (len(image), len(text), len(rows)) == (16, 16, 16)
    held = Batches(own, run.held, Order(run.held.shards, 1, 64), pictures=False)[0]
    gone = [bytes(one).ljust(16, b"\0") for one in (held.uid[0], make_batches(run)[0].uid[2])]
    publish(own, of_request(gone, ["", ""], "r1"))
    after = Validation.of(run, task, alone()).estimates()
    for name, rows_before in (("validation_loss", run.held.rows_shown), ("seen_loss", run.shown.rows_shown)):
        assert (before[name].n, after[name].n) == (rows_before, rows_before - 1)
        assert before[name].value != after[name].value
    left, _, fewer = first_embeddings(make_batches(run), 2)
    assert (len(left), len(rows - fewer)) == (15, 1)
    assert left.norm(dim=1).min() > 0.9


def test_a_run_pins_its_snapshot_until_it_has_ended(own: Store, tmp_path: Path) -> None:
    run = tiny_run.begun(own, tmp_path / "run", run={"checkpoint_steps": 3})
    source = make_batches(run)
    with pytest.raises(KeyboardInterrupt):
        loop.Loop(run, make_task(run, source, alone()), alone(), Counted(source, 5), quiet(run)).go()
    assert pinned(own) == {1}
    assert train(open_run(run.folder), quiet=True)
    assert pinned(own) == frozenset()


def test_a_run_pins_its_snapshot_before_it_reads_the_shards(
    own: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[frozenset[int]] = []

    def interrupted(store: Store, *_: object) -> None:
        seen.append(pinned(store))
        raise KeyboardInterrupt

    monkeypatch.setattr("train.manifest.make", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tiny_run.begun(own, tmp_path / "run")
    assert (seen, pinned(own)) == ([frozenset({1})], frozenset()), "a run that was not made holds nothing"


def test_a_pin_that_cannot_be_renewed_ends_no_run(own: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tiny_run.begun(own, tmp_path / "run", run={"checkpoint_steps": 3})
    write, refused = Store.write, []

    def full(self: Store, name: str, data: bytes) -> None:
        if name.startswith(FOLDER) and checkpoint.steps(run.folder):
            refused.append(name)
            raise StorageError("no space left")
        write(self, name, data)

    monkeypatch.setattr(Store, "write", full)
    assert train(run, quiet=True)
    assert len(refused) == 3  # after steps 3, 6 and 8


def test_a_snapshot_whose_shards_have_expired_is_said_so(own: Store, tmp_path: Path) -> None:
    run = tiny_run.begun(own, tmp_path / "run")
    own.delete_folder("shards/000001")
    with pytest.raises(InputError, match="have expired"):
        train(run, quiet=True)


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_sample(
    pictures: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tiny_run.begun(pictures, tmp_path / "run")
    bad = bytes(make_batches(run)[5].uid[3]).ljust(16, b"\0")
    get = Batches.__getitem__

    def poisoned(self: Batches, step: int) -> Batch:
        batch = get(self, step)
        if step == 5 and len(batch.uid) == 8:
            batch.image_emb[3] = float("nan")
        return batch

    monkeypatch.setattr(Batches, "__getitem__", poisoned)
    with pytest.raises(TamisError, match=f"step 5: .* those of {bad.hex()}") as error:
        train(run, quiet=True)
    assert str(error.value).count(bad.hex()) == 1
    assert checkpoint.steps(run.folder) == [4]


def test_a_data_set_embedded_by_another_model_is_refused(decoder_run: Run, own: Store, tmp_path: Path) -> None:
    run = tiny_run.trained(own, tmp_path / "run", optim={"steps": 1})
    path = run.folder / checkpoint.name(1) / "cursor.json"
    cursor = json.loads(path.read_text())
    cursor["clip"] |= {"model": "ViT-L-14", "weights_sha256": "00"}
    path.write_text(json.dumps(cursor))
    with pytest.raises(InputError, match="ViT-L-14"):
        train(open_run(run.folder), quiet=True)


def make_batches(run: Run) -> Batches:
    return Batches(run.store, run.shown, run.order, pictures=run.facts.kind != "prior")


def alone() -> World:
    return World(0, 1, torch.device("cpu"))


def quiet(run: Run) -> Progress:
    class Silent(Progress):
        def note(self, step: int, **measured: object) -> None:
            pass

    return Silent(run.folder, 0, 8, quiet=True, write=False)


class Counted(Batches):
    """Batches of which only so many are given; the next one is a power cut."""

    def __init__(self, source: Batches, most: int) -> None:
        super().__init__(source.store, source.manifest, source.order)
        self.most = most

    def __getitem__(self, step: int) -> Batch:
        if step >= self.most:
            raise KeyboardInterrupt
        return super().__getitem__(step)


@pytest.mark.parametrize("kind", ["decoder", "prior"])
def test_a_run_ends_though_everybody_held_out_is_hidden(own: Store, tmp_path: Path, kind: Kind) -> None:
    run = tiny_run.begun(own, tmp_path / "run", kind, run={"sample_steps": 4})
    batch = Batches(own, run.held, Order(run.held.shards, 1, 64), pictures=False)[0]
    uids = [bytes(uid).ljust(16, b"\0") for uid in batch.uid[batch.weight.numpy() > 0]]
    assert len(uids) == run.held.rows_shown > 0
    publish(own, of_request(uids, [""] * len(uids), "r1"))
    assert train(run, quiet=True)
    assert checkpoint.steps(run.folder)[-1] == 8
    assert "NaN" not in (run.folder / METRICS).read_text()
    assert not (run.folder / "samples").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes_ends_a_run_with_workers_in_a_checkpoint(
    own: Store, tmp_path: Path, number: signal.Signals
) -> None:
    how = {"workers": 2, "checkpoint_steps": 10**6, "validate_steps": 10**6, "compile": False}
    run = tiny_run.begun(own, tmp_path / "run", optim={"steps": 100_000}, run=how)
    going = started(own.root, "--out", run.folder, "--resume", alone=True)
    while not (run.folder / METRICS).exists() or len((run.folder / METRICS).read_text().splitlines()) < 30:
        assert going.poll() is None, going.communicate()[0]
        time.sleep(0.05)
    os.killpg(going.pid, number)
    said = going.communicate(timeout=120)[0]
    assert going.returncode == 130, said
    assert "Traceback" not in said
    assert checkpoint.steps(run.folder)[-1] >= 30


@pytest.mark.slow
def test_after_erasure_begins_once_under_torchrun(own: Store, tmp_path: Path) -> None:
    run = tiny_run.trained(own, tmp_path / "run")
    gone = bytes(make_batches(run)[5].uid[0]).ljust(16, b"\0")
    publish(own, of_request([gone], [""], "r1"))
    going = started(run.folder, "--out", tmp_path / "new", processes=2, command="after-erasure")
    said = going.communicate(timeout=240)[0]
    assert going.returncode == 0, said
    assert checkpoint.steps(tmp_path / "new") == [4, 8]
    assert open_run(tmp_path / "new").facts.parents == [f"{run.facts.id}@4"]

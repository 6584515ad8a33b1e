"""How a run is begun, or gone on with: everything between a command and the loop."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from pyroaring import BitMap64

from pipeline.errors import ConfigError, InputError, TamisError, first_line
from pipeline.pack import shard_files
from pipeline.store import Store
from train import checkpoint, ledger
from train import run as runs
from train.data import Batches, same_encoder
from train.grid import sampler
from train.loop import Loop, heeded
from train.models import standardise
from train.presets import Kind
from train.progress import Progress
from train.run import Run
from train.settings import TrainConfig
from train.sheets import remove_stale
from train.sources import source
from train.tasks import DecoderTask, PriorTask, Task, decoder_task, prior_task
from train.world import World, joined, processes

_FEW_WORKERS = 16
"""Loader processes that any machine is trusted with."""


def train(run: Run, *, quiet: bool = False) -> bool:
    """Train a run from its newest checkpoint, or from the start; return False when somebody asked to stop."""
    with joined(run.config.run.device) as world:
        return _alone(run, world, quiet)


def begin(
    kind: Kind, store: Store, config: TrainConfig, folder: Path, base: str | None = None, *, quiet: bool = False
) -> bool:
    """Make a run and train it."""
    _bearable(config)
    return made(lambda: runs.create(kind, store, config, folder, base), config.run.device, folder, quiet=quiet)


def made(make: Callable[[], object], device: str, folder: Path, *, quiet: bool = False) -> bool:
    """Train the run that `make` leaves in a folder. Under torchrun the first process makes it, the others wait for it."""
    with joined(device) as world:  # once: a group that was left cannot be joined again
        if world.first:
            make()
        world.wait()
        return _alone(runs.open_run(folder), world, quiet)


def _alone(run: Run, world: World, quiet: bool) -> bool:
    if run.shown.rows_shown == 0:
        raise InputError(f"{run.folder}: every row is held out; lower data.validation_frac")
    with runs.held(run) if world.first else nullcontext():
        return _train(run, world, quiet)


def _bearable(config: TrainConfig) -> None:
    """Refuse more loader processes than this machine bears (each holds Python, torch and its batches), and uneven shares."""
    if config.optim.batch % processes():
        raise ConfigError(
            f"optim.batch: {config.optim.batch:,} samples cannot be shared among {processes()} processes evenly"
        )
    most = max(_FEW_WORKERS, 4 * (os.cpu_count() or 1))
    if config.run.workers > most:
        raise ConfigError(
            f"run.workers: {config.run.workers:,} processes are too many for this machine; {most} at most"
        )


def _train(run: Run, world: World, quiet: bool) -> bool:
    _bearable(run.config)
    if world.first:
        checkpoint.sweep(run.folder)  # first: the disk may be full of what a kill left
        Store(str(run.folder)).sweep()
        runs.keep(run)  # how it is run may have changed
        runs.register(run)
        must_be_there(run)
        remove_stale(run)
    world.wait()
    at = checkpoint.last(run.folder)
    runs.must_have_its_parts(run)
    if at is None:
        runs.must_begin_as_made(run)
    batches = source(run, run.shown, run.order, world, plain=False)
    task = make_task(run, batches, world)
    progress = Progress(
        run.folder, at or 0, run.config.optim.steps, quiet or not world.first, world.first, run.config.run.log_steps
    )
    loop = Loop(run, task, world, batches, progress, sampler(run, world.device))
    if at is not None:
        folder = run.folder / checkpoint.name(at)
        same_encoder(run.rows.facts.clip, checkpoint.read(folder).clip)
        runs.must_be_as_trained(run, at)
        loop.restore(folder)
    if world.first:
        ledger.drop_after(run.folder, at or 0)
    with heeded(loop.stop), progress, memory_explained(run.config):
        ended = loop.go()
    if ended and world.first:
        runs.done(run)
    return ended


@contextmanager
def memory_explained(config: TrainConfig) -> Iterator[None]:
    """Say what to do where a batch does not fit into memory."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        raise TamisError(
            f"a batch does not fit into memory ({first_line(error)}); go on with fewer samples at once: "
            f"optim.micro_batch below {config.optim.micro_batch or config.optim.batch} in a --config file"
        ) from error


def must_be_there(run: Run) -> None:
    """Refuse a run whose shards have expired; InputError."""
    facts = run.rows.facts
    for shard in (facts.shards[0], facts.shards[-1]):  # an expiry that was killed leaves some
        tar = shard_files(f"{facts.snapshot:06d}", shard.number)["tar"]
        if run.store.exists(tar):
            continue
        raise InputError(
            f"{run.store.uri(tar)} is gone: the shards of snapshot {facts.snapshot:06d}, which this run trains on, have expired "
            "(pack.keep_snapshots says how many stay; those of an unfinished run stay for a week after its last "
            "checkpoint). Start a new run on the newest snapshot"
        )


def make_task(run: Run, batches: Batches, world: World) -> Task:
    """Make what a run trains, with the weights it starts from."""
    device = world.device
    if run.facts.kind == "clip":
        from train.clip_task import clip_task

        return clip_task(run, world)
    if run.facts.kind == "finetune":
        from train.finetune import finetune_task

        assert run.facts.base is not None
        return finetune_task(Path(run.facts.base), run.config, device)
    make: Any = prior_task if run.facts.kind == "prior" else decoder_task
    task: DecoderTask | PriorTask = make(run.config, batches.embedding_dim, device)
    if checkpoint.last(run.folder) is None:
        steps = -(-run.config.data.scale_rows // run.order.batch)
        image, text, rows = first_embeddings(batches, steps)
        if world.first:
            ledger.write_scale(run.folder, rows)
        standardise(task.module, image, text)
    return task


def first_embeddings(batches: Batches, steps: int) -> tuple[torch.Tensor, torch.Tensor, BitMap64]:
    """Return the image and text embeddings f32[N,D] of the first steps' rows, and those rows, for any number of processes."""
    plain = Batches(batches.store, batches.manifest, batches.order, pictures=False)
    found: list[tuple[torch.Tensor, torch.Tensor]] = []
    rows = BitMap64()
    for step in range(min(steps, plain.order.batches)):
        batch = plain[step]
        there = batch.weight > 0
        found.append((batch.image_emb[there], batch.text_emb[there]))
        rows.update(batch.row[there].tolist())
    image, text = (torch.cat([one[i] for one in found]) for i in (0, 1))
    sound = torch.isfinite(image).all(1) & torch.isfinite(text).all(1)
    image, text = image[sound], text[sound]
    if len(image) < 2:
        raise InputError(f"{batches.store.root}: fewer than two samples are left to train on")
    return image, text, rows

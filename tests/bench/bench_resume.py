"""Claim: a run over ten million rows has its first batch in less than two seconds after a restart.

    python tests/bench/bench_resume.py [--shards 1000]

1,000 shards of 10,000 rows with ids of their own; the pictures (one JPEG of 64×64 a sample) and vectors of all shards are hard
links to the first one's, so that the disk holds them. A tiny decoder does two steps in the middle of its second epoch and leaves a
checkpoint there; its ledger has a file for every checkpoint before (a restart reads their names alone, so they are empty). Measured in
fresh processes, five of them, is what `--resume` does of the data up to the first batch: the run's folder is opened and registered,
its rows, settings and ledger are held against the checkpoint's cursor, the order is computed, the batch read and decoded. Apart: how
long Python takes to import PyTorch and the rest before that. Weights are not loaded. No peer can do it: webdataset begins anew, and
streaming's resumption replays its own format.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from pipeline.store import Store
from tests.bench.picture_set import linked, photographs, publish_pictures

if TYPE_CHECKING:
    from train.run import Run

ROWS, SIZE_PX, BATCH, ROUNDS = 10_000, (64, 64), 64, 5


def restart(folder: Path) -> None:
    """Print how long the imports and the first batch took, as `train.start` comes to it, and what the batch holds."""
    began = time.perf_counter()
    from train import checkpoint
    from train.data import loader, same_encoder
    from train.run import keep, must_be_as_trained, open_run, register
    from train.sources import source
    from train.world import joined

    with joined("cpu") as world:
        imported = time.perf_counter()
        run = open_run(folder)
        keep(run)
        register(run)
        step = checkpoint.last(run.folder)
        assert step is not None
        batches = source(run, run.shown, run.order, world, plain=False)
        cursor = checkpoint.read(run.folder / checkpoint.name(step))
        same_encoder(run.rows.facts.clip, cursor.clip)
        must_be_as_trained(run, step)
        batch = next(loader(batches, cursor.step, cursor.step + 1, run.config.run.workers))
        took = time.perf_counter() - imported
    assert (batch.step, batch.epoch, int(batch.weight.sum())) == (step, step // run.order.batches, BATCH)
    assert batch.epoch == 1
    print(json.dumps({"s": took, "import_s": imported - began, "uids": batch.uid.tobytes().hex()}))


def made(folder: Path, shards: int) -> Path:
    """Make the data set and a run on it that stopped in the middle of its second epoch; return the run's folder."""
    from train.run import create
    from train.settings import settle

    store = Store.open_url(str(folder / "set"))
    publish_pictures(store, photographs(64, *SIZE_PX), SIZE_PX, 1, ROWS, 64)
    (folder / "set" / "snapshots" / "000001.json").unlink()
    linked(store, shards, ROWS)
    options: dict[str, dict[str, Any]] = {
        "optim": {"batch": BATCH, "steps": 10**6},
        "run": {"device": "cpu", "compile": False},
    }
    run = create("decoder", store, settle("decoder", "tiny", None, options), folder / "run")
    stopped(run, run.order.batches * 3 // 2)
    return run.folder


def stopped(run: "Run", step: int) -> None:
    """Do the two steps before a step with a new model, and stop as on Ctrl-C: the loop leaves its checkpoint there."""
    from train import ledger
    from train.loop import Loop
    from train.progress import Progress
    from train.sources import source
    from train.start import make_task
    from train.world import joined

    first, every = step - 2, run.config.run.checkpoint_steps
    for at in range(0, first, every):
        ledger.write(run.folder, ledger.Segment(at, min(at + every, first)))
    with joined("cpu") as world:
        batches = source(run, run.shown, run.order, world, plain=False)
        progress = Progress(run.folder, first, run.config.optim.steps, quiet=True, write=False)
        loop = Loop(run, make_task(run, batches, world), world, batches, progress, step=first)
        loop.stop.set()
        assert not loop.go()


def main() -> None:
    """Print a JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shards", type=int, default=1_000)
    shards = parser.parse_args().shards
    folder = Path(tempfile.mkdtemp(prefix="tamis-bench-", dir=os.environ.get("TAMIS_BENCH_DIR")))
    try:
        command = [sys.executable, __file__, "restart", str(made(folder, shards))]
        path = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        found = [
            json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=path).stdout)
            for _ in range(ROUNDS)
        ]
    finally:
        shutil.rmtree(folder)
    assert len({one["uids"] for one in found}) == 1, "restarts disagree about the batch"
    seconds = [one["s"] for one in found]
    row = {"claim": f"first batch after a restart, {shards * ROWS:,} rows, median of {ROUNDS}", "unit": "s"}
    row |= {"ours": round(statistics.median(seconds), 3), "peer": None, "ratio": None, "aim": "< 2"}  # type: ignore[dict-item]
    row |= {
        "slowest_s": round(max(seconds), 3),
        "import_s": round(statistics.median(one["import_s"] for one in found), 2),
    }
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["restart"]:
        restart(Path(sys.argv[2]))
    else:
        main()

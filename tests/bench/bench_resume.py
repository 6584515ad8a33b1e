"""Claim: a run over ten million rows has its first batch in less than two seconds after a restart.

    python tests/bench/bench_resume.py [--shards 1000]

1,000 shards of 10,000 rows with ids of their own; the pictures (one JPEG of 64×64 a sample) and vectors of all shards are hard
links to the first one's, so that the disk holds them. The run stops in the middle of its second epoch. Measured in fresh
processes, five of them: from the run's folder being opened to the batch, the checkpoint's cursor read and the order computed;
and, apart, how long Python takes to import PyTorch and the rest before that. No peer can do it: webdataset begins anew, and
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

sys.path.insert(0, str(Path(__file__).parents[2]))

from pipeline.store import Store
from tests.bench.picture_set import linked, photographs, publish_pictures

ROWS, SIZE_PX, BATCH, ROUNDS = 10_000, (64, 64), 64, 5


def restart(folder: Path, step: int) -> None:
    """Print how long the imports and the first batch took, and what the batch holds."""
    began = time.perf_counter()
    from train.data import Batches, loader
    from train.run import open_run

    imported = time.perf_counter()
    run = open_run(folder)
    made = Batches(run.store, run.shown, run.order)
    batch = next(loader(made, step, step + 1))
    assert (batch.step, batch.epoch, int(batch.weight.sum())) == (step, step // run.order.batches, BATCH)
    took = time.perf_counter() - imported
    print(json.dumps({"s": took, "import_s": imported - began, "uids": batch.uid.tobytes().hex()}))


def made(folder: Path, shards: int) -> tuple[Path, int]:
    """Make the data set and a run on it; return its folder and a step in the middle of the second epoch."""
    from train.run import create
    from train.settings import settle

    store = Store.open_url(str(folder / "set"))
    publish_pictures(store, photographs(64, *SIZE_PX), SIZE_PX, 1, ROWS, 64)
    (folder / "set" / "snapshots" / "000001.json").unlink()
    linked(store, shards, ROWS)
    config = settle("decoder", "tiny", None, {"optim": {"batch": BATCH}})
    run = create("decoder", store, config, folder / "run")
    return run.folder, run.order.batches * 3 // 2


def main() -> None:
    """Print a JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shards", type=int, default=1_000)
    shards = parser.parse_args().shards
    folder = Path(tempfile.mkdtemp(prefix="tamis-bench-", dir=os.environ.get("TAMIS_BENCH_DIR")))
    try:
        run, step = made(folder, shards)
        command = [sys.executable, __file__, "restart", str(run), str(step)]
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
        restart(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()

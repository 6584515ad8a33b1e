"""Claim: training is faster than diffusers' example loop with accelerate, and nearly as fast as the bare steps.

    python tests/bench/bench_train.py [--rounds 5] [--steps 40]

The preset `tiny` (32 px, batches of 16; listening to the picture alone, as the peer), bfloat16 on the CPU, one thread, one worker
process for the loader, ours and theirs; from
2,048 JPEGs of 64×64 with 512-d vectors. Ours does at each step all that a run does (exact batches and noise by slot, hidden samples
watched, clipping, average, ledger, metrics), but checkpoints and validation come after the measured steps. It is measured as it is by
default, compiled since the preset trains long (the minute of compiling is in the steps that warm up), and
plain. All take turns. Needs accelerate and a C++ compiler.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from pipeline.pack import iter_samples, shard_files
from pipeline.store import Store
from tests.bench.peer_train import Timed
from tests.bench.picture_set import photographs, publish_pictures
from train.data import Batches
from train.loop import Loop
from train.progress import Progress
from train.run import Run, create, open_run
from train.settings import settle
from train.start import make_task
from train.world import joined

PEER = Path(__file__).with_name("peer_train.py")
SHARDS, ROWS, SIZE_PX = 4, 512, (64, 64)


class Clocked(Progress):
    """A run's progress that tells the clock of every step."""

    timed: Timed

    def step(self, step: int, images: int, **measured: float) -> None:
        """Note a step."""
        super().step(step, images, **measured)
        self.timed.step()


def ours(folder: str, steps: int, compiled: bool) -> None:
    """Train by our loop and print what it did."""
    found = open_run(Path(folder))
    config = {**found.facts.config, "optim": {**found.facts.config["optim"], "steps": steps}}
    config["run"] = {**config["run"], "compile": compiled}
    run = Run(found.folder, replace(found.facts, config=config), found.rows)
    shutil.rmtree(run.folder / "checkpoints", ignore_errors=True)
    with joined("cpu") as world:
        batches = Batches(run.store, run.shown, run.order)
        progress = Clocked(run.folder, 0, steps, quiet=True)
        progress.timed = Timed()
        with progress:
            Loop(run, make_task(run, batches, world), world, batches, progress).go()
    print(progress.timed.told())


def made(folder: Path) -> tuple[Path, Path]:
    """Make a run over made-up photographs, and the same rows as a folder of HF datasets; return both."""
    import datasets

    store = Store.open_url(str(folder / "set"))
    publish_pictures(store, photographs(256, *SIZE_PX), SIZE_PX, SHARDS, ROWS)
    late = {"checkpoint_steps": 10**6, "validate_steps": 10**6, "sample_steps": 10**6}
    how: dict[str, Any] = {
        "decoder": {"condition": "image"},
        "run": {"precision": "bfloat16", "device": "cpu", "workers": 1, **late},
    }
    run = create("decoder", store, settle("decoder", "tiny", None, how), folder / "run")
    columns: dict[str, list[Any]] = {"image": [], "embedding": []}
    for number in range(SHARDS):
        names = {role: store.local(name) for role, name in shard_files("000001", number).items()}
        tar, vectors = names["tar"], names["img_emb"]
        assert tar is not None
        assert vectors is not None
        columns["image"] += [{"bytes": one["jpg"], "path": None} for one in iter_samples(tar)]
        columns["embedding"] += np.load(vectors).astype(np.float32).tolist()
    told = datasets.Features({"image": datasets.Image(), "embedding": datasets.Sequence(datasets.Value("float32"))})
    datasets.Dataset.from_dict(columns, told).save_to_disk(str(folder / "arrow"))
    return run.folder, folder / "arrow"


def main() -> None:
    """Print one JSON line a peer."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="tamis-bench-"))
    threads = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    try:
        run, arrow = made(folder)
        peer = [sys.executable, str(PEER)]
        todo = {
            "ours": [sys.executable, __file__, "ours", str(run), str(asked.steps)],
            "plain": [sys.executable, __file__, "plain", str(run), str(asked.steps)],
            "accelerate": [*peer, "accelerate", str(run), str(arrow), str(asked.steps)],
            "bare": [*peer, "bare", str(run), "-", str(asked.steps)],
        }
        found: dict[str, list[dict[str, float]]] = {name: [] for name in todo}
        for _ in range(asked.rounds):
            for name, command in todo.items():
                done = subprocess.run(command, check=True, capture_output=True, text=True, env=threads)
                found[name].append(json.loads(done.stdout.splitlines()[-1]))
                print(name, found[name][-1], file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(folder)
    for measure, unit in (("steps_per_s", "steps/s"), ("steps_per_cpu_s", "steps/CPU-s")):
        middle = {name: statistics.median(one[measure] for one in all_) for name, all_ in found.items()}
        for mine, how in (("ours", ""), ("plain", ", run.compile = false")):
            for name, said, aim in (
                ("accelerate", "diffusers' example loop by accelerate", "≥ 1.15×"),
                ("bare", "bare forward, backward and optimiser on one batch", "≥ 0.95"),
            ):
                row = {
                    "claim": f"training, preset tiny, batch 16, bf16 on a CPU{how} ({said})",
                    "unit": unit,
                    "ours": middle[mine],
                    "peer": middle[name],
                    "ratio": middle[mine] / middle[name],
                    "aim": aim if unit == "steps/s" else "",
                }
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] in (["ours"], ["plain"]):
        ours(sys.argv[2], int(sys.argv[3]), sys.argv[1] == "ours")
    else:
        main()

"""Claim: batches come faster than from webdataset's WebLoader and mosaicml-streaming, though every one can be asked for by number.

    python tests/bench/bench_loader.py [--rounds 3] [--batches 40]

4,096 JPEGs of 432×288, decoded, cut to a square, scaled to 256 px, mirrored by chance, and floats in [-1,1] in the process that
would train; 64 at a time, 2 worker processes, one thread each. Ours reads both vectors of every row too. The peers do it twice: as
their own examples do (Pillow, torchvision), and with our decoder and cut given to them, which leaves the loader alone. All take
turns; the conversion to streaming's format is not timed. A row each for the clock and for the processor's seconds.

webdataset runs here, streaming in its own environment (TAMIS_PEERS, default .peers), made on first use: pip install
torch==2.14.1 torchvision==0.29.1 mosaicml-streaming opencv-python-headless.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from pipeline.pack import shard_files
from pipeline.snapshot import require_latest
from pipeline.store import Store
from tests.bench.peer_loader import SIDE_PX, WORKERS, measured
from tests.bench.picture_set import photographs, publish_pictures
from train import manifest
from train.buckets import buckets
from train.data import Batches, loader
from train.order import Order

PEERS = Path(os.environ.get("TAMIS_PEERS", ".peers")).resolve()
PEER = Path(__file__).with_name("peer_loader.py")
SHARDS, ROWS, SIZE_PX = 8, 512, (432, 288)
BATCH = 64
WAYS = {"plain": "as their examples do", "given": "our decoder given to them"}


def ours(dataset: str, batches: int) -> None:
    """Print what our loader does."""
    store = Store.open_url(dataset)
    rows = manifest.make(store, require_latest(store), buckets(SIDE_PX))
    made = Batches(store, rows, Order(rows.shards, seed=0, batch=BATCH))
    print(json.dumps(measured(_pixels(made, batches), BATCH, batches)))


def _pixels(made: Batches, batches: int) -> Iterator[Any]:
    for batch in loader(made, 0, batches + 20, WORKERS):
        assert bool((batch.weight == 1).all())
        yield batch.pixels


def peer_python() -> Path:
    """Return the interpreter of streaming's environment, made on first use."""
    python = PEERS / "streaming" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(PEERS / "streaming")], check=True)
        wanted = ["torch==2.14.1", "torchvision==0.29.1"], ["mosaicml-streaming", "opencv-python-headless"]
        for names in wanted:
            subprocess.run([str(python), "-m", "pip", "install", "-q", *names], check=True)
    return python


def run(command: list[str]) -> dict[str, float]:
    """Run one measurement in a process of its own, one thread a process."""
    threads = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=threads)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def commands(folder: Path, batches: int) -> dict[str, list[str]]:
    """Return what is run, by name; makes the data set and its copy in streaming's format."""
    store = Store.open_url(str(folder / "set"))
    publish_pictures(store, photographs(256, *SIZE_PX), SIZE_PX, SHARDS, ROWS)
    tars = [str(store.local(shard_files("000001", at)["tar"])) for at in range(SHARDS)]
    mds, size = str(folder / "mds"), [str(BATCH), str(batches)]
    subprocess.run([str(peer_python()), str(PEER), "convert", *tars, mds], check=True, stderr=subprocess.DEVNULL)
    found = {"ours": [sys.executable, __file__, "--ours", store.root, "--batches", str(batches)]}
    for way in WAYS:
        found[f"webdataset {way}"] = [sys.executable, str(PEER), "webdataset", way, *size, *tars]
        found[f"streaming {way}"] = [str(peer_python()), str(PEER), "streaming", way, *size, mds]
    return found


def main() -> None:
    """Print one JSON line a peer's way and measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", type=int, default=40)
    parser.add_argument("--ours", metavar="DATASET")
    asked = parser.parse_args()
    if asked.ours is not None:
        ours(asked.ours, asked.batches)
        return
    folder = Path(tempfile.mkdtemp(prefix="tamis-bench-"))
    try:
        todo = commands(folder, asked.batches)
        found: dict[str, list[dict[str, float]]] = {name: [] for name in todo}
        for _ in range(asked.rounds):
            for name, command in todo.items():
                found[name].append(run(command))
                print(name, found[name][-1], file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(folder)
    for measure, unit in (("images_per_s", "images/s"), ("images_per_cpu_s", "images/CPU-s")):
        middle = {name: statistics.median(one[measure] for one in all_) for name, all_ in found.items()}
        for way, said in WAYS.items():
            _say(middle, measure, unit, way, said)


def _say(middle: dict[str, float], measure: str, unit: str, way: str, said: str) -> None:
    peers = {name: middle[f"{name} {way}"] for name in ("webdataset", "streaming")}
    best = max(peers, key=lambda name: peers[name])
    mine, theirs = middle["ours"], peers[best]
    row = {
        "claim": f"batches of {BATCH} at {SIDE_PX} px, {WORKERS} workers (webdataset, streaming; {said}; better: {best})"
    }
    aim = "≥ 1.2×" if (way, measure) == ("plain", "images_per_s") else ""
    row |= {"unit": unit, "ours": mine, "peer": theirs, "ratio": mine / theirs, "aim": aim, "peers": peers}  # type: ignore[dict-item]
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()

"""Searching over HTTP with metadata by 64 clients: `tamis serve` against clip-retrieval's back on the same vectors, in one run.

20,000 × 512 clustered vectors (a centre for fifty, Gaussian noise of 0.7), exact search in both; 256 different queries near stored
vectors, 40 results with their metadata, `POST /knn-service` with the same bodies. The peer is clip-retrieval's own service
classes and Flask server (peer_serve.py) in its own environment, with its metadata in memory as it comes; no model runs in either.
Servers and clients share two cores, so the clients' own cost is in both. Prints JSON lines. `--seconds 5` for a quick look.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.request import urlopen

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.index import made
from tests.small_dataset import draw, jpeg

HERE = Path(__file__).parent
PEERS = Path(os.environ.get("TAMIS_PEERS", ".peers")).resolve()
ROWS, DIMENSIONS, QUERIES, CLIENTS, RESULTS = 20_000, 512, 256, 64, 40


def data(folder: Path) -> None:
    """Make the data set `set`, and `bodies` with one query a line."""
    chance = np.random.default_rng(0)
    centres = chance.normal(size=(ROWS // 50, DIMENSIONS))
    vectors = centres[chance.integers(0, len(centres), ROWS)] + 0.7 * chance.normal(size=(ROWS, DIMENSIONS))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    drawings = [draw(number) for number in range(50)]
    jpegs = [jpeg(number) for number in range(50)]
    with (
        patch.object(made, "draw", lambda n: (drawings[n % 50][0], f"{drawings[n % 50][1]} {n}")),
        patch.object(made, "jpeg", lambda n: jpegs[n % 50]),
    ):
        made.make(folder / "set", vectors, vectors, shard_rows=5000)
    asked = vectors[chance.integers(0, ROWS, QUERIES)] + 0.02 * chance.normal(size=(QUERIES, DIMENSIONS))
    same = {
        "modality": "image",
        "num_images": RESULTS,
        "num_result_ids": RESULTS,
        "indice_name": "set",
        "deduplicate": False,
    }
    lines = [json.dumps({"embedding_input": [round(x, 6) for x in one.tolist()], **same}) for one in asked]
    (folder / "bodies").write_text("\n".join(lines))


def peer_python() -> Path:
    """Return the peer's interpreter, made on first use (the one of bench_embed.py)."""
    python = PEERS / "clip-retrieval" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(PEERS / "clip-retrieval")], check=True)
        for wanted in (["torch==2.14.1", "torchvision==0.29.1"], ["clip-retrieval", "setuptools<81"]):
            subprocess.run([str(python), "-m", "pip", "install", "-q", *wanted], check=True)
    return python


def measured(command: list[str], port: int, alive: str, bodies: Path, seconds: float) -> dict[str, Any]:
    """Start a server, ask it, end it, and return what its clients saw."""
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(
            command, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": str(HERE.parents[1])}
        )
        try:
            _wait(server, port, alive)
            run = [sys.executable, str(HERE / "http_load.py"), str(port), str(bodies), str(CLIENTS)]
            subprocess.run([*run, "2"], check=True, stdout=subprocess.DEVNULL)  # warm
            return dict(json.loads(subprocess.run([*run, str(seconds)], check=True, stdout=subprocess.PIPE).stdout))
        finally:
            server.terminate()
            server.wait()


def _wait(server: "subprocess.Popen[bytes]", port: int, alive: str) -> None:
    for _ in range(600):
        if server.poll() is not None:
            raise SystemExit(f"a server ended with {server.returncode}")
        with suppress(OSError), urlopen(f"http://127.0.0.1:{port}{alive}", timeout=5):
            return
        time.sleep(0.2)
    raise SystemExit("a server did not come up")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def main() -> None:
    """Measure both and print the claims."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=20.0)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data(folder)
        port = _free_port()
        mine = [sys.executable, "-m", "tamis", "serve", str(folder / "set"), "--port", str(port), "--rate", "0"]
        ours = measured([*mine, "--access-log", str(folder / "log")], port, "/healthz", folder / "bodies", seconds)
        port = _free_port()
        theirs = [
            str(peer_python()),
            str(HERE / "peer_serve.py"),
            str(folder / "set" / "embeddings" / "000001"),
            str(port),
        ]
        peer = measured(theirs, port, "/alive", folder / "bodies", seconds)
    assert ours["failed"] == peer["failed"] == 0, (ours, peer)
    told = f"HTTP search of {ROWS:,} × {DIMENSIONS} with metadata of {RESULTS}, {CLIENTS} clients (clip-retrieval back)"
    claims = [("per_s", "requests/s", ours["per_s"] / peer["per_s"], "≥ 5×"),
              ("p99_ms", "p99 ms", peer["p99_ms"] / ours["p99_ms"], "lower"),
              ("p50_ms", "p50 ms", peer["p50_ms"] / ours["p50_ms"], "")]  # fmt: skip
    for column, unit, ratio, aim in claims:
        print(
            json.dumps(
                {"claim": told, "unit": unit, "ours": ours[column], "peer": peer[column], "ratio": ratio, "aim": aim}
            )
        )


if __name__ == "__main__":
    main()

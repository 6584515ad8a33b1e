"""Fetch + decode + resize + encode: ours against img2dataset and against the bare decode-resize-encode loop.

`python tests/bench/bench_fetch.py [N=6000] [PSNR=folder of pictures]`; prints one JSON line a claim. Needs nginx, and
img2dataset (in this environment, or in the one whose Python the variable IMG2DATASET_PYTHON names). All three run in
fresh processes; processor seconds include their start-up. nginx's own are nobody's.
"""

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

ROOT = Path(__file__).parents[2]
DISTINCT = 200
REPEATS = 3

OURS = """
import sys, pathlib, pyarrow as pa
from pipeline.fetch import FetchOptions, fetch_rows
base, count, out = sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3])
rows = pa.table({"uid": pa.array([i.to_bytes(16, "big") for i in range(count)], pa.binary(16)),
                 "url": [f"{base}/{i}.jpg" for i in range(count)]})
options = FetchOptions(allow_hosts=["127.0.0.1"], hashes=False, md5=False, host_concurrency=32, concurrency=32)
result = fetch_rows(rows, options=options, policies={}, out_tar=out / "part.tar")
assert result.stats["reasons"] == {"kept": count}, result.stats
"""
LIMIT = """
import sys, pathlib
from pipeline import image
from pipeline.fetch_options import FetchOptions
folder, count = pathlib.Path(sys.argv[1]), int(sys.argv[2])
shape = FetchOptions(hashes=False).shape
for i in range(count):
    decoded = image.decode((folder / f"{i}.jpg").read_bytes(), shape)
    image.encode(decoded.pixels, "jpg", quality=95)
"""
PEER = """
import sys, img2dataset
img2dataset.download(url_list=sys.argv[1], input_format="parquet", url_col="url", caption_col="text", output_folder=sys.argv[2],
    output_format="webdataset", processes_count=1, thread_count=32, image_size=256, resize_mode="keep_ratio",
    resize_only_if_bigger=True, encode_quality=95, compute_hash="sha256", number_sample_per_shard=10000)
"""
HASHES = """
import sys, pathlib, time
from filters import perceptual
from pipeline import image
from pipeline.fetch_options import FetchOptions
folder, count = pathlib.Path(sys.argv[1]), int(sys.argv[2])
views = [image.decode((folder / f"{i}.jpg").read_bytes(), FetchOptions().shape).view for i in range(count)]
t = [time.process_time()]
for view in views: perceptual.phash64(perceptual.gray(view))
t.append(time.process_time())
for view in views: perceptual.pdq256(view, (800, 600))
t.append(time.process_time())
print(*(1e3 * (b - a) / count for a, b in zip(t, t[1:])))
"""


def photo(width: int, height: int, seed: int) -> NDArray[np.uint8]:
    """Draw something with a photograph's spectrum: noise in octaves, falling with frequency, on a gradient."""
    rng = np.random.default_rng(seed)
    picture = np.linspace(60, 190, height, dtype=np.float32)[:, None, None] * np.ones((1, width, 3), np.float32)
    for octave in range(2, 10):
        cells = 2**octave
        noise = rng.normal(0, 1, (max(2, cells * height // width), cells, 3)).astype(np.float32)
        picture += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC) * 60 / cells**0.6
    picture += rng.normal(0, 2.5, picture.shape)
    return picture.clip(0, 255).astype(np.uint8)


def make_pictures(folder: Path, count: int) -> float:
    """Write `count` JPEGs of 800×600 (DISTINCT of them differ); return their mean size in bytes."""
    made = [simplejpeg.encode_jpeg(photo(800, 600, i), 85, "RGB", "420") for i in range(min(count, DISTINCT))]
    for i in range(count):
        (folder / f"{i}.jpg").write_bytes(made[i % len(made)])
    return float(np.mean([len(data) for data in made]))


@contextmanager
def nginx(folder: Path, work: Path) -> Iterator[str]:
    """Serve a folder by nginx on a free loopback port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = work / "nginx.conf"
    config.write_text(
        f"daemon off; master_process off; pid {work}/pid; error_log {work}/error.log;\n"
        "events { worker_connections 1024; }\n"
        "http { access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; types { image/jpeg jpg; }\n"
        + "".join(f"{name}_temp_path {work}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        + f"server {{ listen 127.0.0.1:{port} backlog=1024; root {folder}; }} }}\n"
    )
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    server = subprocess.Popen([program, "-p", str(work), "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        while server.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def measured(python: str, program: str, *arguments: object) -> tuple[float, float, str]:
    """Run a program in a fresh interpreter; return its processor seconds, wall seconds and output."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_ALBUMENTATIONS_UPDATE": "1"}
    done = subprocess.run(
        [python, "-c", program, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        cwd="/",
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu_s, time.monotonic() - began, done.stdout


def say(claim: str, ours: float, peer: float, unit: str) -> None:
    """Print one result."""
    print(
        json.dumps(
            {
                "claim": claim,
                "ours": round(ours, 3),
                "peer": round(peer, 3),
                "ratio": round(ours / peer, 3),
                "unit": unit,
            }
        ),
        flush=True,
    )


def main(count: int) -> None:
    """Measure everything once."""
    peer_python = os.environ.get("IMG2DATASET_PYTHON", sys.executable)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        folder = work / "pictures"
        for part in (folder, work / "ours"):
            part.mkdir()
        size = make_pictures(folder, count)
        with nginx(folder, work) as base:
            ours, limits = [], []
            for _ in range(REPEATS):  # in turn, and the least of each: other work on the machine only ever adds
                ours.append(measured(sys.executable, OURS, base, count, work / "ours")[:2])
                limits.append(measured(sys.executable, LIMIT, folder, count)[0])
            ours_s, ours_wall_s = min(ours)
            limit_s = min(limits)
            say(
                f"fetch: {count} JPEGs 800x600 of {size / 1e3:.0f} kB, share of the decode-resize-encode limit",
                count / ours_s,
                count / limit_s,
                "images per CPU-second",
            )
            peer_s, peer_wall_s = peer(peer_python, base, count, work)
            say(
                "fetch: img2dataset, same work, start-up included",
                count / ours_s,
                count / peer_s,
                "images per CPU-second",
            )
            say("fetch: img2dataset, wall clock", count / ours_wall_s, count / peer_wall_s, "images per second")
        few = min(count, 500)
        phash_ms, pdq_ms = map(float, measured(sys.executable, HASHES, folder, few)[2].split())
        say(
            "fetch: pHash, cost over a fetch without hashes",
            phash_ms,
            1e3 * ours_s / count,
            "CPU-milliseconds an image",
        )
        say("fetch: PDQ, cost over a fetch without hashes", pdq_ms, 1e3 * ours_s / count, "CPU-milliseconds an image")


def peer(python: str, base: str, count: int, work: Path) -> tuple[float, float]:
    """Run img2dataset on the same URLs; return its processor and wall seconds."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    urls = [f"{base}/{i}.jpg" for i in range(count)]
    pq.write_table(pa.table({"url": urls, "text": ["a picture"] * count}), work / "urls.parquet")
    cpu_s, wall_s, _ = measured(python, PEER, work / "urls.parquet", work / "peer")
    stats = [json.loads(path.read_text()) for path in (work / "peer").glob("*_stats.json")]
    assert sum(one["successes"] for one in stats) == count, stats
    return cpu_s, wall_s


if __name__ == "__main__":
    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    main(int(given.get("N", "6000")))

"""Claim: writing and reading shards is faster than webdataset's ShardWriter and WebDataset on the same samples."""

import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import webdataset as wds

from pipeline.pack import member

SAMPLES = 10_000
ROUNDS = 5


def samples() -> list[tuple[str, bytes, bytes, dict[str, object]]]:
    """Return made-up samples of the usual sizes: a 20 kB picture, a short text, ten fields."""
    rng = np.random.default_rng(0)
    pool = rng.bytes(1_000_000)
    out = []
    for i in range(SAMPLES):
        at, size = int(rng.integers(0, 900_000)), int(rng.integers(10_000, 30_000))
        info: dict[str, object] = {
            "url": f"http://example.org/{i}.jpg",
            "width": 256,
            "height": 256,
            "clip_cos": 0.3,
            "sha256": f"{i:064x}",
        }
        out.append((f"{i:032x}", pool[at : at + size], f"a text about picture {i}".encode(), info))
    return out


def write_ours(path: Path, rows: list[tuple[str, bytes, bytes, dict[str, object]]]) -> None:
    """Write as pipeline.pack does."""
    with path.open("wb") as out:
        for key, picture, text, info in rows:
            out.write(member(f"{key}.jpg", picture))
            out.write(member(f"{key}.txt", text))
            out.write(member(f"{key}.json", json.dumps(info, sort_keys=True, ensure_ascii=False).encode()))
        out.write(b"\0" * 1024)


def write_peer(path: Path, rows: list[tuple[str, bytes, bytes, dict[str, object]]]) -> None:
    """Write with webdataset's ShardWriter."""
    with wds.ShardWriter(str(path) + "-%05d.tar", maxcount=SAMPLES + 1, maxsize=10**12, verbose=0) as sink:
        for key, picture, text, info in rows:
            sink.write({"__key__": key, "jpg": picture, "txt": text.decode(), "json": info})


def read_ours(path: Path) -> int:
    """Read raw samples by the sidecar's offsets, as a loader on our shards does: no tar parsing."""
    from pipeline.pack import iter_samples

    return sum(len(sample["jpg"]) for sample in iter_samples(path))


def read_peer(path: Path) -> int:
    """Read raw samples with webdataset."""
    return sum(len(sample["jpg"]) for sample in wds.WebDataset(str(path), shardshuffle=False))


def alternate(ours: Callable[[], object], peer: Callable[[], object]) -> tuple[float, float]:
    """Return the median seconds of both, run in turn."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for i, fn in enumerate((ours, peer)):
            began = time.perf_counter()
            fn()
            seconds[i].append(time.perf_counter() - began)
    return statistics.median(seconds[0]), statistics.median(seconds[1])


def main() -> None:
    """Print one JSON line a claim."""
    rows = samples()
    folder = Path(tempfile.mkdtemp())
    try:
        ours, peer = alternate(lambda: write_ours(folder / "ours.tar", rows), lambda: write_peer(folder / "peer", rows))
        _say("shard write (webdataset ShardWriter)", SAMPLES / ours, SAMPLES / peer, "≥ 1.5×")
        shard = folder / "peer-00000.tar"
        assert read_ours(folder / "ours.tar") == read_peer(shard)
        ours, peer = alternate(lambda: read_ours(folder / "ours.tar"), lambda: read_peer(folder / "ours.tar"))
        _say("shard read (webdataset WebDataset)", SAMPLES / ours, SAMPLES / peer, "≥ 1.0×")
    finally:
        shutil.rmtree(folder)


def _say(claim: str, ours: float, peer: float, aim: str) -> None:
    print(
        json.dumps({"claim": claim, "unit": "samples/s", "ours": ours, "peer": peer, "ratio": ours / peer, "aim": aim}),
        flush=True,
    )


if __name__ == "__main__":
    main()

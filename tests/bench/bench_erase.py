"""Claim: erasing scattered samples writes what they hold, not what the shards hold, and readers see it within a second.

The peer rewrites the shards that hold some (webdataset's TarWriter, which is what its users have for it, and Python's
tarfile for comparison). `--shards` and `--mb` make it smaller; the default needs 21 GB of disk in the temporary folder.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import webdataset as wds

from pipeline import tombstones
from pipeline.erasure.apply import Applied, apply
from pipeline.pack import member, shard_files
from pipeline.pieces import of_file
from pipeline.snapshot import ShardEntry, Snapshot, publish
from pipeline.stage import PARQUET
from pipeline.store import Store

ROOT = Path(__file__).parents[2]
PICTURE_BYTES = 48_000  # a 384 px JPEG; about 10,000 to a shard of 500 MB
DIMENSIONS = 512
ROUNDS = 20


def generate(root: Path, shards: int, mb: int) -> tuple[Store, list[list[str]]]:
    """Write and publish a data set of made-up shards with all their sidecars; return the keys of each shard."""
    store = Store.open_url(str(root))
    rng = np.random.default_rng(0)
    noise = rng.bytes(8_000_000)
    entries, keys = [], []
    for number in range(shards):
        found = _shard(store, number, mb * 1_000_000, rng, noise)
        entries.append(found[0])
        keys.append(found[1])
    snapshot = Snapshot(
        number=1, parent=None, config={"pack": {"keep_snapshots": 2}, "clip": {}}, config_digest="-", rows_in=0,
        rows=sum(entry.rows for entry in entries), dropped={}, extracts=[], layouts=[], parts=[], shards=entries,
        clip={"weights_sha256": "-"},
    )  # fmt: skip
    publish(store, snapshot)
    return store, keys


def _shard(store: Store, number: int, size: int, rng: Any, noise: bytes) -> tuple[ShardEntry, list[str]]:
    names = shard_files("000001", number)
    columns: dict[str, list[Any]] = {name: [] for name in ("key", "url", "caption", "shard_offset", "shard_bytes")}
    with store.scratch() as scratch:
        at = 0
        with (scratch / "tar").open("wb") as out:
            while at < size:
                key, start = rng.bytes(16).hex(), int(rng.integers(0, len(noise) - PICTURE_BYTES))
                url, text = f"https://www.site{start % 997}.example/{key[:12]}.jpg", f"a picture of the thing {start}"
                info = {"key": key, "url": url, "caption": text, "width": 384, "height": 384, "sha256": key * 2}
                data = member(f"{key}.jpg", noise[start : start + PICTURE_BYTES]) + member(f"{key}.txt", text.encode())
                data += member(f"{key}.json", json.dumps(info, sort_keys=True).encode())
                out.write(data)
                for name, value in zip(columns, (key, url, text, at, len(data)), strict=True):
                    columns[name].append(value)
                at += len(data)
            out.write(bytes(1024))
        rows = len(columns["key"])
        table = pa.table({**columns, "page_url": columns["url"], "domain": ["site.example"] * rows, "width": [384] * rows,
                          "height": [384] * rows, "clip_cos": rng.random(rows), "status": ["success"] * rows})  # fmt: skip
        pq.write_table(table, scratch / "parquet", **PARQUET)
        pq.write_table(table.select(["key", "url", "caption"]), scratch / "metadata", **PARQUET)
        vectors = rng.standard_normal((rows, DIMENSIONS)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        for role in ("img_emb", "text_emb"):
            with (scratch / role).open("wb") as handle:
                np.save(handle, vectors.astype(np.float16))
        digests = {role: of_file(scratch / role) for role in names}
        entry = ShardEntry(number, f"k{number}", rows, {role: found.sha256 for role, found in digests.items()})
        pieces = {role: list(digests[role].pieces) for role in ("tar", "img_emb", "text_emb")}
        for role, name in names.items():
            store.put(scratch / role, name)
    store.write(f"shards/000001/{number:05d}.record", json.dumps({**entry.__dict__, "pieces": pieces}).encode())
    return entry, columns["key"]


def scattered(keys: list[list[str]], count: int, seed: int) -> list[bytes]:
    """Return the uids of samples drawn from all shards alike."""
    every = [key for shard in keys for key in shard]
    chosen = np.random.default_rng(seed).choice(len(every), min(count, len(every) // 4), replace=False)
    return [bytes.fromhex(every[int(i)]) for i in chosen]


def ours(store: Store, uids: list[bytes]) -> tuple[float, Applied]:
    """Erase as `tamis optout apply` does, digests, sidecars, vectors and journal with it."""
    tombstones.publish(store, tombstones.of_request(uids, [""] * len(uids), f"r-{len(uids)}"))
    os.sync()  # what was written before is no work of ours, nor of the peers'
    began = time.perf_counter()
    done = apply(store)
    return time.perf_counter() - began, done


def peers(store: Store, keys: list[list[str]], uids: list[bytes], folder: Path) -> tuple[dict[str, float], int]:
    """Rewrite the tar of every shard that holds some, with both peers; return seconds and bytes written by one of them.

    Many shards are estimated from three: a shard's time does not depend on how many others there are.
    """
    gone = {uid.hex() for uid in uids}
    touched = [number for number, shard in enumerate(keys) if gone.intersection(shard)]
    measured = touched[:3]
    seconds, written = {"webdataset": 0.0, "tarfile": 0.0}, 0
    for number in measured:
        source = store.local(shard_files("000001", number)["tar"])
        assert source is not None
        for name, rewrite in (("webdataset", _with_webdataset), ("tarfile", _with_tarfile)):
            os.sync()
            began = time.perf_counter()
            rewrite(source, folder / name, gone)
            seconds[name] += time.perf_counter() - began
        written += (folder / "webdataset").stat().st_size
    scale = len(touched) / len(measured)
    return {name: value * scale for name, value in seconds.items()}, round(written * scale)


def _with_webdataset(source: Path, target: Path, gone: set[str]) -> None:
    with target.open("wb") as out:
        with wds.TarWriter(out, encoder=False) as sink:
            for sample in wds.WebDataset(str(source), shardshuffle=False):
                if sample["__key__"] not in gone:
                    sink.write(
                        {name: value for name, value in sample.items() if name not in ("__url__", "__local_path__")}
                    )
        out.flush()
        os.fsync(out.fileno())


def _with_tarfile(source: Path, target: Path, gone: set[str]) -> None:
    with target.open("wb") as out:
        with tarfile.open(source) as old, tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as new:
            for info in old:
                if info.name.split(".", 1)[0] not in gone:
                    new.addfile(info, old.extractfile(info))
        out.flush()
        os.fsync(out.fileno())


LOADER = """
import sys, time
from pipeline.reader import samples
from pipeline.store import Store
reader = samples(Store.open_url({root!r}))
print("ready", flush=True)
while True:
    keys = set()
    for sample in reader:
        keys.add(sample["__key__"])
        if len(keys) == 200:
            break
    print(" ".join(sorted(keys)), flush=True)
"""

SERVER = """
import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from index.search import Searcher
from pipeline.errors import InputError
from pipeline.store import Store
searcher = Searcher(Store.open_url({root!r}))
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            searcher.by_uid(self.path[1:], 1)
            code = 200
        except InputError:
            code = 404
        self.send_response(code)
        self.end_headers()
    def log_message(self, *args):
        pass
server = HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


@contextmanager
def running(program: str, store: Store) -> Iterator[IO[str]]:
    """Run a program on a data set and give its output."""
    command = [sys.executable, "-c", program.format(root=store.root)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        process.kill()
        process.communicate()


def invisible_s(store: Store, keys: list[str]) -> tuple[list[float], list[float]]:
    """Return the seconds from publishing a tombstone until a running server, and a running loader, show the sample no more."""
    loader = []
    with running(SERVER, store) as out:
        port = int(out.readline())

        def unknown(key: str) -> bool:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/{key}")
            except urllib.error.HTTPError:
                return True
            return False

        server = [_until(store, key, unknown) for key in keys[:ROUNDS]]
    with running(LOADER, store) as out:
        out.readline()
        for number in range(ROUNDS, 2 * ROUNDS):
            assert keys[number] in out.readline()
            loader.append(_until(store, keys[number], lambda key: key not in out.readline()))
    return server, loader


def _until(store: Store, key: str, gone: Callable[[str], bool]) -> float:
    time.sleep(float(np.random.default_rng(abs(hash(key))).uniform(0, 0.3)))  # at any phase of the reader's looks
    began = time.perf_counter()
    tombstones.publish(store, tombstones.of_request([bytes.fromhex(key)], [""], "r-" + key))
    while not gone(key):
        pass
    return time.perf_counter() - began


def main() -> None:
    """Print one JSON line a claim."""
    options = argparse.ArgumentParser()
    options.add_argument("--shards", type=int, default=20)
    options.add_argument("--mb", type=int, default=500)
    args = options.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="tamis-bench-"))
    try:
        need = (args.shards + 3) * args.mb * 1_000_000
        if shutil.disk_usage(folder).free < 1.1 * need:
            sys.exit(f"{folder}: {need / 1e9:.0f} GB of disk are needed; --shards and --mb make it smaller")
        store, keys = generate(folder / "set", args.shards, args.mb)
        what = f"{args.shards} shards of {args.mb} MB"
        for count in (1, 100, 10_000):
            uids = scattered(keys, count, seed=count)
            peer, peer_bytes = peers(store, keys, uids, folder)
            seconds, done = ours(store, uids)
            best, name = min((value, name) for name, value in peer.items())
            held = _held(keys, uids, store)
            aim = "≥ 50×" if count == 100 else ""
            _say(
                f"erase {len(uids):,} samples of {what} (rewriting with {name})",
                "s",
                seconds,
                best,
                best / seconds,
                aim,
            )
            our, share = done.in_place_bytes, done.in_place_bytes / held
            bound = f"≤ 2× the {held / 1e6:,.1f} MB the samples hold: {share:.3f}×"
            _say(
                "… bytes written in place, tars and vectors", "MB", our / 1e6, peer_bytes / 1e6, peer_bytes / our, bound
            )
            _say("… and as new sidecars", "MB", done.table_bytes / 1e6, None, None, "")
        small, small_keys = generate(folder / "small", 2, 25)
        from index.build import build
        from pipeline.snapshot import require_latest

        build(small, require_latest(small))
        for who, found in zip(("search server", "loader"), invisible_s(small, small_keys[0]), strict=True):
            slowest = max(found)
            _say(f"tombstone invisible in a running {who}, slowest of {ROUNDS}", "s", slowest, None, None,
                 f"< 1 s; median {statistics.median(found):.2f}")  # fmt: skip
    finally:
        shutil.rmtree(folder)


def _held(keys: list[list[str]], uids: list[bytes], store: Store) -> int:
    """Return what the samples hold: their members, and their two vectors."""
    gone, total = {uid.hex() for uid in uids}, 0
    for number, shard in enumerate(keys):
        if gone.intersection(shard):
            path = store.local(shard_files("000001", number)["parquet"])
            table = pq.read_table(path, columns=["key", "shard_bytes"]).to_pydict()
            total += sum(size for key, size in zip(table["key"], table["shard_bytes"], strict=True) if key in gone)
    return total + len(uids) * 2 * 2 * DIMENSIONS


def _say(claim: str, unit: str, our: float, peer: float | None, ratio: float | None, aim: str) -> None:
    row = {"claim": claim, "unit": unit, "ours": our, "peer": peer, "ratio": ratio, "aim": aim}
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()

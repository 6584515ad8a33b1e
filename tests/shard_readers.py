"""The programs that read a shard, each as name → bytes of the samples it shows."""

import subprocess
import tarfile
from pathlib import Path

import webdataset as wds

from pipeline.pack import iter_samples

Samples = dict[str, bytes]
"""Key of a sample → its picture."""


def read_tarfile(path: Path, mode: str = "r:") -> Samples:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        return {
            info.name.removesuffix(".jpg"): tar.extractfile(info).read()
            for info in tar
            if info.name.endswith(".jpg") and info.isreg()
        }


def read_stream(path: Path) -> Samples:
    return read_tarfile(path, "r|")


def read_webdataset(path: Path) -> Samples:
    samples = wds.WebDataset(str(path), shardshuffle=False, empty_check=False)
    return {sample["__key__"]: sample["jpg"] for sample in samples}


def read_gnu_tar(path: Path) -> Samples:
    names = _run("tar", "-tf", str(path)).decode().split()
    assert all(name == ".erased" or "." in name for name in names)
    found = {}
    for name in names:
        if name.endswith(".jpg"):
            found[name.removesuffix(".jpg")] = _run("tar", "-xOf", str(path), name)
    return found


def _run(*command: str) -> bytes:
    done = subprocess.run(command, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b""), (command, done.stderr.decode())
    return done.stdout


def read_ours(path: Path) -> Samples:
    return {sample["__key__"]: sample["jpg"] for sample in iter_samples(path)}


def read_datasets(path: Path) -> Samples:
    from datasets import Image, load_dataset

    rows = load_dataset("webdataset", data_files={"train": str(path)}, split="train", streaming=True)
    rows = rows.cast_column("jpg", Image(decode=False))
    return {row["__key__"]: row["jpg"]["bytes"] for row in rows}


FAST = (read_tarfile, read_stream, read_webdataset, read_ours)
ALL = (*FAST, read_gnu_tar, read_datasets)

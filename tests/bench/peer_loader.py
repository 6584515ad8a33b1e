"""The peers of bench_loader.py: webdataset's WebLoader, and mosaicml-streaming under the Python of its own environment.

    python peer_loader.py convert TARS… MDS
    python peer_loader.py webdataset plain|given BATCH BATCHES TARS…
    python peer_loader.py streaming  plain|given BATCH BATCHES MDS

`plain`: the pictures are decoded by Pillow and cut by torchvision, as both projects' own examples do. `given`: they are handed
the decoder and the cut of ours, and u8 batches that become floats in the consumer. One line of JSON.
"""

import json
import os
import sys
import tarfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import cv2
import numpy as np
import torch
from clock import cpu_seconds
from torchvision import transforms

sys.path.insert(0, str(Path(__file__).parents[2]))

from train.buckets import Bucket, fit

SIDE_PX, WORKERS, WARM_UP = 256, 2, 6
SHUFFLE = 1_000
"""Samples of webdataset's buffer, as in its README."""


def plain() -> Callable[[Any], torch.Tensor]:
    """Return the transformation of diffusers' example, Pillow picture → f32[3,H,W] in [-1,1]."""
    made: Callable[[Any], torch.Tensor] = transforms.Compose(
        [
            transforms.Resize(SIDE_PX), transforms.RandomCrop(SIDE_PX), transforms.RandomHorizontalFlip(),
            transforms.ToTensor(), transforms.Normalize([0.5], [0.5]),
        ]
    )  # fmt: skip
    return made


def given(data: bytes) -> torch.Tensor:
    """Return u8[3,H,W]: what ours does to a picture, with chances of torch's generator."""
    picture: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    down, across, turn = torch.rand(3).tolist()
    cut = fit(picture, Bucket(SIDE_PX, SIDE_PX), across, down, turn < 0.5)
    return torch.from_numpy(np.ascontiguousarray(cut.transpose(2, 0, 1)))


def webdataset(how: str, batch: int, tars: list[str]) -> Iterable[Any]:
    """Return batches for ever as its README makes them."""
    import webdataset as wds

    found = wds.WebDataset(tars, resampled=True, shardshuffle=False).shuffle(SHUFFLE)
    found = found.decode("pil").to_tuple("jpg") if how == "plain" else found.to_tuple("jpg")
    found = found.map_tuple(plain() if how == "plain" else given).batched(batch)
    loader: Iterable[Any] = wds.WebLoader(found, batch_size=None, num_workers=WORKERS)
    return loader


def streaming(how: str, batch: int, folder: str) -> Iterable[Any]:
    """Return batches, epoch after epoch, as its documentation makes them."""
    from streaming import StreamingDataset  # type: ignore[import-not-found]
    from torch.utils.data import DataLoader

    change = plain() if how == "plain" else given

    class Pictures(StreamingDataset):  # type: ignore[misc]
        def __getitem__(self, at: Any) -> Any:
            return change(super().__getitem__(at)[how])

    made = Pictures(local=folder, shuffle=True, batch_size=batch)
    loader: DataLoader[Any] = DataLoader(
        made, batch_size=batch, num_workers=WORKERS, persistent_workers=True, drop_last=True
    )
    while True:
        yield from loader


def convert(tars: list[str], folder: str) -> None:
    """Write its own format: the pictures as it decodes them itself, and their bytes."""
    from streaming import MDSWriter

    with MDSWriter(out=folder, columns={"plain": "jpeg", "given": "bytes"}, size_limit=1 << 26) as out:
        for path in tars:
            with tarfile.open(path) as tar:
                for info in tar:
                    if info.name.endswith(".jpg"):
                        file = tar.extractfile(info)
                        assert file is not None
                        data = file.read()
                        out.write({"plain": _jpeg(data), "given": data})


def _jpeg(data: bytes) -> Any:
    """Return a Pillow picture that still knows its file, which is what the writer keeps without encoding it again."""
    from io import BytesIO

    from PIL import Image

    return Image.open(BytesIO(data))


def measured(found: Iterable[Any], batch: int, batches: int) -> dict[str, float]:
    """Return pictures a second, and a second of the processor, after a warm-up."""
    total, began, spent = 0.0, 0.0, 0.0
    for at, one in enumerate(found):
        if at == WARM_UP:
            began, spent = time.perf_counter(), cpu_seconds()
        pixels = one[0] if isinstance(one, list | tuple) else one
        pixels = pixels if pixels.dtype == torch.float32 else pixels.float().div_(127.5).sub_(1)
        total += float(pixels[0, 0, 0, 0])
        assert pixels.shape == (batch, 3, SIDE_PX, SIDE_PX)
        if at == WARM_UP + batches:  # while the workers live: their time is gone with them
            seconds, cpu = time.perf_counter() - began, cpu_seconds() - spent
            return {"images_per_s": batch * batches / seconds, "images_per_cpu_s": batch * batches / cpu}
    raise AssertionError("the batches came to an end")


def main(what: str, *rest: str) -> None:
    """Convert, or measure and print."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    if what == "convert":
        convert(list(rest[:-1]), rest[-1])
        return
    how, batch, batches = rest[0], int(rest[1]), int(rest[2])
    made = webdataset(how, batch, list(rest[3:])) if what == "webdataset" else streaming(how, batch, rest[3])
    print(json.dumps(measured(made, batch, batches)), flush=True)
    os._exit(0)  # its workers would go on reading


if __name__ == "__main__":
    main(*sys.argv[1:])

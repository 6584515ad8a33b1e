"""Claim: looking at pictures is faster than clip-retrieval's inference with the same weights, and near the bare model.

Usage: python tests/bench/bench_embed.py [PICTURES]. The peer lives in its own virtual environment, made on first use in
TAMIS_PEERS (default .peers): pip install torch==2.14.1 torchvision==0.29.1 clip-retrieval 'setuptools<81'.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from pipeline import clip_model, embed
from pipeline.clip_spec import ModelSpec
from pipeline.config import ClipConfig
from pipeline.schema import CANDIDATE, FETCH
from pipeline.stage import Draft, Outcome, Part, Stage, run
from pipeline.store import Store

PEERS = Path(os.environ.get("TAMIS_PEERS", ".peers")).resolve()
PEER = """
import sys, json, time, warnings
warnings.filterwarnings("ignore")
folder, out, config, model = sys.argv[1:]
import open_clip
open_clip.add_model_config(config)
tokenizer_of = open_clip.get_tokenizer


class Clamped:  # its warm-up embeds a text whatever it is asked for; the bundled model has a smaller vocabulary
    def __init__(self, name): self.inner = tokenizer_of(name)
    def __call__(self, *texts, **more): return self.inner(*texts, **more).clamp(max=14513)


open_clip.get_tokenizer = Clamped
from clip_retrieval.clip_inference.main import main
if __name__ == "__main__":
    main(input_dataset=folder, output_folder=out, clip_model=model, enable_text=False, batch_size=64, num_prepro_workers=2)
"""


def pictures(count: int) -> list[bytes]:
    """Return JPEGs of 256×256 with photographic detail."""
    out = []
    for i in range(count):
        rng = np.random.default_rng(i)
        small = Image.fromarray(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8)).resize(
            (256, 256), Image.Resampling.BICUBIC
        )
        noisy = np.clip(np.asarray(small, np.int16) + rng.integers(-12, 12, (256, 256, 3)), 0, 255).astype(np.uint8)
        file = BytesIO()
        Image.fromarray(noisy).save(file, "JPEG", quality=90)
        out.append(file.getvalue())
    return out


def parts(store: Store, data: list[bytes]) -> tuple[Part, Part]:
    """Commit a candidates part and a fetch part that hold these pictures, all with one text."""
    uids = [i.to_bytes(16, "big") for i in range(len(data))]
    offsets = np.cumsum([0] + [len(d) for d in data])[:-1]

    def candidates(draft: Draft) -> Outcome:
        columns = {
            "uid": uids,
            "url": [f"http://x.example/{i}" for i in range(len(data))],
            "text": ["a picture"] * len(data),
        }
        draft.table(
            pa.table([pa.array(columns.get(f.name, [None] * len(data)), f.type) for f in CANDIDATE], schema=CANDIDATE)
        )
        return Outcome(len(data), len(data))

    def fetched(draft: Draft) -> Outcome:
        draft.path("tar").write_bytes(b"".join(data))
        columns = {"uid": uids, "tar_offset": offsets, "tar_bytes": [len(d) for d in data]}
        draft.table(pa.table([pa.array(columns.get(f.name, [None] * len(data)), f.type) for f in FETCH], schema=FETCH))
        return Outcome(len(data), len(data), {}, {"extension": "jpg"})

    return run(store, Stage("candidates", candidates, {})), run(store, Stage("fetch/x", fetched, {}))


def ours(folder: Path, data: list[bytes], config: ClipConfig) -> dict[str, float]:
    """Return seconds of the stage (model loaded), of the bare forward, and of loading."""
    store = Store.open_url(str(folder / "set"))
    inputs = parts(store, data)
    began = time.perf_counter()
    model = clip_model.load(ModelSpec(config.model, config.pretrained, config.precision))
    pixels = np.zeros((config.batch, model.size_px, model.size_px, 3), np.uint8)
    model.images(pixels)
    loaded = time.perf_counter()
    run(store, embed.stage(config), inputs)
    staged = time.perf_counter()
    for _ in range(len(data) // config.batch):
        model.images(pixels)
    return {
        "load": loaded - began,
        "stage": staged - loaded,
        "bare": (time.perf_counter() - staged) * len(data) / (len(data) // config.batch * config.batch),
    }


def peer_python() -> Path:
    """Return the peer's interpreter, made on first use."""
    python = PEERS / "clip-retrieval" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(PEERS / "clip-retrieval")], check=True)
        for wanted in (["torch==2.14.1", "torchvision==0.29.1"], ["clip-retrieval", "setuptools<81"]):
            subprocess.run([str(python), "-m", "pip", "install", "-q", *wanted], check=True)
    return python


def peer(folder: Path, data: list[bytes], model: str, few: int) -> float:
    """Return the peer's seconds for the pictures, start-up taken out by a run on few of them."""
    seconds = []
    for count in (few, len(data)):
        pictures_dir = folder / f"pictures{count}"
        pictures_dir.mkdir()
        for i, body in enumerate(data[:count]):
            (pictures_dir / f"{i:06d}.jpg").write_bytes(body)
        script = folder / "peer.py"
        script.write_text(PEER)
        began = time.perf_counter()
        command = [
            str(peer_python()),
            str(script),
            str(pictures_dir),
            str(folder / f"out{count}"),
            str(folder / "configs"),
            model,
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - began)
    return (seconds[1] - seconds[0]) * len(data) / (len(data) - few)


def main(count: int) -> None:
    """Print one JSON line a claim."""
    data = pictures(count)
    mini = ModelSpec().folder()
    assert mini is not None
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "configs").mkdir()
        settings = json.loads((mini / "open_clip_config.json").read_text())["model_cfg"]
        (folder / "configs" / "tamis_mini.json").write_text(json.dumps(settings))
        mine = ours(folder, data, ClipConfig())
        theirs = peer(
            folder, data, f"open_clip:tamis_mini/{mini / 'open_clip_model.safetensors'}", max(64, count // 10)
        )
    claim = "embed, tamis-mini's weights (clip-retrieval inference, start-up left out on both sides)"
    _say(claim, count / mine["stage"], count / theirs, "≥ 1.3×")
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}  # as a worker of ours runs it
    subprocess.run([sys.executable, __file__, "bare", str(count)], check=True, env=one_thread)


def bare(count: int) -> None:
    """Print the share of the bare forward, in a process with one torch thread."""
    with tempfile.TemporaryDirectory() as scratch:
        mine = ours(Path(scratch), pictures(count), ClipConfig())
    claim = "embed, tamis-mini: share of the bare model forward, one torch thread as in a worker"
    _say(claim, count / mine["stage"], count / mine["bare"], "≥ 0.95")


def _say(claim: str, ours_: float, peer_: float, aim: str) -> None:
    row = {"claim": claim, "unit": "pictures/s", "ours": ours_, "peer": peer_, "ratio": ours_ / peer_, "aim": aim}
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["bare"]:
        bare(int(sys.argv[2]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 1500)

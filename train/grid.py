"""A look at a decoder while it learns: pictures drawn for the same held-out embeddings every time; and a prior's hit rate.

Only drawn pictures are kept in the run's folder, no real ones; when one of those they are drawn for has gone, they go too (train.sheets).
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.store import Store
from train.buckets import Bucket
from train.data import Batches
from train.export import assemble
from train.exported import sampling
from train.loop import Sampler
from train.order import Order, key
from train.run import Run
from train.tasks import DecoderTask, PriorTask, Task

PICTURES = 16
Shades = NDArray[np.uint8]


def source(run: Run) -> Batches:
    """Return the rows that are drawn for, in its first batch: held-out ones, or some that are trained on where none are held out."""
    rows = run.held if run.held.rows_shown else run.shown
    order = Order(rows.shards, key(run.config.data.seed, "samples"), PICTURES, run.config.data.window)
    return Batches(run.store, rows, order, pictures=False)


def sampler(run: Run, device: torch.device) -> Sampler | None:
    """Return what draws samples for a run; None where it is not known how (fine-tuning)."""
    if run.facts.kind == "finetune":
        return None
    if run.facts.kind == "clip":
        from train.retrieval import recall_sampler

        return recall_sampler(run, device)
    batches = source(run)
    rows = batches.manifest

    def sample(task: Task, folder: Path, step: int) -> dict[str, float]:
        batch = batches[0].to(device)
        if not bool((batch.weight > 0).any()):
            return {}  # all of them are hidden by now
        shown = batch.weight > 0
        seeds = batch.slot[shown].tolist()
        if isinstance(task, PriorTask):
            return {"sampled_cos": _imagined_cos(task, batch.text_emb[shown], batch.image_emb[shown], seeds)}
        assert isinstance(task, DecoderTask)
        shape = rows.facts.buckets[batches.where(0).bucket]
        pictures = draw(task, seeds, shape, batch.image_emb[shown], batch.text_emb[shown])
        Store(str(folder)).write(f"samples/{step:09d}.png", _sheet(pictures))
        return {}

    return sample


def draw(task: DecoderTask, seeds: Sequence[int], shape: Bucket, image: torch.Tensor, text: torch.Tensor) -> Shades:
    """Return pictures u8[B,H,W,3] of embeddings f32[B,D], by the pipeline that `tamis sample` and an export draw with."""
    vae = task.latents.vae if task.latents is not None else None
    pipeline = assemble(task.module, None, {"objective": task.config.predict, "clip": {}}, vae)
    made = pipeline(
        image_embeds=image,
        text_embeds=text,
        seeds=seeds,
        height=shape.height_px,
        width=shape.width_px,
        output_type="np",
    ).images
    return np.asarray((made * 255).round(), np.uint8)


def _imagined_cos(task: PriorTask, text: torch.Tensor, image: torch.Tensor, seeds: Sequence[int]) -> float:
    """Return the mean cosine of the image embeddings f32[B,D] that are imagined of texts f32[B,D] with the true ones."""
    how = sampling.Sampling(steps=sampling.PRIOR_STEPS, guidance=sampling.PRIOR_GUIDANCE)
    made = sampling.imagine(task.module.net, task.module.text, text, seeds, how)
    return float(torch.nn.functional.cosine_similarity(made, image).mean())


def _sheet(shades: Shades) -> bytes:
    """Return pictures side by side in rows of eight, as PNG."""
    across = 8
    rows = -(-len(shades) // across)
    blank = np.zeros((rows * across - len(shades), *shades.shape[1:]), np.uint8)
    tiles = np.concatenate([shades, blank]).reshape(rows, across, *shades.shape[1:])
    sheet = tiles.swapaxes(1, 2).reshape(rows * shades.shape[1], across * shades.shape[2], 3)
    done, data = cv2.imencode(".png", sheet[..., ::-1])
    assert done
    return data.tobytes()

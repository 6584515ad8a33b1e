"""A look at a decoder while it learns: pictures drawn for the same held-out embeddings every time; and a prior's hit rate.

Only drawn pictures are kept in the run's folder, no real ones; when one of those they are drawn for has gone, they go too (train.sheets).
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from pipeline.store import Store
from train.data import Batches
from train.exported import sampling
from train.loop import Sampler
from train.order import Order, key
from train.run import Run
from train.tasks import DecoderTask, PriorTask, Task

PICTURES = 16


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
        cell = task.latents.cell_px if task.latents is not None else 1
        channels = task.latents.channels if task.latents is not None else 3
        cells = (channels, shape.height_px // cell, shape.width_px // cell)
        pictures = draw(task, seeds, cells, {"image": batch.image_emb[shown], "text": batch.text_emb[shown]})
        Store(str(folder)).write(f"samples/{step:09d}.png", _sheet(pictures))
        return {}

    return sample


@torch.no_grad()
def draw(
    task: DecoderTask, seeds: Sequence[int], shape: tuple[int, int, int], embeddings: dict[str, torch.Tensor]
) -> torch.Tensor:
    """Return pictures f32[B,3,H,W] in [-1,1] of embeddings f32[B,D], as `tamis sample` draws them by default."""
    module = task.module

    def denoise(x: torch.Tensor, time: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = module.net(x, timestep=time, encoder_hidden_states=tokens, return_dict=False)[0]
        return found.float()

    nothing = torch.zeros(len(seeds), dtype=torch.bool, device=next(iter(embeddings.values())).device)
    predict = task.config.predict
    made = sampling.sample(
        denoise, predict, module.condition(embeddings), module.condition(embeddings, nothing), seeds, shape,
        sampling.Sampling("unipc" if predict == "flow" else "ddim"), latent=task.latents is not None,
    )  # fmt: skip
    return (task.latents.decode(made) if task.latents is not None else made).clamp(-1, 1)


def _imagined_cos(task: PriorTask, text: torch.Tensor, image: torch.Tensor, seeds: Sequence[int]) -> float:
    """Return the mean cosine of the image embeddings f32[B,D] that are imagined of texts f32[B,D] with the true ones."""
    how = sampling.Sampling(steps=sampling.PRIOR_STEPS, guidance=sampling.PRIOR_GUIDANCE)
    made = sampling.imagine(task.module.net, task.module.text, text, seeds, how)
    return float(torch.nn.functional.cosine_similarity(made, image).mean())


def _sheet(pictures: torch.Tensor) -> bytes:
    """Return pictures side by side in rows of eight, as PNG."""
    shades = ((pictures.cpu() + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    across = 8
    rows = -(-len(shades) // across)
    blank = np.zeros((rows * across - len(shades), *shades.shape[1:]), np.uint8)
    tiles = np.concatenate([shades, blank]).reshape(rows, across, *shades.shape[1:])
    sheet = tiles.swapaxes(1, 2).reshape(rows * shades.shape[1], across * shades.shape[2], 3)
    done, data = cv2.imencode(".png", sheet[..., ::-1])
    assert done
    return data.tobytes()

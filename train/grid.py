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
from train.draws import Draws
from train.exported import sampling
from train.loop import Sampler
from train.order import Order, key
from train.run import Run
from train.tasks import DecoderTask, PriorTask, Task

PICTURES = 16
PRIOR_STEPS = 25


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
    seed, rows = batches.order.seed, batches.manifest

    def sample(task: Task, folder: Path, step: int) -> dict[str, float]:
        batch = batches[0].to(device)
        if not bool((batch.weight > 0).any()):
            return {}  # all of them are hidden by now
        draws = Draws(seed, batch.slot.tolist())
        if isinstance(task, PriorTask):
            return {"sampled_cos": _sampled_cos(task, batch.text_emb, batch.image_emb, batch.weight > 0, draws)}
        assert isinstance(task, DecoderTask)
        shape = rows.facts.buckets[batches.where(0).bucket]
        cell = task.latents.cell_px if task.latents is not None else 1
        channels = task.latents.channels if task.latents is not None else 3
        shown = batch.weight > 0
        seeds = batch.slot[shown].tolist()
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


@torch.no_grad()
def _sampled_cos(task: PriorTask, text: torch.Tensor, image: torch.Tensor, shown: torch.Tensor, draws: Draws) -> float:
    """Return the mean cosine of sampled image embeddings with the true ones."""
    import diffusers

    name, config = task.objective.scheduler()
    scheduler = getattr(diffusers, name).from_config(config)
    scheduler.set_timesteps(PRIOR_STEPS)
    at = draws.normal("noise", image.shape[1]).to(image)
    said = torch.ones(len(at), dtype=torch.bool, device=at.device)
    for time in scheduler.timesteps:
        found = task.module(at, time.to(at).expand(len(at)), text, said).float()
        at = scheduler.step(found, time, at).prev_sample
    made = at * task.module.net.clip_std + task.module.net.clip_mean
    return float(torch.nn.functional.cosine_similarity(made, image)[shown].mean())


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

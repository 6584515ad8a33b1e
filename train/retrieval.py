"""How well a CLIP model finds held-out texts by their pictures and pictures by their texts."""

from pathlib import Path
from typing import Final

import torch

from train.clip_task import ClipTask
from train.draws import Draws
from train.loop import Sampler
from train.order import Order, key
from train.run import Run
from train.sources import source
from train.tasks import Task
from train.world import World

ROWS: Final = 1_000
"""Rows that are looked among, at most, about."""
BATCH: Final = 64
RANKS: Final = (1, 10)


def recall_sampler(run: Run, device: torch.device) -> Sampler | None:
    """Return what measures recall on a run's held-out rows; None where none are held out."""
    rows = run.held
    if rows.rows_shown == 0:
        return None
    order = Order(rows.shards, key(run.config.data.seed, "recall"), BATCH, run.config.data.window)
    batches = source(run, rows, order, World(0, 1, device), plain=True)  # the first process measures alone

    @torch.no_grad()
    def measure(task: Task, folder: Path, step: int) -> dict[str, float]:
        assert isinstance(task, ClipTask)
        images, texts, captions = [], [], []
        for at in range(min(order.batches, -(-ROWS // BATCH))):
            batch = batches[at].to(device)
            shown = batch.weight > 0
            image, text, _ = task.features(task.module, batch, Draws(order.seed, batch.slot.tolist()))
            images.append(image[shown])
            texts.append(text[shown])
            captions += [said for said, one in zip(batch.captions, shown.tolist(), strict=True) if one]
        return recalls(torch.cat(images), torch.cat(texts), captions) if captions else {}

    return measure


def recalls(image: torch.Tensor, text: torch.Tensor, captions: list[str]) -> dict[str, float]:
    """Return the shares of pictures f32[N,D] whose own text f32[N,D] is among the nearest 1 and 10, and the other way round.

    A text that reads the same is a hit too. `recall_among` is N: by chance the shares would be about 1/N and 10/N.
    """
    number = {said: at for at, said in enumerate(dict.fromkeys(captions))}
    which = torch.tensor([number[said] for said in captions], device=image.device)
    own = which[:, None] == which[None]
    cos = image @ text.T
    found: dict[str, float] = {"recall_among": len(captions)}
    for name, scores in (("image_to_text", cos), ("text_to_image", cos.T)):
        for rank in RANKS:
            near = scores.topk(min(rank, len(captions)), dim=1).indices
            found[f"{name}_recall_{rank}_frac"] = float(own.gather(1, near).any(1).float().mean())
    return found

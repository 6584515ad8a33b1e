"""Contrastive training of an open_clip model (Radford et al. 2021, 2103.00020): which texts belong to which pictures.

Samples that weigh nothing are not encoded and are no column of the loss: nobody is told apart from them either.
"""

import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from open_clip import ClipLoss
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline.clip_spec import ModelSpec
from train import checkpoint
from train.beginning import MODEL
from train.clip_base import WEIGHTS, Base, must_bear, spec_of
from train.clip_pixels import Look
from train.data import Batch
from train.draws import Draws, seeded
from train.order import key
from train.run import Run
from train.world import World


@dataclass
class ClipTask:
    """An image tower and a text tower."""

    module: nn.Module
    tokenizer: Callable[[list[str]], torch.Tensor]
    look: Look
    world: World
    locked: list[nn.Module]
    """Towers that stay as they are, statistics included."""
    described: Path
    """Folder with the model's configuration and tokenizer."""

    @cached_property
    def loss(self) -> ClipLoss:
        """Return open_clip's loss: each process compares its samples with those of all."""
        return ClipLoss(True, True, rank=self.world.rank, world_size=self.world.size)

    def losses(self, module: nn.Module, batch: Batch, draws: Draws, *, plain: bool = False) -> torch.Tensor:
        """Return f32[B]; 0 of what weighs nothing. All processes must ask at once."""
        image, text, scale = self.features(module, batch, draws)
        return self.contrast(image, text, scale, batch.weight > 0)

    def features(self, module: nn.Module, batch: Batch, draws: Draws) -> tuple[torch.Tensor, ...]:
        """Return unit vectors f32[B,D] of pictures and of texts, and the factor of their cosines; zeros of what weighs nothing."""
        shown = batch.weight > 0
        some = bool(shown.any())
        pixels = batch.pixels[shown] if some else torch.zeros_like(batch.pixels[:1])
        texts = [text for text, one in zip(batch.captions, shown.tolist(), strict=True) if one] if some else [""]
        tokens = self.tokenizer(texts).to(pixels.device)
        training = self.module.training
        for part in [*self.locked, *(self._norms if len(texts) == 1 else ())]:
            part.eval()
        with seeded(key(draws.seed, draws.slots[0], "dropout"), pixels.device) if training else nullcontext():
            image, text, scale = module(self.look.standard(pixels), tokens)[:3]
        self.module.train(training)
        return _placed(image, shown, some), _placed(text, shown, some), scale.float()

    @cached_property
    def _norms(self) -> list[nn.Module]:
        """Return the batch norms; of a single picture they take no statistics."""
        return [one for one in self.module.modules() if isinstance(one, _BatchNorm)]

    def contrast(
        self, image: torch.Tensor, text: torch.Tensor, scale: torch.Tensor, shown: torch.Tensor
    ) -> torch.Tensor:
        """Return each sample's loss f32[B], the mean of picture → text and text → picture (figure 3), among all that are shown."""
        columns = self.world.rows(shown)
        found = torch.zeros(len(image), device=image.device)
        with torch.autocast(image.device.type, enabled=False):
            ways = self.loss.get_logits(image, text, scale)
            truth = self.loss.get_ground_truth(image.device, len(image))[shown]
            hidden = ~columns
            each = [
                nn.functional.cross_entropy(logits[shown].masked_fill(hidden, float("-inf")), truth, reduction="none")
                for logits in ways
            ]
        return found.masked_scatter(shown, (each[0] + each[1]) / 2)

    def save(self, folder: Path) -> None:
        """Write a folder that open_clip loads as `local-dir:`."""
        shutil.copytree(self.described, folder, dirs_exist_ok=True)
        weights = {name: one.detach().contiguous() for name, one in self.module.state_dict().items()}
        save_file(weights, folder / WEIGHTS, {"format": "pt"})

    def load(self, folder: Path) -> None:
        """Give the model the weights of a checkpoint."""
        self.module.load_state_dict(load_file(folder / WEIGHTS))


def clip_task(run: Run, world: World) -> ClipTask:
    """Make what a CLIP run trains, with the weights that it starts from, or those of its newest checkpoint."""
    config, described = run.config, run.folder / MODEL
    at = checkpoint.last(run.folder)
    base = Base(spec_of(config.clip.model if at is None else f"local-dir:{run.folder / checkpoint.name(at) / 'model'}"))
    with seeded(config.data.seed):
        model = base.make()
    must_bear(model, config, world.size)
    if config.run.recompute:
        model.set_grad_checkpointing(True)  # type: ignore[operator]
    locked = locked_towers(model, image=config.clip.lock_image, text=config.clip.lock_text)
    tokenizer = Base(ModelSpec(f"local-dir:{described}")).tokenizer()
    return ClipTask(model.to(world.device), tokenizer, Look.read(described), world, locked, described)


def locked_towers(model: Any, *, image: bool, text: bool) -> list[nn.Module]:
    """Stop whole towers from learning, projections included, as LiT does (Zhai et al. 2022), and return them."""
    of_text = [model.text] if hasattr(model, "text") else [model.transformer, model.token_embedding, model.ln_final]
    locked = [model.visual] if image else []
    locked += of_text if text else []
    loose = (model.positional_embedding, model.text_projection) if text and not hasattr(model, "text") else ()
    for one in (*(each for tower in locked for each in tower.parameters()), *loose):
        if isinstance(one, nn.Parameter):
            one.requires_grad_(False)
    return locked


def _placed(vectors: torch.Tensor, shown: torch.Tensor, some: bool) -> torch.Tensor:
    """Return f32[B,D]: the vectors of those that are shown, in their places, and zeros elsewhere."""
    if not some:
        return (vectors.float() * 0).expand(len(shown), -1)
    places = torch.zeros(len(shown), vectors.shape[1], device=vectors.device)
    return places.masked_scatter(shown[:, None].expand_as(places), vectors.float())

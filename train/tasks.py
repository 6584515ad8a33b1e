"""What the loop trains: a module, its loss on a batch, and how it is kept. One for the decoder, one for the prior."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from train import models
from train.data import Batch
from train.draws import Draws, seeded
from train.exported.sampling import LATENT_BOUND
from train.latents import Latents
from train.models import Decoder, Prior
from train.objective import Ddpm, Flow, Objective, losses
from train.settings import ObjectiveConfig, TrainConfig

PRIOR_OBJECTIVE = Ddpm("sample")
"""Ramesh et al. 2022, section 2.2: the prior predicts the clean embedding, on the cosine schedule."""


class Task(Protocol):
    """What the loop needs to know of a model."""

    @property
    def module(self) -> nn.Module:
        """Return what is trained."""
        ...

    def losses(self, module: nn.Module, batch: Batch, draws: Draws, *, plain: bool = False) -> torch.Tensor:
        """Return f32[B], each sample's loss; `plain`: with its condition as it is, for validation.

        `module` is `self.module`, or what wraps it.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write the module to a folder."""
        ...

    def load(self, folder: Path) -> None:
        """Give the module the weights of a folder that `save` wrote."""
        ...


@dataclass
class DecoderTask:
    """Pictures from embeddings."""

    module: Decoder
    objective: Objective
    config: ObjectiveConfig
    latents: Latents | None = None

    def losses(self, module: nn.Module, batch: Batch, draws: Draws, *, plain: bool = False) -> torch.Tensor:
        """Return f32[B]."""
        device = batch.pixels.device
        clean = self.clean(batch, draws)
        noise = draws.normal("noise", *clean.shape[1:]).to(device, non_blocking=True)
        asked = self.objective.ask(clean, noise, draws.uniform("time"))
        embeddings = {"image": batch.image_emb, "text": batch.text_emb}
        names = module_names(self.module)
        said = torch.ones(len(clean), dtype=torch.bool, device=device)
        if not plain:
            dropped, chance = self.config.drop_frac, draws.uniform("drop").to(device)
            said = chance >= dropped
            embeddings = {name: disturbed(embeddings[name], self.config.condition_noise, draws, name) for name in names}
            if len(names) > 1:  # as many again without the text alone, so that it draws from pictures too
                embeddings["text"] = embeddings["text"] * (chance >= 2 * dropped)[:, None]
        return losses(module(asked.noisy, asked.time, embeddings, said), asked)

    def clean(self, batch: Batch, draws: Draws) -> torch.Tensor:
        """Return the pictures in [-1,1], or their latents."""
        pixels = batch.pixels.float().div_(127.5).sub_(1)  # in place: fresh memory for 64 pictures of 256 px costs more
        if self.latents is None:
            return pixels
        cell = self.latents.cell_px
        shape = (self.latents.channels, pixels.shape[2] // cell, pixels.shape[3] // cell)
        return self.latents.encode(pixels, draws.normal("posterior", *shape).to(pixels.device))

    def save(self, folder: Path) -> None:
        """Write the model's folders and the scheduler that samples from it."""
        models.save(self.module, folder)
        _save_scheduler(self.objective, folder, latent=self.latents is not None)

    def load(self, folder: Path) -> None:
        """Give the model the weights of a checkpoint."""
        self.module.load_state_dict(models.load(folder).state_dict())


@dataclass
class PriorTask:
    """Image embeddings from text embeddings."""

    module: Prior
    config: ObjectiveConfig
    objective: Objective = PRIOR_OBJECTIVE

    def losses(self, module: nn.Module, batch: Batch, draws: Draws, *, plain: bool = False) -> torch.Tensor:
        """Return f32[B]."""
        device = batch.image_emb.device
        clean = self.module.standard(batch.image_emb)
        noise = draws.normal("noise", *clean.shape[1:]).to(device, non_blocking=True)
        asked = self.objective.ask(clean, noise, draws.uniform("time"))
        text, said = batch.text_emb, torch.ones(len(clean), dtype=torch.bool, device=device)
        if not plain:
            said = (draws.uniform("drop") >= self.config.drop_frac).to(device)
            text = disturbed(text, self.config.condition_noise, draws, "text")
        return losses(module(asked.noisy, asked.time, text, said), asked)

    def save(self, folder: Path) -> None:
        """Write the model's folders and the scheduler that samples from it."""
        models.save(self.module, folder)
        _save_scheduler(self.objective, folder)

    def load(self, folder: Path) -> None:
        """Give the model the weights of a checkpoint."""
        self.module.load_state_dict(models.load(folder).state_dict())


def module_names(module: Decoder) -> list[str]:
    """Return the embeddings that a decoder listens to."""
    return list(module.tokens)


def disturbed(embedding: torch.Tensor, length: float, draws: Draws, name: str) -> torch.Tensor:
    """Return unit vectors f32[B,D] moved by noise of about so much length, and unit again; zeros stay zeros."""
    if length == 0:
        return embedding
    noise = draws.normal(f"condition {name}", embedding.shape[1]).to(embedding) * (length / embedding.shape[1] ** 0.5)
    moved: torch.Tensor = nn.functional.normalize(embedding + noise, dim=-1)
    kept: torch.Tensor = moved * (embedding.norm(dim=-1, keepdim=True) > 0)
    return kept


def _save_scheduler(objective: Objective, folder: Path, *, latent: bool = False) -> None:
    name, config = objective.scheduler()
    if latent and config.get("clip_sample"):  # as `tamis sample` bounds them
        config["clip_sample_range"] = LATENT_BOUND
    (folder / "scheduler").mkdir(parents=True, exist_ok=True)
    body: dict[str, Any] = {"_class_name": name, **config}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(body, indent=2, sort_keys=True))


def objective_of(config: ObjectiveConfig) -> Objective:
    """Return the decoder's objective that a configuration asks for."""
    if config.predict == "flow":
        return Flow(config.logit_mean, config.logit_std)
    return Ddpm(config.predict, config.min_snr)


def decoder_task(config: TrainConfig, embedding_dim: int, device: torch.device) -> DecoderTask:
    """Make a decoder with random weights that belong to the seed."""
    latents = Latents.open(config.decoder.vae, device) if config.decoder.vae is not None else None
    channels = latents.channels if latents is not None else models.PIXEL_CHANNELS
    cells = config.data.resolution_px // (latents.cell_px if latents is not None else 1)
    with seeded(config.data.seed):
        module = models.decoder(config.decoder, embedding_dim, channels, cells)
    if config.run.recompute:
        module.net.enable_gradient_checkpointing()  # type: ignore[operator]
    return DecoderTask(module.to(device), objective_of(config.objective), config.objective, latents)


def prior_task(config: TrainConfig, embedding_dim: int, device: torch.device) -> PriorTask:
    """Make a prior with random weights that belong to the seed."""
    with seeded(config.data.seed):
        module = models.prior(config.prior, embedding_dim)
    return PriorTask(module.to(device), config.objective)

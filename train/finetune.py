"""Fine-tuning the U-Net of a Stable-Diffusion-style pipeline folder: its VAE, text encoder and noise schedule stay as they are."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipeline.errors import InputError
from train.data import Batch
from train.draws import Draws
from train.latents import Latents
from train.objective import TIMES, Ddpm, losses
from train.settings import TrainConfig

_PREDICTS: dict[str, Any] = {"epsilon": "eps", "v_prediction": "v"}
_SCHEDULE = ("beta_schedule", "beta_start", "beta_end", "trained_betas", "rescale_betas_zero_snr")


class Captioned(nn.Module):
    """A U-Net: noisy latents f32[B,C,h,w] at times f32[B], and the texts' hidden states f32[B,L,E] → prediction."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, noisy: torch.Tensor, time: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        """Return the prediction."""
        found: torch.Tensor = self.net(noisy, time, encoder_hidden_states=states, return_dict=False)[0]
        return found


@dataclass
class FinetuneTask:
    """Pictures from captions, by a pipeline that exists."""

    module: Captioned
    latents: Latents
    tokenizer: Any
    text_encoder: Any
    objective: Ddpm
    drop_frac: float
    base: Path

    def losses(self, module: nn.Module, batch: Batch, draws: Draws, *, plain: bool = False) -> torch.Tensor:
        """Return f32[B]. A sample without condition gets the empty text, as guidance uses it."""
        device = batch.pixels.device
        pixels = batch.pixels.float().div_(127.5).sub_(1)
        cell = self.latents.cell_px
        shape = (self.latents.channels, pixels.shape[2] // cell, pixels.shape[3] // cell)
        clean = self.latents.encode(pixels, draws.normal("posterior", *shape).to(device))
        asked = self.objective.ask(clean, draws.normal("noise", *shape).to(device), draws.uniform("time"))
        said = [True] * len(clean) if plain else (draws.uniform("drop") >= self.drop_frac).tolist()
        texts = [text if one else "" for text, one in zip(batch.captions, said, strict=True)]
        return losses(module(asked.noisy, asked.time, self.states(texts, device)), asked)

    @torch.no_grad()
    def states(self, texts: list[str], device: torch.device) -> torch.Tensor:
        """Return the text encoder's last hidden states f32[B,L,E]."""
        length = self.tokenizer.model_max_length
        found = self.tokenizer(texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
        states: torch.Tensor = self.text_encoder(found.input_ids.to(device))[0]
        return states

    def save(self, folder: Path) -> None:
        """Write the U-Net and the scheduler: `from_pretrained(base, unet=…)` of the pipeline takes it."""
        self.module.net.save_pretrained(folder / "unet", safe_serialization=True)
        shutil.copytree(self.base / "scheduler", folder / "scheduler", dirs_exist_ok=True)

    def load(self, folder: Path) -> None:
        """Give the U-Net the weights of a checkpoint."""
        from diffusers import UNet2DConditionModel

        held = UNet2DConditionModel.from_pretrained(folder / "unet", use_safetensors=True)
        self.module.net.load_state_dict(held.state_dict())


def finetune_task(base: Path, config: TrainConfig, device: torch.device) -> FinetuneTask:
    """Load what a pipeline folder holds; InputError says which part is not as this can train it."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    parts = parts_of(base)
    wanted = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL", "text_encoder": "CLIPTextModel"}
    for name, kind in wanted.items():
        if parts.get(name, [None, None])[1] != kind:
            raise InputError(
                f"{base}: its {name} is {parts.get(name, [None, 'absent'])[1]}; only a {kind} can be fine-tuned"
            )
    net = UNet2DConditionModel.from_pretrained(base / "unet", use_safetensors=True).to(device)
    if config.run.recompute:
        net.enable_gradient_checkpointing()
    encoder = CLIPTextModel.from_pretrained(base / "text_encoder").to(device).eval().requires_grad_(False)
    tokenizer = CLIPTokenizer.from_pretrained(base / "tokenizer")
    latents = Latents.open(base / "vae", device)
    return FinetuneTask(
        Captioned(net), latents, tokenizer, encoder, _objective(base, config), config.objective.drop_frac, base
    )


def parts_of(base: Path) -> dict[str, list[Any]]:
    """Return the parts of a pipeline's folder: name → library and class; InputError where it is none."""
    try:
        found = json.loads((base / "model_index.json").read_bytes())
        return {name: said for name, said in found.items() if isinstance(said, list) and name.isidentifier()}
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise InputError(f"{base}: no diffusers pipeline here (model_index.json is missing or damaged)") from error


def _objective(base: Path, config: TrainConfig) -> Ddpm:
    """Return the objective that the pipeline was made with, as its scheduler tells it."""
    said = json.loads((base / "scheduler" / "scheduler_config.json").read_text())
    predicts = said.get("prediction_type", "epsilon")
    if predicts not in _PREDICTS or said.get("num_train_timesteps", TIMES) != TIMES:
        raise InputError(
            f"{base}: its scheduler predicts {predicts!r} over {said.get('num_train_timesteps')} times; what can be "
            f"fine-tuned predicts {' or '.join(_PREDICTS)} over {TIMES}"
        )
    schedule = {name: said[name] for name in _SCHEDULE if said.get(name) is not None}
    return Ddpm(_PREDICTS[predicts], config.objective.min_snr, schedule)

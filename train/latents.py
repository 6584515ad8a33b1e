"""Pictures in the latents of a diffusers AutoencoderKL that is given by its folder."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import InputError


def _config(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / "config.json").read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise InputError(f"{folder}: no diffusers model here (config.json is missing or damaged)") from error
    return found


def scale(folder: Path) -> int:
    """Return how many cells of its input a diffusers model of several levels makes one of at its lowest level."""
    return int(2 ** (len(_config(folder).get("block_out_channels", [0])) - 1))


def channels(folder: Path) -> int:
    """Return the channels of an AutoencoderKL's latents; InputError when the folder holds none."""
    config = _config(folder)
    if config.get("_class_name") != "AutoencoderKL":
        raise InputError(f"{folder}: not an AutoencoderKL; --vae names the `vae` folder of a diffusers pipeline")
    return int(config.get("latent_channels", 4))


@dataclass(frozen=True)
class Latents:
    """Pixels f32[B,3,H,W] in [-1,1] ↔ latents f32[B,C,H/s,W/s] of about unit variance."""

    vae: Any

    @classmethod
    def open(cls, folder: str | Path, device: torch.device) -> "Latents":
        """Load an AutoencoderKL; InputError when the folder holds none."""
        from diffusers import AutoencoderKL

        channels(Path(folder))
        return cls(AutoencoderKL.from_pretrained(folder, local_files_only=True).to(device).eval().requires_grad_(False))

    @property
    def channels(self) -> int:
        """Return the channels of a latent."""
        return int(self.vae.config.latent_channels)

    @property
    def cell_px(self) -> int:
        """Return the pixels of a side that one cell stands for."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    @torch.no_grad()
    def encode(self, pixels: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Return latents drawn from the posterior with the noise f32[B,C,h,w] given."""
        posterior = self.vae.encode(pixels).latent_dist
        drawn: torch.Tensor = posterior.mean + posterior.std * noise
        shift = self.vae.config.shift_factor or 0.0
        scaled: torch.Tensor = (drawn - shift) * self.vae.config.scaling_factor
        return scaled

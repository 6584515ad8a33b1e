"""What a run will cost, from the floating-point operations of its model as counted, not from its size; and whether it fits here."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch.utils.flop_counter import FlopCounterMode

from pipeline.errors import ConfigError, first_line
from train import latents, models
from train.presets import Kind
from train.settings import TrainConfig
from train.world import device_of

PEAK_FLOPS: Final = 312e12
"""Dense bfloat16 of an NVIDIA A100 (its data sheet)."""
UTILISATION_FRAC: Final = 0.35
"""Share of the peak that a plain training loop reaches with models of this size; assumed, not measured here."""
EMBEDDING_DIM: Final = 768
LATENT_CHANNELS: Final = 4
LATENT_CELL_PX: Final = 8
_PARAMETER_BYTES: Final = 20
"""In single precision: a weight, its gradient, the optimiser's two moments and the average."""
_MOST_PATCHES: Final = 2**16
"""Of a picture; attention looks at every pair of them."""


@dataclass(frozen=True)
class Cost:
    """Of a whole run. Encoding by a VAE and decoding of pictures are left out."""

    parameters: int
    side_px: int | None
    """Of the pictures, where there are some."""
    flops_per_image: float
    """Forward and backward."""
    images: int
    gpu_hours: float


def cost(kind: Kind, config: TrainConfig, *, in_latents: bool = False, embedding_dim: int = EMBEDDING_DIM) -> Cost:
    """Count a forward pass on no device at all; the backward pass is two more (Kaplan et al. 2020, section 2.1)."""
    side_px = config.data.resolution_px if kind == "decoder" else None
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counted:
        if kind == "prior":
            parameters = _prior(config, embedding_dim)
        elif kind == "clip":
            parameters, side_px = _clip(config)
        else:
            parameters = _decoder(config, in_latents, embedding_dim)
    each = 3.0 * counted.get_total_flops()
    images = config.optim.steps * config.optim.batch
    return Cost(parameters, side_px, each, images, each * images / (PEAK_FLOPS * UTILISATION_FRAC) / 3600)


def _prior(config: TrainConfig, embedding_dim: int) -> int:
    prior = models.prior(config.prior, embedding_dim)
    vectors = torch.empty(1, embedding_dim)
    prior(vectors, torch.empty(1), vectors, torch.ones(1, dtype=torch.bool))
    return sum(one.numel() for one in prior.parameters())


def _decoder(config: TrainConfig, in_latents: bool, embedding_dim: int) -> int:
    cells = config.data.resolution_px // (LATENT_CELL_PX if in_latents else 1)
    channels = LATENT_CHANNELS if in_latents else models.PIXEL_CHANNELS
    decoder = models.decoder(config.decoder, embedding_dim, channels, cells)
    embeddings = {name: torch.empty(1, embedding_dim) for name in ("image", "text")}
    noisy = torch.empty(1, channels, cells, cells)
    decoder(noisy, torch.empty(1), embeddings, torch.ones(1, dtype=torch.bool))
    return sum(one.numel() for one in decoder.parameters())


def _clip(config: TrainConfig) -> tuple[int, int]:
    """Look at both towers, a picture and a text; the comparison of a batch is left out."""
    from train.clip_base import Base, preprocessing, spec_of
    from train.clip_pixels import Look

    base = Base(spec_of(config.clip.model))
    model = base.make(weights=False, device="meta")
    side_px = Look.of(preprocessing(model)).fit.size_px
    model(torch.empty(1, 3, side_px, side_px), base.tokenizer()([""]).to("meta"))
    return sum(one.numel() for one in model.parameters()), side_px


def must_fit(kind: str, config: TrainConfig) -> None:
    """Make the model on no device at all; ConfigError where it cannot be made, or this machine could not hold it."""
    try:
        with torch.device("meta"):
            module = models.prior(config.prior, EMBEDDING_DIM) if kind == "prior" else _made(config)
    except (ValueError, TypeError, RuntimeError) as error:  # diffusers and torch explain what does not go together
        raise ConfigError(f"[{kind}]: no model can be made with these settings: {first_line(error)}") from error
    count, device = sum(one.numel() for one in module.parameters()), device_of(config.run.device)
    need, have = count * _PARAMETER_BYTES, _memory(device)
    if need > have:
        raise ConfigError(
            f"[{kind}]: a model of {count / 1e6:,.0f} million weights needs {need / 1e9:,.0f} GB to be trained, before any "
            f"picture; {device} has {have / 1e9:,.0f} GB. Take fewer layers, or narrower ones"
        )


def _made(config: TrainConfig) -> models.Decoder:
    model, side = config.decoder, config.data.resolution_px
    vae = Path(model.vae) if model.vae is not None else None
    cells = side // (latents.scale(vae) if vae is not None else 1)
    if model.architecture == "transformer" and (cells // model.patch_px) ** 2 > _MOST_PATCHES:
        raise ConfigError(
            f"data.resolution_px: {side} px in patches of {model.patch_px} are {(cells // model.patch_px) ** 2:,} patches, more than "
            f"{_MOST_PATCHES:,}; take larger patches (decoder.patch_px), smaller pictures, or latents (--vae)"
        )
    return models.decoder(
        model, EMBEDDING_DIM, latents.channels(vae) if vae is not None else models.PIXEL_CHANNELS, cells
    )


_CONTAINER: Final = Path("/sys/fs/cgroup/memory.max")
"""What a container may take, in bytes (cgroup v2)."""


def _memory(device: torch.device) -> int:
    """Return the bytes of memory of a device."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(there, int(_CONTAINER.read_text()))
    except (OSError, ValueError):  # no container, or one without a bound: "max"
        return there

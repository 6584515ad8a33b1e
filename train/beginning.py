"""What a run of each kind starts from: the shapes of its pictures, the weights it inherits, and what its folder must hold."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import torch

from pipeline.clip_spec import file_sha256
from pipeline.errors import ConfigError, InputError, first_line
from pipeline.ids import stable_hash
from train import latents, models
from train.buckets import Bucket, buckets
from train.cost import EMBEDDING_DIM
from train.settings import TrainConfig
from train.world import device_of

MODEL: Final = "open_clip"
"""Folder of a CLIP run with its model's configuration and tokenizer: a `local-dir:` folder but for the weights."""
_PARAMETER_BYTES: Final = 20
"""In single precision: a weight, its gradient, the optimiser's two moments and the average."""
_MOST_PATCHES: Final = 2**16
"""Of a picture; attention looks at every pair of them."""


def _nothing(folder: Path) -> None:
    """Leave a run's folder as it is."""


@dataclass(frozen=True)
class Beginning:
    """Of a run that is about to be made."""

    shapes: tuple[Bucket, ...]
    base: str | None = None
    parents: list[str] = field(default_factory=list)
    """The weights it starts from, with their digests; what their makers showed them is unknown."""
    describe: Callable[[Path], None] = _nothing
    """Writes what the run's folder holds of the model."""


def beginning(kind: str, config: TrainConfig, base: str | None) -> Beginning:
    """Look at what a run starts from; ConfigError or InputError when it cannot be trained."""
    if kind == "clip":
        return _clip(config)
    multiple, side = _multiple(kind, config, base), config.data.resolution_px
    if side % multiple:
        raise ConfigError(
            f"data.resolution_px: {side} is no multiple of {multiple}, the pixels that one patch or cell covers"
        )
    if kind in ("decoder", "prior"):
        _must_fit(kind, config)
    parents = [f"{base} ({_weights(Path(base))})"] if base is not None else []
    return Beginning(buckets(side, multiple_px=multiple, max_aspect=config.data.max_aspect), base, parents)


def _must_fit(kind: str, config: TrainConfig) -> None:
    """Make the model on no device at all; ConfigError where it cannot be made, or this machine could not hold it."""
    try:
        with torch.device("meta"):
            module = models.prior(config.prior, EMBEDDING_DIM) if kind == "prior" else _decoder(config)
    except (ValueError, TypeError, RuntimeError) as error:  # diffusers and torch explain what does not go together
        raise ConfigError(f"[{kind}]: no model can be made with these settings: {first_line(error)}") from error
    count, device = sum(one.numel() for one in module.parameters()), device_of(config.run.device)
    need, have = count * _PARAMETER_BYTES, _memory(device)
    if need > have:
        raise ConfigError(
            f"[{kind}]: a model of {count / 1e6:,.0f} million weights needs {need / 1e9:,.0f} GB to be trained, before any "
            f"picture; {device} has {have / 1e9:,.0f} GB. Take fewer layers, or narrower ones"
        )


def _decoder(config: TrainConfig) -> models.Decoder:
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


def _memory(device: torch.device) -> int:
    """Return the bytes of memory of a device."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _clip(config: TrainConfig) -> Beginning:
    from train import clip_base
    from train.clip_pixels import Look

    said = config.clip.model
    base = clip_base.Base(clip_base.spec_of(said))
    preprocess = clip_base.preprocessing(base.make(weights=False, device="meta"))
    px = Look.of(preprocess).fit.size_px
    digest = base.weights_sha256()
    return Beginning(
        (Bucket(px, px),), said, [f"{said} (weights {digest})"] if digest is not None else [],
        lambda folder: base.describe(folder / MODEL, preprocess),
    )  # fmt: skip


def _weights(base: Path) -> str:
    """Return the digest of the U-Net that is fine-tuned."""
    files = sorted((base / "unet").glob("*.safetensors"))
    if not files:
        raise InputError(f"{base}: no diffusers pipeline with a U-Net in safetensors here; `--from` names its folder")
    return "unet " + stable_hash([file_sha256(path) for path in files])


def _multiple(kind: str, config: TrainConfig, base: str | None) -> int:
    """Return what the sides of a bucket must be multiples of: whole patches, and whole cells at every level."""
    model = config.decoder
    unet = 2 ** (len(model.channels) - 1)
    if kind == "prior":
        return 1
    if kind == "finetune":
        assert base is not None
        return latents.scale(Path(base) / "vae") * latents.scale(Path(base) / "unet")
    inner = model.patch_px if model.architecture == "transformer" else unet
    return inner * (latents.scale(Path(model.vae)) if model.vae is not None else 1)

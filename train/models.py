"""The two models of unCLIP (Ramesh et al. 2022, 2204.06125): a decoder, embedding → picture, and a prior, text → image embedding.

Each is a diffusers module with the tokens it attends to, kept as folders that stock diffusers classes load.
"""

import math
from pathlib import Path
from typing import Any

import torch
from diffusers import PixArtTransformer2DModel, PriorTransformer, UNet2DConditionModel
from torch import nn

from pipeline.errors import InputError
from train.exported.tokens import EmbeddingTokens
from train.settings import DecoderConfig, PriorConfig

PIXEL_CHANNELS = 3


class Decoder(nn.Module):
    """Noisy pictures or latents f32[B,C,H,W] at times f32[B] in [0,1000), and embeddings → prediction f32[B,C,H,W]."""

    def __init__(self, net: nn.Module, tokens: nn.ModuleDict) -> None:
        super().__init__()
        self.net = net
        self.tokens = tokens

    def condition(self, embeddings: dict[str, torch.Tensor], said: torch.Tensor | None = None) -> torch.Tensor:
        """Return the tokens f32[B,K,C] of the embeddings ("image", "text") that this model listens to."""
        return torch.cat([make(embeddings[name], said) for name, make in self.tokens.items()], dim=1)

    def forward(
        self, noisy: torch.Tensor, time: torch.Tensor, embeddings: dict[str, torch.Tensor], said: torch.Tensor
    ) -> torch.Tensor:
        """Return the prediction; where bool[B] `said` is false, without condition."""
        found: torch.Tensor = self.net(
            noisy, timestep=time, encoder_hidden_states=self.condition(embeddings, said), return_dict=False
        )[0]
        return found


class Prior(nn.Module):
    """Noisy standardised image embeddings f32[B,D] at times f32[B], and text embeddings → clean ones f32[B,D]."""

    def __init__(self, net: PriorTransformer, text: EmbeddingTokens) -> None:
        super().__init__()
        self.net = net
        self.text = text

    def standard(self, image: torch.Tensor) -> torch.Tensor:
        """Return standardised image embeddings; diffusers keeps the scales in the model as `clip_mean` and `clip_std`."""
        scaled: torch.Tensor = (image - self.net.clip_mean) / self.net.clip_std
        return scaled

    def forward(self, noisy: torch.Tensor, time: torch.Tensor, text: torch.Tensor, said: torch.Tensor) -> torch.Tensor:
        """Return the prediction of the clean embedding (section 2.2), without text where bool[B] `said` is false."""
        tokens = self.text(text, said)
        found: torch.Tensor = self.net(
            noisy, timestep=time, proj_embedding=tokens[:, 0], encoder_hidden_states=tokens[:, 1:], return_dict=False
        )[0]
        return found


def decoder(config: DecoderConfig, embedding_dim: int, channels: int, cells: int) -> Decoder:
    """Make a decoder of so many channels and cells a side (pixels or latents), with random weights."""
    width = config.heads * config.head_width if config.architecture == "transformer" else config.channels[-1]
    names = ("image", "text") if config.condition == "both" else (config.condition,)
    tokens = nn.ModuleDict({name: EmbeddingTokens(embedding_dim, config.tokens, width) for name in names})
    if config.architecture == "unet":
        return Decoder(_unet(config, channels, cells, width), tokens)
    net = PixArtTransformer2DModel(
        num_attention_heads=config.heads, attention_head_dim=config.head_width, num_layers=config.layers,
        in_channels=channels, out_channels=channels, patch_size=config.patch_px, sample_size=cells,
        cross_attention_dim=width, caption_channels=None, use_additional_conditions=False,
        interpolation_scale=1,
    )  # fmt: skip
    nn.init.zeros_(net.proj_out.weight)  # the first prediction is zero, whatever the condition (Peebles & Xie 2023)
    nn.init.zeros_(net.proj_out.bias)
    return Decoder(net, tokens)


def _unet(config: DecoderConfig, channels: int, cells: int, width: int) -> UNet2DConditionModel:
    levels = len(config.channels)
    attends = [False, *[True] * (levels - 1)] if levels > 1 else [True]
    return UNet2DConditionModel(
        sample_size=cells, in_channels=channels, out_channels=channels, layers_per_block=config.layers,
        block_out_channels=tuple(config.channels), norm_num_groups=math.gcd(32, *config.channels),
        down_block_types=tuple("CrossAttnDownBlock2D" if one else "DownBlock2D" for one in attends),
        up_block_types=tuple("CrossAttnUpBlock2D" if one else "UpBlock2D" for one in reversed(attends)),
        cross_attention_dim=width, attention_head_dim=tuple(max(1, one // config.head_width) for one in config.channels),
    )  # fmt: skip


def prior(config: PriorConfig, embedding_dim: int) -> Prior:
    """Make a prior with random weights."""
    width = config.heads * config.head_width
    text = EmbeddingTokens(embedding_dim, config.tokens, embedding_dim)
    net = PriorTransformer(
        num_attention_heads=config.heads, attention_head_dim=config.head_width, num_layers=config.layers,
        embedding_dim=embedding_dim, num_embeddings=config.tokens - 1, additional_embeddings=4, time_embed_dim=width,
    )  # fmt: skip
    net.clip_mean.requires_grad_(False)
    net.clip_std.requires_grad_(False)
    net.clip_std.fill_(1.0)
    return Prior(net, text)


def standardise(model: Decoder | Prior, image: torch.Tensor, text: torch.Tensor) -> None:
    """Give a new model the mean and deviation of the training rows' embeddings, f32[N,D] each."""
    scales = {name: (one.mean(0), one.std(0).clamp(min=1e-4)) for name, one in (("image", image), ("text", text))}
    if isinstance(model, Prior):
        model.net.clip_mean.copy_(scales["image"][0][None])
        model.net.clip_std.copy_(scales["image"][1][None])
    takers: Any = model.tokens.items() if isinstance(model, Decoder) else [("text", model.text)]
    for name, tokens in takers:
        tokens.mean.copy_(scales[name][0])
        tokens.deviation.copy_(scales[name][1])


def save(model: Decoder | Prior, folder: Path) -> None:
    """Write a model as diffusers folders: `transformer`, `unet` or `prior`, and `image_tokens`, `text_tokens`."""
    for name, part in _parts(model):
        part.save_pretrained(folder / name, safe_serialization=True)


def _parts(model: Decoder | Prior) -> list[tuple[str, Any]]:
    if isinstance(model, Prior):
        return [("prior", model.net), ("text_tokens", model.text)]
    name = "unet" if isinstance(model.net, UNet2DConditionModel) else "transformer"
    return [(name, model.net), *((f"{kind}_tokens", one) for kind, one in model.tokens.items())]


def load(folder: Path) -> Decoder | Prior:
    """Read what `save` wrote, in evaluation mode; InputError when there is no model."""
    kinds: dict[str, Any] = {
        "transformer": PixArtTransformer2DModel, "unet": UNet2DConditionModel, "prior": PriorTransformer,
    }  # fmt: skip
    name = next((one for one in kinds if (folder / one / "config.json").is_file()), None)
    if name is None:
        raise InputError(f"{folder}: no model here (none of {', '.join(kinds)}); name a checkpoint of `tamis train`")
    net = kinds[name].from_pretrained(folder / name, use_safetensors=True)
    tokens = {
        one: EmbeddingTokens.from_pretrained(folder / f"{one}_tokens", use_safetensors=True)
        for one in ("image", "text")
        if (folder / f"{one}_tokens").is_dir()
    }
    if name == "prior":
        net.clip_mean.requires_grad_(False)
        net.clip_std.requires_grad_(False)
        return Prior(net, tokens["text"]).eval()
    return Decoder(net, nn.ModuleDict(tokens)).eval()

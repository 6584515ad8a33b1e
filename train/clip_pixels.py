"""A CLIP model's pictures: shaped as its preprocessing says, cut at random while it learns, and standardised."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.clip_fit import Fit
from pipeline.errors import InputError
from train.buckets import Bucket
from train.data import Shaped, chances

TRIES = 10
ASPECTS = (3 / 4, 4 / 3)
"""Both as torchvision's RandomResizedCrop, which open_clip trains with."""


@dataclass(frozen=True)
class Look:
    """What stands in a model folder about its pictures."""

    fit: Fit
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, config: dict[str, Any]) -> "Look":
        """Return what a preprocessing configuration of open_clip says."""
        return cls(Fit.of(config), tuple(config["mean"]), tuple(config["std"]))

    @classmethod
    def read(cls, folder: Path) -> "Look":
        """Read it from a model folder; InputError when there is none."""
        path = folder / "open_clip_config.json"
        try:
            return cls.of(json.loads(path.read_text())["preprocess_cfg"])
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{path}: not an open_clip configuration with its preprocessing ({error})") from error

    def plain(self, picture: NDArray[np.uint8], shape: Bucket, seed: int, slot: int) -> NDArray[np.uint8]:
        """Return u8[S,S,3] as the model will see pictures once it is trained."""
        return self.fit.prepare(picture)

    def shaped(self, least_frac: float | None) -> Shaped:
        """Return how pictures are shaped: cut at random down to a share of their area, or plainly where None."""
        return self.plain if least_frac is None else Cropped(self.fit, least_frac)

    def standard(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return f32[B,3,S,S] of u8[B,3,S,S]."""
        mean, std = (torch.tensor(one, device=pixels.device).view(1, 3, 1, 1) * 255 for one in (self.mean, self.std))
        found: torch.Tensor = (pixels.float() - mean) / std
        return found


@dataclass(frozen=True)
class Cropped:
    """A part of the picture of at least so much of its area and about its aspect, scaled to the model's square.

    A model whose preprocessing pads sees the padded square cut, so that its pictures keep their proportions.
    """

    fit: Fit
    least_frac: float

    def __call__(self, picture: NDArray[np.uint8], shape: Bucket, seed: int, slot: int) -> NDArray[np.uint8]:
        """Return u8[S,S,3]."""
        if self.fit.resize_mode == "longest":
            picture = _padded(picture)
        height, width = picture.shape[:2]
        top, left, cut_height, cut_width = box(height, width, self.least_frac, seed, slot)
        piece = np.ascontiguousarray(picture[top : top + cut_height, left : left + cut_width])
        return self.fit.resized(piece, shape.height_px, shape.width_px)


def box(height_px: int, width_px: int, least_frac: float, seed: int, slot: int) -> tuple[int, int, int, int]:
    """Return (top, left, height, width) of a part, drawn as torchvision's RandomResizedCrop draws it."""
    for attempt in range(TRIES):
        area, turn, down, across = chances(seed, slot, f"crop {attempt}", 4)
        pixels = height_px * width_px * (least_frac + area * (1 - least_frac))
        aspect = math.exp(math.log(ASPECTS[0]) + turn * math.log(ASPECTS[1] / ASPECTS[0]))
        cut_width, cut_height = round(math.sqrt(pixels * aspect)), round(math.sqrt(pixels / aspect))
        if 0 < cut_width <= width_px and 0 < cut_height <= height_px:
            top, left = int(down * (height_px - cut_height + 1)), int(across * (width_px - cut_width + 1))
            return top, left, cut_height, cut_width
    cut_height = min(height_px, round(width_px / ASPECTS[0]))
    cut_width = min(width_px, round(height_px * ASPECTS[1]))
    return (height_px - cut_height) // 2, (width_px - cut_width) // 2, cut_height, cut_width


def _padded(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = picture.shape[:2]
    side = max(height, width)
    square = np.full((side, side, 3), 255, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = picture
    return square

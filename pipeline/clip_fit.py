"""How a picture is brought to a CLIP model's size: resized, then padded or cut, as the model's preprocessing says."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
_STRIP: Final = 16
"""Times longer than wide from which on only the middle of a picture is looked at; models see a square of it."""


@dataclass(frozen=True)
class Fit:
    """Of open_clip's preprocessing what concerns the shape."""

    size_px: int
    resize_mode: str = "shortest"
    """`longest` pads with white, `shortest` cuts the middle, `squash` distorts."""
    interpolation: str = "bicubic"

    @classmethod
    def of(cls, config: dict[str, Any]) -> "Fit":
        """Return what a preprocessing configuration of open_clip says."""
        size = config.get("size", 224)
        side = size[0] if isinstance(size, tuple | list) else size
        return cls(int(side), str(config.get("resize_mode", "shortest")), str(config.get("interpolation", "bicubic")))

    def prepare(self, rgb: U8) -> U8:
        """Return a picture u8[H,W,3] as the model's preprocessing makes it, u8[S,S,3]."""
        if self.resize_mode == "shortest":
            rgb = _middle(rgb)
        height, width = rgb.shape[:2]
        side, s = max(height, width) if self.resize_mode == "longest" else min(height, width), self.size_px
        new_h, new_w = (
            (s, s) if self.resize_mode == "squash" else (max(1, round(v * s / side)) for v in (height, width))
        )
        rgb = self.resized(rgb, new_h, new_w)
        canvas = np.full((s, s, 3), 255, np.uint8)
        left, top = (s - new_w) // 2, (s - new_h) // 2
        source = rgb[max(0, -top) : max(0, -top) + s, max(0, -left) : max(0, -left) + s]
        canvas[max(0, top) : max(0, top) + source.shape[0], max(0, left) : max(0, left) + source.shape[1]] = source
        return canvas

    def resized(self, rgb: U8, height_px: int, width_px: int) -> U8:
        """Return a picture in another size.

        By torch's antialiased kernel on bytes, which gives Pillow's pixels within 2 levels in a third of the time.
        """
        if rgb.shape[:2] == (height_px, width_px):
            return rgb
        writable = rgb if rgb.flags.writeable else rgb.copy()  # torch warns of memory it may not write
        planes = torch.from_numpy(writable).permute(2, 0, 1)[None]
        mode = self.interpolation if self.interpolation in ("bicubic", "bilinear") else "bicubic"
        planes = torch.nn.functional.interpolate(planes, size=(height_px, width_px), mode=mode, antialias=True)
        found: U8 = planes[0].permute(1, 2, 0).numpy()
        return found


def _middle(rgb: U8) -> U8:
    """Return the middle of a strip: enlarged as a whole, a line of a million pixels would fill the memory, and most is cut off."""
    most = _STRIP * min(rgb.shape[:2])
    top, left = (max(0, side - most) // 2 for side in rgb.shape[:2])
    return rgb[top : rgb.shape[0] - top, left : rgb.shape[1] - left]

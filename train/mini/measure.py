"""How good a small CLIP is on pictures that it never saw: recall, and how well a threshold parts matched from shuffled pairs."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from train.retrieval import recalls


def figures(image: NDArray[np.float32], text: NDArray[np.float32], captions: Sequence[str]) -> dict[str, float]:
    """Return recalls, mean cosines of matched and of shuffled pairs, their AUC, and what a threshold keeps.

    `image`, `text` f32[N,D] are unit vectors; shuffled pairs are all of different captions.
    """
    found = recalls(torch.from_numpy(image), torch.from_numpy(text), list(captions))
    cos = image @ text.T
    own = np.array(captions)
    matched, shuffled = np.diagonal(cos), np.sort(cos[own[:, None] != own[None]])
    if not len(shuffled):
        return found
    under = np.searchsorted(shuffled, matched)
    bar = float(np.quantile(shuffled, 0.8))
    return found | {
        "matched_cos": float(matched.mean()), "shuffled_cos": float(shuffled.mean()),
        "auc_frac": float(under.mean() / len(shuffled)), "bar_cos": bar,
        "kept_at_bar_frac": float((matched >= bar).mean()),
    }  # fmt: skip

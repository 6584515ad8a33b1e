"""The heads that bring the two towers together: symmetric InfoNCE on stored features, a part of each batch made of classes.

Clip art shows little of what photographs show. So features are moved along the weights of an ImageNet class until the
classifier sees it, and captioned with its name: pictures of things that no drawing in the set shows.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

BATCH: Final = 1_024
STEPS: Final = 900
CLASSES_FRAC: Final = 0.2
SEEN_PROB: Final = 0.6
LR: Final = 1e-3
DROP_PROB: Final = 0.3


@dataclass(frozen=True)
class Pairs:
    """What is learnt from."""

    features: NDArray[np.float16]
    """f16[N,V,1280]: of each picture so many views."""
    captions: list[list[int]]
    """Of each picture the numbers of its captions."""
    texts: torch.Tensor
    """f32[C,256]: the text tower's vectors of all captions, before they are normalised."""
    classes: torch.Tensor
    """f32[1000,256]: alike, of the class names."""
    classifier: nn.Linear


class Heads(nn.Module):
    """A head for pictures (1280 → 512 → 256) and a turn of the texts' vectors."""

    def __init__(self, image: nn.Module, width: int = 256) -> None:
        super().__init__()
        self.image = image
        self.turn = nn.Parameter(torch.eye(width))
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, features: torch.Tensor, texts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return unit vectors of features f32[B,1280] and of texts f32[B,256]."""
        image = nn.functional.normalize(self.image(features), dim=-1)
        return image, nn.functional.normalize(texts @ self.turn, dim=-1)


def moved(
    features: torch.Tensor, classes: torch.Tensor, classifier: nn.Linear, prob: float = SEEN_PROB
) -> torch.Tensor:
    """Return features f32[B,1280] moved along a class's weights i64[B] just so far that the class's probability is `prob`."""
    along = nn.functional.normalize(classifier.weight[classes], dim=-1)
    logits, slope = classifier(features), along @ classifier.weight.T  # what moving by one adds to every logit
    high = torch.ones(len(features))

    def seen(length: torch.Tensor) -> torch.Tensor:
        probs: torch.Tensor = (logits + length[:, None] * slope).softmax(-1).gather(1, classes[:, None])[:, 0]
        return probs >= prob

    while not bool(seen(high).all()) and float(high.max()) < 1e4:
        high = torch.where(seen(high), high, 2 * high)
    low = torch.zeros_like(high)
    for _ in range(10):
        middle = (low + high) / 2
        enough = seen(middle)
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    return features + high[:, None] * along


def learn(heads: Heads, pairs: Pairs, steps: int, say: Callable[[str], None]) -> None:
    """Train the heads; a minute or two, so a run that was stopped begins this anew."""
    optimizer: Any = torch.optim.AdamW(heads.parameters(), lr=LR, betas=(0.9, 0.98), weight_decay=0.05)
    for step in range(steps):
        chance = np.random.default_rng([11, step])
        features, texts, names = batch(pairs, chance, min(BATCH, 2 * len(pairs.features)))
        for group in optimizer.param_groups:
            group["lr"] = LR * min(1.0, (step + 1) / 30) * 0.5 * (1 + math.cos(math.pi * step / steps))
        image, text = heads(features, texts)
        loss = contrast(image, text, heads.logit_scale.exp(), names)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        heads.logit_scale.data.clamp_(0, math.log(100))
        if (step + 1) % 100 == 0 or step + 1 == steps:
            say(f"heads: step {step + 1:,}/{steps:,}, loss {loss.item():.3f} (chance {math.log(len(names)):.3f})")


def batch(pairs: Pairs, chance: np.random.Generator, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return features f32[B,1280], texts f32[B,256] and the caption's number i64[B]; classes are numbered after the captions."""
    of_classes = round(size * CLASSES_FRAC)
    rows = chance.integers(0, len(pairs.features), size)
    views = chance.integers(0, pairs.features.shape[1], size)
    features = torch.from_numpy(pairs.features[rows, views].astype(np.float32))
    names = torch.tensor([chance.choice(pairs.captions[row]) for row in rows.tolist()])
    classes = torch.from_numpy(chance.integers(0, len(pairs.classes), of_classes))
    with torch.no_grad():
        features[:of_classes] = moved(features[:of_classes], classes, pairs.classifier)
    texts = pairs.texts[names]
    texts[:of_classes], names[:of_classes] = pairs.classes[classes], classes + len(pairs.texts)
    keep = torch.from_numpy((chance.random(features.shape) >= DROP_PROB).astype(np.float32))
    return features * keep / (1 - DROP_PROB), texts, names


def contrast(image: torch.Tensor, text: torch.Tensor, scale: torch.Tensor, names: torch.Tensor) -> torch.Tensor:
    """Return symmetric InfoNCE; an equal caption elsewhere in the batch is no wrong answer."""
    same = (names[:, None] == names[None]) & ~torch.eye(len(names), dtype=torch.bool)
    logits = (scale * image @ text.T).masked_fill(same, float("-inf"))
    truth = torch.arange(len(names))
    return (nn.functional.cross_entropy(logits, truth) + nn.functional.cross_entropy(logits.T, truth)) / 2

"""A small probe that tells one attribute of a picture by its CLIP vector: which of some words its caption should hold.

Logistic regression on real training pictures (the protocol of Radford et al. 2021, 2103.00020, section 3.2, with a fixed
penalty); how often it is right on held-out real ones is the most that made ones can reach.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.errors import InputError
from train.estimates import Share

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
NONE: Final = -1
_PENALTY: Final = 1e-2
_ROUNDS: Final = 200


def labels(captions: Sequence[str], words: Sequence[str]) -> I64:
    """Return i64[N]: the number of the one word that a caption holds, NONE where it holds none of them or several."""
    forms = [re.compile(rf"\b{re.escape(word)}\b", re.IGNORECASE) for word in words]
    found = np.array([[form.search(caption) is not None for form in forms] for caption in captions], bool)
    found = found.reshape(len(captions), len(words))
    return np.where(found.sum(1) == 1, found.argmax(1), NONE).astype(np.int64)


@dataclass(frozen=True)
class Probe:
    """Vectors f32[N,D] → numbers of words."""

    mean: torch.Tensor
    deviation: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor

    @classmethod
    def fitted(cls, vectors: F32, truth: I64, classes: int) -> "Probe":
        """Fit the probe on real pictures whose truth is not NONE."""
        known = truth != NONE
        x, y = torch.from_numpy(vectors[known]), torch.from_numpy(truth[known])
        mean, deviation = x.mean(0), x.std(0).clamp(min=1e-6)
        scaled = (x - mean) / deviation
        weight = torch.zeros(classes, x.shape[1], requires_grad=True)
        bias = torch.zeros(classes, requires_grad=True)
        solver = torch.optim.LBFGS([weight, bias], max_iter=_ROUNDS, line_search_fn="strong_wolfe")

        def loss() -> torch.Tensor:
            solver.zero_grad()
            wrong = torch.nn.functional.cross_entropy(scaled @ weight.T + bias, y) + _PENALTY * weight.square().sum()
            wrong.backward()  # type: ignore[no-untyped-call]
            return wrong

        solver.step(loss)  # type: ignore[no-untyped-call]
        return cls(mean, deviation, weight.detach(), bias.detach())

    def guess(self, vectors: F32) -> I64:
        """Return i64[N]."""
        scaled = (torch.from_numpy(vectors) - self.mean) / self.deviation
        found: I64 = (scaled @ self.weight.T + self.bias).argmax(1).numpy()
        return found

    def right(self, vectors: F32, truth: I64) -> Share:
        """Return how often the guess is the truth, where there is one; chance is the most frequent word's share."""
        known = truth != NONE
        hits = int((self.guess(vectors)[known] == truth[known]).sum())
        counts = np.bincount(truth[known]) if known.any() else np.zeros(1)
        return Share(hits, int(known.sum()), float(counts.max() / max(1, known.sum())))


@dataclass(frozen=True)
class Attribute:
    """How often made pictures show the word of their prompt, beside held-out real ones."""

    words: tuple[str, ...]
    made: Share
    real: Share

    def told(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        return {"words": list(self.words), "made": self.made.told(), "real": self.real.told()}


def attribute(
    words: Sequence[str], training: tuple[F32, Sequence[str]], made: tuple[F32, Sequence[str]],
    real: tuple[F32, Sequence[str]],
) -> Attribute:  # fmt: skip
    """Fit a probe on real training pictures and judge made ones; each is vectors and captions. InputError without examples."""
    truth = labels(training[1], words)
    missing = [word for number, word in enumerate(words) if not (truth == number).any()]
    if missing:
        raise InputError(
            f"--words {','.join(words)}: no caption among {len(training[1])} training rows holds {missing[0]!r} alone; "
            "name words that captions hold one of, or take more --prompts"
        )
    probe = Probe.fitted(training[0], truth, len(words))
    return Attribute(
        tuple(words), probe.right(made[0], labels(made[1], words)), probe.right(real[0], labels(real[1], words))
    )

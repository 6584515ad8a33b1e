"""artist.py PRIOR RUN …: do pictures show the artist that their caption names? Told by their pixels, since CLIP hardly sees it.

What tells them apart is learnt from the real training pictures, at the model's own size, and asked about the held-out captions' real
and made ones. Made pictures cannot reach more than real ones do.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2]))

from train.estimates import Share
from train.making import Maker, Settings
from train.opening import open_model
from train.probe import F32, I64, NONE, labels
from train.run import open_run
from train.trial import drawings, rows_of

RIDGE = 0.1


@dataclass(frozen=True)
class Eye:
    """Tells two words apart by pixels: kernel ridge regression on ±1 with a Gaussian kernel as wide as pixels vary."""

    pictures: F32
    weights: F32

    @classmethod
    def trained(cls, pictures: F32, truth: I64) -> "Eye":
        """Learn from pictures f32[N,D]; rows whose truth is NONE are left out."""
        known = pictures[truth != NONE]
        kernel = _alike(known, known) + np.eye(len(known), dtype=np.float32) * RIDGE
        sides = np.where(truth[truth != NONE] == 0, 1.0, -1.0).astype(np.float32)
        return cls(known, np.asarray(np.linalg.solve(kernel, sides), np.float32))

    def right(self, pictures: F32, truth: I64) -> Share:
        """Return how often it is right, where there is a truth; chance is the more frequent word's share."""
        known = truth != NONE
        guess = np.where(_alike(pictures[known], self.pictures) @ self.weights > 0, 0, 1)
        most = float(np.bincount(truth[known]).max() / known.sum())
        return Share(int((guess == truth[known]).sum()), int(known.sum()), most)


def _alike(one: F32, two: F32) -> F32:
    apart = (one**2).sum(1)[:, None] + (two**2).sum(1)[None] - 2 * one @ two.T
    return np.asarray(np.exp(-np.maximum(apart, 0) / (two.shape[1] * two.var())), np.float32)


def seen(pictures: Sequence[object]) -> F32:
    """Return the pixels f32[N,D], -0.5 to 0.5."""
    made = np.stack([np.asarray(one, np.float32).reshape(-1) for one in pictures])
    return np.asarray(made / 255 - 0.5, np.float32)


def main() -> None:
    """Print a line a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prior", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--words", default="emojione,noto")
    asked = parser.parse_args()
    words = asked.words.split(",")
    run = open_run(asked.runs[0])
    learnt, held = (rows_of(run, rows, 10**6, "quality") for rows in (run.shown, run.held))
    eye = Eye.trained(seen(learnt.pictures), labels(learnt.captions, words))
    truth = labels(held.captions, words)
    real = eye.right(seen(held.pictures), truth)
    print(f"guessing {real.chance:.1%}, real pictures {told(real)}, n {real.trials}")
    for folder in asked.runs:
        for prior in (asked.prior, None):
            maker = Maker(open_model(folder, prior, "cpu").pipeline, {}, Settings())
            made: list[Image.Image] = list(drawings(maker, held, 0))
            print(f"{folder.name}, {'prompts' if prior else 'own vectors'}: {told(eye.right(seen(made), truth))}")


def told(share: Share) -> str:
    """Return a share with its interval."""
    low, high = share.interval
    return f"{share.value:.1%} ({low:.0%}–{high:.0%})"


if __name__ == "__main__":
    main()

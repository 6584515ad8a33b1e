"""The bundled CLIP, on pictures it was never trained on: cut-out photographs and drawings with sentences (tuxpaint's stamps)."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from pipeline.clip_model import load
from pipeline.clip_spec import MINI_THRESHOLD_COS, ModelSpec

ROOT = Path(os.environ.get("TAMIS_CORPORA", Path(__file__).parents[2] / ".corpora"))
STAMPS = ROOT / "deb/tuxpaint-stamps-default/usr/share/tuxpaint/stamps"

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        not STAMPS.is_dir(), reason=f"no tuxpaint-stamps-default under {ROOT}; run tests/corpora/fetch.sh"
    ),
]


def _pairs() -> list[tuple[np.ndarray, str]]:
    pairs = []
    for text in sorted(STAMPS.rglob("*.txt")):
        try:
            with Image.open(text.with_suffix(".png")) as opened:
                picture = opened.convert("RGBA")
        except (FileNotFoundError, UnidentifiedImageError):
            continue
        white = Image.new("RGBA", picture.size, "white")
        caption = text.read_text(encoding="utf-8", errors="replace").splitlines()[0].strip()
        pairs.append((np.asarray(Image.alpha_composite(white, picture).convert("RGB")), caption))
    return pairs


def test_matched_pairs_score_above_shuffled_ones_as_the_model_card_says() -> None:
    pairs = _pairs()
    assert len(pairs) > 500
    model = load(ModelSpec())
    pixels = [model.prepare(rgb) for rgb, _ in pairs]
    images = np.concatenate([model.images(np.stack(pixels[i : i + 64])) for i in range(0, len(pixels), 64)]).astype(
        np.float32
    )
    texts = model.texts([text for _, text in pairs]).astype(np.float32)
    matched = (images * texts).sum(1)
    shuffled = (images * np.roll(texts, len(texts) // 2, axis=0)).sum(1)
    scores = np.concatenate([matched, shuffled])
    rank = np.empty(len(scores))
    rank[np.argsort(scores, kind="stable")] = np.arange(1, len(scores) + 1)
    n = len(matched)
    auc = (rank[:n].sum() - n * (n + 1) / 2) / (n * n)  # Mann-Whitney U over all pairs
    kept, removed = (matched >= MINI_THRESHOLD_COS).mean(), (shuffled < MINI_THRESHOLD_COS).mean()
    print(f"{n} stamps: AUC {auc:.3f}, kept {kept:.3f}, removed {removed:.3f}")
    assert auc == pytest.approx(0.845, abs=0.025)
    assert kept >= 0.65
    assert removed >= 0.78

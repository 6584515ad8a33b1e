"""What a CLIP model sees: the model's own preprocessing when it is measured, a random part when it learns."""

import numpy as np
import pytest
import torch
from torchvision.transforms import RandomResizedCrop

from pipeline.clip_fit import Fit
from train.buckets import Bucket
from train.clip_pixels import ASPECTS, Cropped, Look, box

SQUARE = Bucket(32, 32)


def test_while_it_is_measured_pictures_are_shaped_as_the_scorer_shapes_them() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (60, 40, 3), np.uint8)
    for mode in ("shortest", "longest", "squash"):
        look = Look(Fit(32, mode), (0.5,) * 3, (0.5,) * 3)
        assert np.array_equal(look.shaped(None)(picture, SQUARE, 0, 5), look.fit.prepare(picture))


def test_a_crop_belongs_to_seed_and_slot() -> None:
    boxes = {slot: box(300, 400, 0.5, 0, slot) for slot in range(50)}
    assert boxes == {slot: box(300, 400, 0.5, 0, slot) for slot in range(50)}
    assert len(set(boxes.values())) > 45
    assert boxes[3] != box(300, 400, 0.5, 1, 3)


@pytest.mark.parametrize("size", [(224, 224), (300, 400), (400, 300)])
def test_crops_are_spread_as_torchvisions_are(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    drawn = np.array(
        [RandomResizedCrop.get_params(torch.empty(3, *size), [0.5, 1.0], list(ASPECTS)) for _ in range(2000)]
    )
    ours = np.array([box(*size, 0.5, 0, slot) for slot in range(2000)])
    assert np.abs(drawn.mean(0) - ours.mean(0)).max() < 0.02 * max(size)
    assert np.abs(drawn.std(0) - ours.std(0)).max() < 0.02 * max(size)


def test_a_crop_is_inside_the_picture_and_of_at_least_the_share_or_the_middle_of_a_picture_too_long_for_it() -> None:
    for slot in range(300):
        top, left, height, width = box(120, 160, 0.9, 0, slot)
        assert 0 <= top <= 120 - height
        assert 0 <= left <= 160 - width
        assert height * width > 0.88 * 120 * 160
    assert box(30, 300, 0.9, 0, 1) == (0, 130, 30, 40)
    assert box(300, 30, 0.9, 0, 1) == (130, 0, 40, 30)


def test_a_model_that_pads_learns_from_padded_pictures() -> None:
    black = np.zeros((20, 80, 3), np.uint8)
    made = Cropped(Fit(32, "longest"), 0.9)(black, SQUARE, 0, 3)
    assert (made[0] == 255).all()
    assert (made[16] == 0).all()
    assert (Cropped(Fit(32, "shortest"), 0.9)(black, SQUARE, 0, 3) == 0).all()


def test_pictures_are_standardised_by_the_models_mean_and_deviation() -> None:
    look = Look(Fit(4), (0.2, 0.4, 0.6), (0.1, 0.2, 0.4))
    white = look.standard(torch.full((1, 3, 4, 4), 255, dtype=torch.uint8))
    assert torch.allclose(white[0, :, 0, 0], torch.tensor([8.0, 3.0, 1.0]))

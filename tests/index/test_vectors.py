"""Stored halves become the floats they stand for, every one of them."""

import numpy as np

from index.vectors import floats


def test_every_finite_half_is_the_same_float() -> None:
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    halves = every[np.isfinite(every)].reshape(-1, 16)
    assert np.array_equal(floats(halves), halves.astype(np.float32))
    assert np.array_equal(np.signbit(floats(halves)), np.signbit(halves))
    assert floats(halves[:0]).shape == (0, 16)

"""Made-up vectors that crowd as CLIP's do: a mixture of Gaussians in 48 dimensions, turned into as many as asked for, with noise.

Every cluster centre is drawn from N(0, I) in 48 dimensions, a vector is its cluster's centre plus 0.6 · N(0, I); a random linear map
takes both to `dimensions`, noise of a seventh of the length is added there, and the sum is scaled to unit norm and float16. With
a million of 512 the nearest neighbour has a cosine of about 0.84 and the tenth one of 0.80. Texts are their pictures' vectors
moved by a common offset (CLIP's gap between modalities) and noise.
"""

import numpy as np
from numpy.typing import NDArray

F16 = NDArray[np.float16]
_LATENT = 48
_BLOCK = 50_000


def pictures(count: int, dimensions: int, seed: int, clusters: int = 5_000) -> F16:
    """Return vectors f16[N,D] of unit norm; every seed draws others from the same clusters."""
    world = np.random.default_rng(1)
    turn = world.standard_normal((_LATENT, dimensions), np.float32) / np.sqrt(dimensions)
    centres = world.standard_normal((clusters, _LATENT), np.float32)
    rng = np.random.default_rng([2, seed])
    out = np.empty((count, dimensions), np.float16)
    for low in range(0, count, _BLOCK):
        size = min(_BLOCK, count - low)
        latent = centres[rng.integers(0, clusters, size)] + 0.6 * rng.standard_normal((size, _LATENT), np.float32)
        noise = 0.15 * np.sqrt(_LATENT / dimensions) * rng.standard_normal((size, dimensions), np.float32)
        out[low : low + size] = _unit(latent @ turn + noise)
    return out


def texts(of: F16, seed: int) -> F16:
    """Return the vectors of texts for pictures f16[N,D], cosine about 0.5 to their pictures."""
    dimensions = of.shape[1]
    offset = _unit(np.random.default_rng(3).standard_normal((1, dimensions), np.float32))
    rng = np.random.default_rng([4, seed])
    out = np.empty_like(of)
    for low in range(0, len(of), _BLOCK):
        block = of[low : low + _BLOCK].astype(np.float32)
        noise = rng.standard_normal(block.shape, np.float32) / np.sqrt(dimensions)
        out[low : low + _BLOCK] = _unit(block + 0.9 * offset + 0.9 * noise)
    return out


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit

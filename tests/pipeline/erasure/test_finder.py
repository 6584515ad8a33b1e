"""Many strings are found at once wherever they are, and nothing else is."""

import io
import random

import pytest

from pipeline.erasure import finder
from pipeline.erasure.finder import Finder


def naive(strings: list[bytes], data: bytes) -> set[tuple[int, int]]:
    found = set()
    for number, string in enumerate(strings):
        at = data.find(string)
        while at >= 0:
            found.add((number, at))
            at = data.find(string, at + 1)
    return found


@pytest.mark.parametrize("count", [0, 1, 2, 3, 300])
def test_it_finds_what_a_search_for_each_finds(count: int) -> None:
    rng = random.Random(count)
    strings = list({bytes(rng.choices(b"abc", k=rng.randint(8, 14))) for _ in range(count)})
    data = bytes(rng.choices(b"abc", k=200_000))
    assert set(Finder(strings).find(data)) == naive(strings, data)


@pytest.mark.parametrize("count", [2, 40])
@pytest.mark.parametrize("size", [20, 64, 100_000])
def test_strings_across_two_blocks_are_found_once(count: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finder, "BLOCK_BYTES", size)
    rng = random.Random(size)
    strings = [rng.randbytes(rng.randint(8, 40)) for _ in range(count)]
    data = b"".join(rng.randbytes(rng.randint(0, 90)) + rng.choice(strings) for _ in range(300))
    found = list(Finder(strings).find_in(io.BytesIO(data)))
    assert len(found) == len(set(found))
    assert set(found) == naive(strings, data)


def test_what_is_too_short_to_mean_anything_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 8 bytes"):
        Finder([b"red"])

"""A cheap keyed checksum of URLs, computed for whole columns at once: it spares most of a crawl the digest (removal.py).

31 bits, so it only says "surely not listed" or "look closer". Variants with http/https and with a leading `www.` share it.
"""

import hashlib
import struct
from functools import lru_cache
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

BITS: Final = 31  # fits a signed integer column
_MOST_WORDS: Final = 16  # of eight bytes; what follows counts by its end and length alone
_LOW: Final = (1 << 64) - 1
_SPREAD: Final = 29
_WWW: Final = 0x2E777777  # "www." read as a little-endian number


@lru_cache(maxsize=8)
def _keys(seed: bytes) -> tuple[int, int]:
    drawn = hashlib.blake2b(b"", digest_size=16, key=seed, person=b"url_tag").digest()
    first, second = struct.unpack("<QQ", drawn)
    return first | 1, second | 1


def tag(seed: bytes, key: str) -> int:
    """Return the checksum, 1 to 2^31 - 1, of a URL in the form of `removal.url_key`."""
    data = key.encode("utf-8", "surrogatepass")
    first, second = _keys(seed)
    words = min(len(data) // 8, _MOST_WORDS)
    end = int.from_bytes(data[-8:], "little")
    value = len(data) * first & _LOW
    for word in (end, *struct.unpack_from(f"<{words}Q", data)):
        value = (value ^ word) * second & _LOW
        value ^= value >> _SPREAD
    return max(1, value >> 64 - BITS)


def tags(seed: bytes, urls: pa.Array) -> NDArray[np.uint32]:
    """Return the checksums of canonical URLs (string without nulls, each of eight bytes at least, scheme included)."""
    first, second = (np.uint64(key) for key in _keys(seed))
    offsets = np.frombuffer(urls.buffers()[1], np.int32)[urls.offset : urls.offset + len(urls) + 1].astype(np.int64)
    raw = np.frombuffer(urls.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]]
    data = np.zeros(len(raw) + 16, np.uint8)
    data[: len(raw)] = raw
    at = np.ndarray((len(raw) + 9,), "<u8", data, strides=(1,))  # the eight bytes from each place on
    at_four = np.ndarray((len(raw) + 9,), "<u4", data, strides=(1,))
    starts, ends = offsets[:-1] - offsets[0], offsets[1:] - offsets[0]
    starts = starts + 7 + (data[starts + 4] == ord("s"))
    starts += 4 * (at_four[starts] == _WWW)
    lengths = ends - starts
    missing = np.maximum(8 - lengths, 0).astype(np.uint64)  # a short one's last eight bytes begin before it
    value = _mixed(lengths.astype(np.uint64) * first, at[ends - 8] >> (missing * np.uint64(8)), second)
    words = np.minimum(lengths // 8, _MOST_WORDS)
    fewest, most = (int(words.min()), int(words.max())) if len(words) else (0, 0)
    for word in range(fewest):
        value = _mixed(value, at[starts + 8 * word], second)
    rows = np.arange(len(urls))
    for word in range(fewest, most):
        rows = rows[words[rows] > word]
        value[rows] = _mixed(value[rows], at[starts[rows] + 8 * word], second)
    return np.asarray(np.maximum(1, value >> np.uint64(64 - BITS)), np.uint32)


def _mixed(value: NDArray[np.uint64], word: NDArray[np.uint64], factor: np.uint64) -> NDArray[np.uint64]:
    value = (value ^ word) * factor
    return value ^ value >> np.uint64(_SPREAD)

"""Parts are balanced, domains keep to their share, URLs stay together, and nothing depends on order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.partition import Buckets, assign_parts

MIX = np.uint64(0x9E3779B97F4A7C15)


def _rows(counts: list[int], texts_per_url: int = 1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    domain = np.repeat(np.arange(1, len(counts) + 1, dtype=np.uint64) * MIX, counts)
    url = rng.integers(0, 2**64, len(domain), dtype=np.uint64)
    return domain, url[np.arange(len(url)) // texts_per_url * texts_per_url]


def _largest_share(domain: np.ndarray, part: np.ndarray) -> float:
    shares = (np.unique(domain[part == p], return_counts=True)[1].max() / (part == p).sum() for p in np.unique(part))
    return float(max(shares))


def test_no_domain_is_over_a_tenth_of_a_part_where_there_are_enough_domains() -> None:
    domain, url = _rows([7000] + [900] * 40 + [10] * 3000)
    part = assign_parts(domain, url, 10_000, 0.1)
    sizes = np.bincount(part)
    assert len(sizes) == 8
    assert sizes.max() <= 10_000
    assert sizes.max() - sizes.min() <= 10
    assert _largest_share(domain, part) <= 0.1


def test_a_domain_goes_to_as_few_parts_as_its_share_allows() -> None:
    domain, url = _rows([2000] + [10] * 9800)
    part = assign_parts(domain, url, 10_000, 0.1)
    assert len(np.unique(part[domain == MIX])) == 2


def test_one_single_domain_fills_even_parts() -> None:
    domain, url = _rows([25_000])
    assert np.bincount(assign_parts(domain, url, 10_000, 0.1)).tolist() == [8334, 8333, 8333]


def test_rows_of_one_url_share_a_part() -> None:
    domain, url = _rows([12_000, 9_000, 6_000], texts_per_url=3)
    part = assign_parts(domain, url, 1000, 0.1)
    for p in np.unique(url):
        assert len(np.unique(part[url == p])) == 1


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 300), min_size=1, max_size=30), st.integers(1, 200), st.integers(0, 5))
def test_the_order_of_rows_does_not_matter(counts: list[int], part_rows: int, seed: int) -> None:
    domain, url = _rows(counts)
    order = np.random.default_rng(seed).permutation(len(domain))
    part = assign_parts(domain, url, part_rows, 0.1)
    assert (assign_parts(domain[order], url[order], part_rows, 0.1) == part[order]).all()
    assert part.min() == 0
    assert part.max() < -(-len(domain) // part_rows) + 2


@pytest.mark.parametrize("bucket_rows", [1000, 5000, 10**6])
def test_every_row_has_one_bucket_and_row_groups_are_pruned_soundly(bucket_rows: int) -> None:
    domain, url = _rows([9000, 4000] + [50] * 200)
    values, rows = np.unique(domain, return_counts=True)
    buckets = Buckets.plan(values, rows, 0.1, bucket_rows)
    assert buckets.count == -(-len(domain) // bucket_rows)
    bucket = buckets.of(domain, url)
    assert bucket.min() >= 0
    assert bucket.max() < buckets.count
    order = np.lexsort((url, domain))
    for low in range(0, len(order), 700):
        group = order[low : low + 700]
        for b in np.unique(bucket[group]):
            assert buckets.touches(int(b), int(domain[group].min()), int(domain[group].max()))


def test_a_large_domain_is_spread_over_buckets() -> None:
    domain, url = _rows([9000] + [50] * 200)
    values, rows = np.unique(domain, return_counts=True)
    buckets = Buckets.plan(values, rows, 0.1, 2000)
    bucket = buckets.of(domain, url)
    shares = np.bincount(bucket[domain == MIX], minlength=buckets.count) / 9000
    assert (shares > 0).all()
    assert shares.max() < 0.15


def test_no_part_is_over_its_size_where_chunks_could_overfill_the_fewest_parts() -> None:
    domain, url = _rows([50] * 4999 + [50])
    sizes = np.bincount(assign_parts(domain, url, 9_990, 0.1))
    assert sizes.max() <= 9_990
    assert sizes.sum() == 250_000

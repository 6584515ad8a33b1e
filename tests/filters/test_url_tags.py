"""The checksum of a column is that of each URL, whatever its scheme, `www.`, length and place in the column."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.removal import url_key
from filters.url_tags import BITS, tag, tags
from filters.urls import canonical_url

SEED = bytes(range(32))
URLS = st.builds(
    lambda start, host, path: f"{start}{host}/{path}",
    st.sampled_from(["http://", "https://", "http://www.", "https://www."]),
    st.text("abcdefé-", min_size=1, max_size=12).map(lambda name: f"a{name}a"),
    st.text("ab/?&=ü%", max_size=300),
)


@given(st.lists(URLS, max_size=30), st.integers(0, 5))
def test_a_column_has_the_checksums_of_its_urls(urls: list[str], skip: int) -> None:
    canonical = [found for url in urls if (found := canonical_url(url)) is not None]
    column = pa.array(canonical, pa.string()).slice(skip)
    assert tags(SEED, column).tolist() == [tag(SEED, url_key(url)) for url in column.to_pylist()]


@pytest.mark.parametrize("key", ["a/", "a/b", "site.example/", f"site.example/{'x' * 500}"])
def test_variants_of_a_url_share_a_checksum(key: str) -> None:
    variants = [f"{start}{key}" for start in ("http://", "https://", "http://www.", "https://www.")]
    assert set(tags(SEED, pa.array(variants)).tolist()) == {tag(SEED, key)}


def test_other_urls_and_other_secrets_have_other_checksums() -> None:
    urls = pa.array([f"https://site.example/{number}.jpg" for number in range(10_000)])
    found = tags(SEED, urls)
    assert len(set(found.tolist())) > 9_990  # 10,000 of 2^31: 0.02 pairs are expected to meet
    assert found.min() >= 1
    assert found.max() < 1 << BITS
    assert (tags(bytes(32), urls) != found).all()


def test_an_empty_column_has_none() -> None:
    assert tags(SEED, pa.array([], pa.string())).tolist() == []

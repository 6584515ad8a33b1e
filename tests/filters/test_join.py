import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from filters.join import Joiner
from filters.urls import canonical_url

BASES = ["http://x.example/", "https://127.0.0.1:81/a/b.html", "http://x.example/a/b/?q=/c/d", "http://x.example/a?x"]


@given(st.text(alphabet="ab./:?#%2F0 é;'\"&=\\@+,~[]()\t|*A-_", min_size=1, max_size=14), st.sampled_from(BASES))
@settings(max_examples=2000, deadline=None)
@example("a:b.png", BASES[0])
@example("//a", BASES[1])
@example("/?a", BASES[1])
@example("a/..", BASES[2])
@example("%41", BASES[0])
def test_joining_is_canonicalising(reference: str, base: str) -> None:
    assert Joiner(base)(reference) == canonical_url(reference, base)


@pytest.mark.parametrize("base", ["", "mailto:a@b", "http:", "x/y"])
def test_a_base_that_is_none_joins_nothing(base: str) -> None:
    assert Joiner(base)("a.png") is None
    assert Joiner(base)("http://h.example/a.png") == "http://h.example/a.png"

import numpy as np
import pyarrow as pa
import pytest

from filters.base import Filter
from filters.heads import Layer, aesthetic, head, mlp, nsfw, watermark, zero_shot
from tests.filters.tables import embeddings, reasons


def layer(weight: list[list[float]], bias: list[float], relu: bool = False) -> Layer:
    return Layer(np.asarray(weight, np.float32), np.asarray(bias, np.float32), relu)


FIRST = mlp([layer([[1, 0]], [0])])


@pytest.mark.parametrize(
    ("filter_", "column", "limit", "bad_above", "reason"),
    [
        (nsfw(scorer=FIRST, max_prob=0.5), "nsfw_prob", 0.5, True, "nsfw"),
        (watermark(scorer=FIRST, max_prob=0.8), "watermark_prob", 0.8, True, "watermark"),
        (aesthetic(scorer=FIRST, min_score=4.5), "aesthetic_score", 4.5, False, "aesthetic_low"),
    ],
)
def test_at_just_below_and_just_above_each_limit(
    filter_: Filter, column: str, limit: float, bad_above: bool, reason: str
) -> None:
    at = np.float32(limit)
    values = [
        float(np.nextafter(at, np.float32(-9))),
        float(at),
        float(np.nextafter(at, np.float32(9))),
        None,
        float("nan"),
    ]
    said = filter_.decide(pa.table({column: pa.array(values, pa.float32())})).to_pylist()
    missing = f"{filter_.name}_missing"
    assert said == [None if bad_above else reason, None, reason if bad_above else None, missing, missing]


def test_without_limits_the_score_is_kept_and_nothing_dropped() -> None:
    rows = pa.table({"image_emb": embeddings([[1, 0], None])})
    for filter_ in (nsfw(scorer=FIRST, max_prob=None), watermark(scorer=FIRST), aesthetic(scorer=FIRST)):
        assert reasons(filter_, rows) == [None, None]


def test_missing_and_broken_embeddings_are_missing_scores() -> None:
    rows = pa.table({"image_emb": embeddings([[1, 0], [0, 1], None, [float("nan"), 0], [0, 0]])})
    assert reasons(nsfw(scorer=FIRST, max_prob=0.5), rows) == ["nsfw", None, *["nsfw_missing"] * 3]


def test_embeddings_are_brought_to_unit_length_first() -> None:
    assert FIRST(np.array([[3, 4]], np.float32))[0] == pytest.approx(0.6)


def test_layers_chain_with_rectifiers_where_they_are() -> None:
    scorer = mlp([layer([[1, 0], [-1, 0]], [0, 0], relu=True), layer([[1, 10]], [0.5])])
    found = scorer(np.array([[1, 0], [-1, 0]], np.float32))
    assert found.tolist() == [1.5, 10.5]


def test_probabilities_saturate_without_overflow() -> None:
    scorer = mlp([layer([[5000, 0]], [0])], probability=True)
    assert scorer(np.array([[1, 0], [-1, 0], [0, 1]], np.float32)).tolist() == [1.0, 0.0, 0.5]


def test_prompts_split_the_probability() -> None:
    cat, dog, car = np.eye(3, dtype=np.float32)
    scorer = zero_shot(np.stack([cat, dog]), car[None], scale=10)
    found = scorer(np.stack([cat, car, cat + dog + car]))
    assert found[0] > 0.99
    assert found[1] < 0.01
    assert found[2] == pytest.approx(2 / 3, abs=1e-3)


def test_heads_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        mlp([layer([[1, 0]], [0]), layer([[1, 2]], [0])])
    with pytest.raises(ValueError, match="one output"):
        mlp([layer([[1], [1]], [0, 0])])
    with pytest.raises(ValueError, match="reads 2 dimensions, these have 3"):
        FIRST(np.ones((1, 3), np.float32))


def test_any_scorer_makes_a_filter_with_both_limits() -> None:
    both = head(name="glow", column="glow_score", reason="glow_odd", scorer=FIRST, above=0.9, below=0.1)
    rows = pa.table({"image_emb": embeddings([[1, 0], [0.6, 0.8], [0, 1]])})
    assert reasons(both, rows) == ["glow_odd", None, "glow_odd"]

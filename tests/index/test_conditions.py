"""Conditions mean what they say: by the column's type, at and beside the limit, and a missing value satisfies none."""

import math

import pyarrow as pa
import pytest

from index.conditions import Condition, checked, parse, satisfied
from pipeline.errors import InputError

TABLE = pa.table(
    {
        "id": pa.array([1, 2, 3, 4], pa.int64()),
        "key": ["aa", "bb", "cc", "dd"],
        "width": pa.array([255, 256, 257, None], pa.int32()),
        "clip_cos": pa.array([0.3, 0.2999, math.nan, None], pa.float32()),
        "domain": ["Example.org", "example.org", "", None],
        "caption": ["a RED hat", "100 % red*", "größe", None],
        "marked": pa.array([True, False, True, None]),
        "blob": pa.array([b"x", b"y", b"z", None]),
    }
)


@pytest.mark.parametrize(
    ("written", "rows"),
    [
        ("width>=256", [1, 2]),
        ("width>256", [2]),
        ("width<256", [0]),
        ("width<=256", [0, 1]),
        ("width=256", [1]),
        ("width = 256.0", [1]),
        ("width!=256", [0, 2]),
        ("width>=255.5", [1, 2]),
        ("width<1e30", [0, 1, 2]),
        ("width>-99999999999", [0, 1, 2]),
        ("clip_cos>=0.3", [0]),  # the 32-bit number that is written 0.3
        ("clip_cos<0.3", [1]),
        ("clip_cos=0.3", [0]),
        ("clip_cos!=0.3", [1]),  # neither NaN nor null
        ("clip_cos>=-1", [0, 1]),
        ("domain=example.org", [1]),
        ("domain!=example.org", [0, 2]),
        ("domain=", [2]),
        ("domain~EXAMPLE", [0, 1]),
        ("caption~red", [0, 1]),
        ("caption~red*", [1]),  # no pattern
        ("caption~%", [1]),
        ("caption~GRÖSSE", []),
        ("caption~GRÖ", [2]),
        ("text~hat", [0]),
        ("uid=bb", [1]),
        ("marked=yes", [0, 2]),
        ("marked!=true", [1]),
        ("caption=a RED hat", [0]),
        ("caption>b", [2]),
    ],
)
def test_a_condition_keeps_these_rows(written: str, rows: list[int]) -> None:
    assert satisfied(TABLE, [parse(written)]).nonzero()[0].tolist() == rows
    batch = TABLE.combine_chunks().to_batches()[0]
    assert satisfied(batch, [parse(written)]).nonzero()[0].tolist() == rows


def test_conditions_hold_together_and_none_keeps_all() -> None:
    assert satisfied(TABLE, [parse("width>=256"), parse("caption~red")]).tolist() == [False, True, False, False]
    assert satisfied(TABLE, []).tolist() == [True] * 4
    assert satisfied(TABLE.slice(0, 0), [parse("width>1")]).tolist() == []


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        (Condition("widht", ">", 1), "no column 'widht' here; did you mean 'width'"),
        (Condition("zzz", ">", 1), "there are key, width, clip_cos"),
        (Condition("width", "~", 25), "width holds no text"),
        (Condition("width", ">", "wide"), "width is a number, and 'wide' is none"),
        (Condition("width", ">", "nan"), "is none"),
        (Condition("width", ">", math.inf), "is none"),
        (Condition("width", "=>", 1), "'=>' is no operator"),
        (Condition("marked", "=", "maybe"), "marked is true or false"),
        (Condition("blob", "=", "x"), "blob is binary"),
    ],
)
def test_what_cannot_be_tested_says_why(condition: Condition, said: str) -> None:
    with pytest.raises(InputError, match=said):
        satisfied(TABLE, [condition])


@pytest.mark.parametrize("written", ["", "width", ">=3", "width 3", "the width>3", "width=>"[:5]])
def test_what_is_no_condition_shows_how_one_is_written(written: str) -> None:
    with pytest.raises(InputError, match="width>=256"):
        parse(written)


def test_a_value_may_hold_operators_and_spaces_around_are_dropped() -> None:
    assert parse(" url = https://a.example/?b=c>d ") == Condition("url", "=", "https://a.example/?b=c>d")
    assert parse("license!=") == Condition("license", "!=", "")


def test_checked_conditions_name_real_columns_and_hold_typed_values() -> None:
    types = {one.name: one.type for one in TABLE.schema}
    assert checked([parse("uid=aa"), parse("width<9"), parse("clip_cos<.5")], types) == [
        Condition("key", "=", "aa"), Condition("width", "<", 9), Condition("clip_cos", "<", 0.5),
    ]  # fmt: skip

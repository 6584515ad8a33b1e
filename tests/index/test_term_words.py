"""Terms are read as they are written: a value, with a weight before a star where it has one."""

from pathlib import Path

import numpy as np
import pytest

from index.query import Term, worded
from index.term_words import MINUS, PLUS, from_row, term
from pipeline.errors import InputError


@pytest.mark.parametrize(
    ("kind", "written", "expected"),
    [
        ("text", "a dog", Term(text="a dog")),
        ("text", "0.5*a dog", Term(text="a dog", weight=0.5)),
        ("text", "-2 * a dog", Term(text="-2 * a dog")),  # the star follows the number
        ("text", "-2*a dog", Term(text="a dog", weight=-2)),
        ("text", ".5*3*4", Term(text="3*4", weight=0.5)),
        ("text", "five*stars", Term(text="five*stars")),
        ("plus", "in winter", Term(text="in winter", weight=PLUS)),
        ("plus", "1*in winter", Term(text="in winter", weight=1)),
        ("minus", "in summer", Term(text="in summer", weight=MINUS)),
        ("minus", "1*in summer", Term(text="in summer", weight=-1)),
        ("minus", "-1*in summer", Term(text="in summer", weight=-1)),
        ("url", "3*https://a.example/b*c", Term(url="https://a.example/b*c", weight=3)),
        ("uid", "0a" * 16, Term(uid="0a" * 16)),
    ],
)
def test_a_written_term_is(kind: str, written: str, expected: Term) -> None:
    assert term(kind, written) == expected


def test_files_are_read_where_a_file_is_meant(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.array([[0.5, -1]], np.float16))
    (tmp_path / "p.jpg").write_bytes(b"whatever")
    assert term("embedding", f"2*{tmp_path}/one.npy") == Term(embedding=(0.5, -1.0), weight=2)
    assert term("image", str(tmp_path / "p.jpg")) == Term(picture=tmp_path / "p.jpg")


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [("image", "none.jpg", "no such file"), ("embedding", "none.npy", "No such file"), ("embedding", "text.npy", "not a NumPy array"),
     ("embedding", "many.npy", "many go into --queries"), ("embedding", "objects.npy", "not a NumPy array")],
)  # fmt: skip
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, kind: str, name: str, said: str) -> None:
    (tmp_path / "text.npy").write_text("no array")
    np.save(tmp_path / "many.npy", np.ones((2, 3)))
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(InputError, match=said):
        term(kind, str(tmp_path / name))


def test_a_row_gives_the_terms_of_its_filled_columns() -> None:
    assert from_row({"text": "a", "url": "", "uid": None, "other": 1, "weight": "0.5"}) == [Term(text="a", weight=0.5)]
    assert from_row({"embedding": [1, 2.5]}) == [Term(embedding=(1.0, 2.5))]
    assert from_row({}) == []


@pytest.mark.parametrize(
    ("row", "said"),
    [({"text": 3}, "text is 3, which is no text"), ({"text": "  "}, "no text"), ({"embedding": 3}, "a list of numbers"),
     ({"embedding": [1, "x"]}, "is 'x', which is no number"), ({"embedding": [float("nan")]}, "no number"),
     ({"text": "a", "weight": "heavy"}, "weight is 'heavy'"), ({"text": "a", "weight": True}, "weight is True")],
)  # fmt: skip
def test_a_row_that_means_nothing_says_why(row: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        from_row(row)


def test_a_sum_is_worded_as_people_write_it() -> None:
    terms = (
        Term(picture=Path("a/cat.jpg")),
        Term(text="in winter", weight=2),
        Term(text="in summer", weight=-0.5),
        Term(picture=b"x", weight=-1),
    )
    assert worded(terms) == "cat.jpg + 2\u00a0×\u00a0“in winter” − 0.5\u00a0×\u00a0“in summer” − a picture"
    assert [worded((Term(text="a"),)), worded((Term(text="a", weight=-1),))] == ["a", "−“a”"]

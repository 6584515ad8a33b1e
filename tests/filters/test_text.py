import pyarrow as pa
import pytest

from filters.text import cjk_count, text, word_count
from tests.filters.tables import reasons


def said(value: str | None, **limits: int) -> str | None:
    return reasons(text(**limits), pa.table({"text": pa.array([value], pa.string())}))[0]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("a red car", None),
        ("red car", "text_short"),
        ("two red cars parked", None),
        ("a – car", "text_short"),
        ("a b c", None),
        ("赤い自動車", None),
        ("赤い自動", "text_short"),
        ("赤い自動車と", None),
        ("빨간 자동차", None),
        ("빨간 차", "text_short"),
        ("", "text_uninformative"),
        ("…", "text_uninformative"),
        (None, "text_missing"),
    ],
)
def test_three_words_or_five_cjk_characters_are_enough(value: str | None, reason: str | None) -> None:
    assert said(value, min_words=3, min_chars=5) == reason


def test_characters_are_counted_at_just_below_and_just_above_the_limits() -> None:
    assert [said("x y " + "z" * n, min_words=3, min_chars=8) for n in (3, 4, 5)] == ["text_short", None, None]
    assert [said("ab cd " + "e" * n, max_chars=20) for n in (13, 14, 15)] == [None, None, "text_long"]
    assert [said("word " * n, max_words=10, max_chars=999) for n in (9, 10, 11)] == [None, None, "text_long"]


@pytest.mark.parametrize(
    "value",
    [
        "IMG_1234.JPG", "photo.jpeg", "my holiday in spain.png", "/images/2019/cat.webp", "DSC00042", "img 20190304 123456", "P1010012",
        "Screenshot 2019-03-04 at 12.30.15", "d41d8cd98f00b204e9800998ecf8427e", "3f2504e0-4f89-11d3-9a0c-0305e82c3301", "1200x630",
        "header_bg-02_1200x630", "logo.svg?v=3", "WhatsApp Image 2020-01-02 at 10.11.12", "image (3)", '"IMG_0001.png"', "123456789",
    ],
)  # fmt: skip
def test_names_of_files_are_recognised(value: str) -> None:
    assert said(value, min_words=1) == "text_filename"


@pytest.mark.parametrize(
    "value",
    [
        "a cat on a mat", "the IMG format explained", "save the picture as photo.jpg and then send it to us", "Boeing 747 over Paris",
        "an abandoned facade decade", "Windows 95 start menu", "the year 2019 in pictures", "Route_66 sign at dusk", "deadbeef cafe",
    ],
)  # fmt: skip
def test_prose_with_numbers_or_extensions_is_no_file_name(value: str) -> None:
    assert said(value, min_words=1) is None


@pytest.mark.parametrize(
    "value",
    [
        "image", "Logo", "Click to enlarge", "image of", "picture 3 of", "the image", "photo photo", "*** — ***", "画像", "icon icon icon",
        "No image available.", "ＩＭＡＧＥ", "Figure", "banner ad here",
    ],
)  # fmt: skip
def test_mere_labels_are_uninformative(value: str) -> None:
    assert said(value, min_words=1, min_chars=1) == "text_uninformative"


@pytest.mark.parametrize("value", ["logo of the Red Cross", "photo of a dog", "home sweet home", "top of the mountain"])
def test_labels_with_content_are_kept(value: str) -> None:
    assert said(value) is None


def test_words_need_a_letter_or_digit_and_cjk_counts_every_such_script() -> None:
    assert word_count("a – b * 3 _ été") == 4
    assert cjk_count("漢字かなカナ한글𠀀 abc, ー々、。") == 11


def test_null_scores_are_missing_and_not_kept() -> None:
    nulls = {f"text_{unit}": pa.array([None], pa.int32()) for unit in ("words", "chars", "cjk")}
    assert text().decide(pa.table(nulls | {"text_kind": pa.array([None], pa.string())})).to_pylist() == ["text_missing"]

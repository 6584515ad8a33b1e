import json
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.tdmrep import Tdmrep, header_value, parse_file, resolve

Value = Literal[0, 1] | None
PICTURE = "https://a.example/free/a.jpg"


def rules(*pairs: tuple[str, object]) -> Tdmrep:
    document = [{"location": location, "tdm-reservation": value} for location, value in pairs]
    parsed = parse_file(json.dumps(document).encode())
    assert parsed is not None
    return parsed


def test_the_first_matching_rule_wins_and_not_the_longest() -> None:
    assert rules(("/", 1), ("/free/", 0)).reservation(PICTURE).value == 1
    assert rules(("/free/", 0), ("/", 1)).reservation(PICTURE).value == 0


def test_a_url_that_no_rule_matches_is_unset() -> None:
    assert rules(("/paid/", 1)).reservation(PICTURE).value is None
    assert rules().reservation(PICTURE).value is None


@pytest.mark.parametrize(
    ("location", "url", "matches"),
    [
        ("/*.jpg$", "https://a.example/x/a.jpg", True),
        ("/*.jpg$", "https://a.example/x/a.jpg?w=1", False),
        ("/Free/", PICTURE, False),
        ("/%66ree/", PICTURE, True),
        ("/cost-%24", "https://a.example/cost-$5", True),
        ("*", PICTURE, True),
        ("/bilder/ü", "https://a.example/bilder/%C3%BC.png", True),
    ],
)
def test_locations_are_matched_as_in_robots_txt(location: str, url: str, matches: bool) -> None:
    assert rules((location, 1)).reservation(url).value == (1 if matches else None)


def test_the_string_1_reserves_and_is_flagged_while_the_string_0_allows_nothing() -> None:
    reserved = rules(("/", "1"))
    assert reserved.reservation(PICTURE)[0] == 1
    assert reserved.reservation(PICTURE).nonconformant
    assert reserved.notes == ("nonconformant",)
    assert rules(("/", "0")).reservation(PICTURE).value is None


@pytest.mark.parametrize("value", [True, False, None, 2, -1, 0.5, "yes", "", [1], {"value": 1}])
def test_values_other_than_the_numbers_0_and_1_are_unset(value: object) -> None:
    answer = rules(("/", value)).reservation(PICTURE)
    assert answer.value is None
    assert answer.nonconformant
    assert answer.raw


def test_an_unreadable_rule_hides_a_later_leave_but_not_a_later_reservation() -> None:
    assert rules(("/free/", True), ("/", 0)).reservation(PICTURE).value is None
    assert rules(("/free/", True), ("/", 1)).reservation(PICTURE).value == 1
    assert rules(("/paid/", True), ("/", 0)).reservation(PICTURE).value == 0


def test_a_single_object_instead_of_an_array_is_not_honoured_but_noted() -> None:
    parsed = parse_file(b'{"location": "/", "tdm-reservation": 1}')
    assert parsed is not None
    assert parsed.notes == ("single_object",)
    assert parsed.reservation(PICTURE).value is None


def test_rules_without_their_mandatory_members_are_skipped_and_noted() -> None:
    parsed = parse_file(b'[{"tdm-reservation": 0}, {"location": "/"}, 7, {"location": "/", "tdm-reservation": 1}]')
    assert parsed is not None
    assert parsed.notes == ("location_missing", "reservation_missing", "rule_not_object")
    assert parsed.reservation(PICTURE).value == 1


def test_a_location_without_its_leading_slash_reserves_but_does_not_allow() -> None:
    assert rules(("free/", 1)).reservation(PICTURE).value == 1
    assert rules(("free/", 0)).reservation(PICTURE).value is None


def test_the_answer_carries_the_rule_and_the_policy_only_where_reserved() -> None:
    document = [
        {"location": "/paid/", "tdm-reservation": 1, "tdm-policy": "https://a.example/p.json"},
        {"location": "/", "tdm-reservation": 0, "tdm-policy": "https://a.example/p.json"},
    ]
    parsed = parse_file(json.dumps(document).encode())
    assert parsed is not None
    paid, free = parsed.reservation("https://a.example/paid/a.jpg"), parsed.reservation(PICTURE)
    assert json.loads(paid.raw) == document[0]
    assert (paid.value, paid.policy) == (1, "https://a.example/p.json")
    assert (free.value, free.policy) == (0, None)


@pytest.mark.parametrize(
    "body", [b"", b"[", b"<html>", b"\xff\xfe\x00", b"[" * 100_000, b"9" * 10_000, b'[{"location": "/",]']
)
def test_what_is_not_json_is_no_file(body: bytes) -> None:
    assert parse_file(body) is None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_the_encodings_that_json_may_come_in_are_read(encoding: str) -> None:
    parsed = parse_file('[{"location": "/ü", "tdm-reservation": 1}]'.encode(encoding))
    assert parsed is not None
    assert parsed.reservation("https://a.example/%C3%BC.jpg").value == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[("1", 1), (" 0 ", 0), ("1, 1", 1), ("0, 1", 1), (None, None), ("", None), ("2", None), ("true", None)],
        *[('"1"', None), ("1, x", None), ("01", None), ("１", None), ("1;", None)],
    ],
)
def test_header_values_other_than_0_and_1_are_unset(text: str | None, value: Value) -> None:
    assert header_value(text) == value


@pytest.mark.parametrize(
    ("file", "header", "meta", "value"),
    [
        (1, 0, None, 0),
        (0, 1, None, 1),
        (1, None, None, 1),
        (1, None, 0, 0),
        (0, 0, 1, 1),
        (None, 1, None, 1),
        (None, None, None, None),
        (1, header_value("nonsense"), header_value("yes"), 1),
    ],
)
def test_the_later_statement_supersedes_and_absence_or_error_resets_nothing(
    file: Value, header: Value, meta: Value, value: Value
) -> None:
    assert resolve(file, header, meta) == value


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2) | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["location", "tdm-reservation", "tdm-policy"]), inner)
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(JSON_VALUES, st.text())
def test_no_document_makes_the_reader_raise(document: object, url: str) -> None:
    parsed = parse_file(json.dumps(document).encode())
    assert parsed is not None
    assert parsed.reservation(url).value in (0, 1, None)

"""The verdict on a demo run is just: every fate is held against what became of the picture."""

import json

import pytest

from pipeline.demo.fate import ABSENT, JUDGED, REMOVED, Fate
from pipeline.demo.verdict import Outcomes, compare, describe
from pipeline.demo.world import build, open_origin


@pytest.fixture(scope="module")
def fates() -> list[Fate]:
    return build(open_origin(), pictures=160).fates


def foretold(fates: list[Fate]) -> dict[tuple[str, str], str | None]:
    """Every fate comes true: copies are dropped, right texts stay, wrong ones go."""
    outcomes: dict[tuple[str, str], str | None] = {}
    for fate in fates:
        if fate.expected >= JUDGED:
            copied = "duplicate_of" if fate.copy_of else None
            outcomes[fate.url, fate.text] = "clip_low" if fate.kind == "wrong_text" else copied
        elif ABSENT not in fate.expected:
            outcomes[fate.url, fate.text] = sorted(map(str, fate.expected))[0]
    return outcomes


def test_a_run_that_does_all_as_foretold_is_in_order(fates: list[Fate]) -> None:
    verdict = compare(fates, foretold(fates))
    assert verdict.ok, describe(verdict.violations)
    assert {m.frac for m in (verdict.keep, verdict.removal, verdict.recall, verdict.precision)} == {1.0}
    assert verdict.recall.total == sum(fate.copy_of is not None for fate in fates)
    assert sum(counts.total() for counts in verdict.table.values()) == len(fates)
    assert json.loads(json.dumps(verdict.to_json()))["ok"]
    assert verdict.confusion().row_count == len(verdict.table)
    assert verdict.figures().row_count == 4


def test_after_the_removal_what_left_must_be_gone_and_not_asked_for(fates: list[Fate]) -> None:
    before = foretold(fates)
    fates = [fate.after_removal() for fate in fates]
    verdict = compare(fates, before)
    assert {violation.fate.kind for violation in verdict.violations} == {
        "leaves_by_site", "leaves_by_url", "leaves_by_url_copy", "leaves_by_picture", "leaves_by_picture_copy"
    }  # fmt: skip
    gone = {(f.url, f.text): "opted_out_request" for f in fates if f.expected == REMOVED}
    assert len(gone) == 10 + 3 + 3
    assert compare(fates, before | gone).ok
    asked = compare(fates, before | gone, dict.fromkeys([url for url, _ in gone], 1))
    assert len(asked.violations) == len(gone)


def fate(url: str, kind: str = "matched", expected: frozenset[str | None] = JUDGED, copy_of: str | None = None) -> Fate:
    return Fate(url, "owl", kind, expected, copy_of=copy_of, max_requests=1)


def outcomes(**reasons: str | None) -> Outcomes:
    return {(url, "owl"): reason for url, reason in reasons.items()}


def test_another_outcome_than_the_fate_is_a_violation_and_a_missing_row_is_one() -> None:
    fates = [fate("a", "http_4xx", frozenset({"http_4xx"})), fate("b"), fate("c")]
    verdict = compare(fates, outcomes(a=None, b="dns"))
    assert [(v.fate.url, v.outcome) for v in verdict.violations] == [("a", "kept"), ("b", "dns"), ("c", ABSENT)]
    assert "a ('owl'): kept, not http_4xx" in describe(verdict.violations)


def test_a_row_refused_before_it_had_a_text_is_found_by_its_url() -> None:
    assert compare([fate("a", "noai_page", frozenset({"opted_out"}))], {("a", ""): "opted_out"}).ok


def test_asking_for_what_was_refused_is_a_violation_though_the_outcome_is_right() -> None:
    refused = Fate("a", "owl", "robots", frozenset({"robots_disallow"}), max_requests=0)
    assert compare([refused], outcomes(a="robots_disallow"), {"b": 3}).ok
    verdict = compare([refused], outcomes(a="robots_disallow"), {"a": 1})
    assert [v.outcome for v in verdict.violations] == ["asked for 1 times"]


@pytest.mark.parametrize(
    ("reasons", "recall", "precision"),
    [
        ({"a": None, "b": "duplicate_of", "c": "duplicate_of", "x": None}, (2, 2), (2, 2)),
        ({"a": "duplicate_of", "b": None, "c": "duplicate_of", "x": None}, (2, 2), (2, 2)),
        ({"a": None, "b": None, "c": "duplicate_of", "x": None}, (1, 2), (1, 1)),
        ({"a": None, "b": None, "c": None, "x": "duplicate_of"}, (0, 2), (0, 1)),
        ({"a": "clip_low", "b": None, "c": "duplicate_of", "x": None}, (1, 1), (1, 1)),
        ({"a": "duplicate_of", "b": "duplicate_of", "c": "duplicate_of", "x": None}, (2, 2), (2, 3)),
    ],
)
def test_recall_and_precision_of_copies_count_groups_whichever_member_stays(
    reasons: dict[str, str | None], recall: tuple[int, int], precision: tuple[int, int]
) -> None:
    fates = [fate("a"), fate("b", "copy_exact", copy_of="a"), fate("c", "copy_cropped", copy_of="a"), fate("x")]
    verdict = compare(fates, outcomes(**reasons))
    assert (verdict.recall.hits, verdict.recall.total) == recall
    assert (verdict.precision.hits, verdict.precision.total) == precision

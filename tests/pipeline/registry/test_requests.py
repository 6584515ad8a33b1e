"""The table of states: each legal move is made, each other one is refused with what is possible."""

import pytest

from pipeline.errors import InputError
from pipeline.registry.registry import Registry
from pipeline.registry.requests import MOVES, OPEN, REFUSALS

# optout.md §8 and issue 3: received → identified → (proposed → confirmed) → tombstoned → erased → closed; withdrawn, refused.
WAYS = {
    "received": [],
    "identified": ["identified"],
    "proposed": ["identified", "proposed"],
    "confirmed": ["identified", "proposed", "confirmed"],
    "tombstoned": ["identified", "tombstoned"],
    "erased": ["identified", "tombstoned", "erased"],
    "closed": ["identified", "tombstoned", "erased", "closed"],
    "withdrawn": ["withdrawn"],
    "refused": ["refused"],
}
LEGAL = {
    ("received", "identified"), ("identified", "proposed"), ("identified", "tombstoned"), ("proposed", "confirmed"),
    ("confirmed", "proposed"), ("confirmed", "tombstoned"), ("tombstoned", "erased"), ("erased", "closed"),
    *((state, "refused") for state in ("received", "identified", "proposed", "confirmed")),
    *((state, "withdrawn") for state in ("received", "identified", "proposed", "confirmed", "tombstoned", "erased", "closed")),
}  # fmt: skip


def bring(registry: Registry, state: str) -> str:
    request = registry.add("url", f"https://a.example/{state}-{len(list(registry.requests()))}.jpg")
    for step in WAYS[state]:
        registry.advance(request.id, step, reason="excessive" if step == "refused" else None)
    assert registry.get(request.id).state == state
    return request.id


def test_every_move_of_the_table_is_legal_and_every_other_is_refused_with_what_is_possible(registry: Registry) -> None:
    assert set(MOVES) == set(WAYS)
    assert {(old, new) for old, news in MOVES.items() for new in news} == LEGAL
    for old in WAYS:
        for new in WAYS:
            id_ = bring(registry, old)
            reason = "not_in_scope" if new == "refused" else None
            if old == new:  # a command repeated after a kill
                registry.advance(id_, new, reason=reason)
                continue
            if (old, new) in LEGAL:
                registry.advance(id_, new, reason=reason)
                assert registry.get(id_).state == new
                continue
            possible = ", ".join(MOVES[old]) or "nothing more"
            with pytest.raises(InputError, match=f"is {old}: it cannot become {new}; possible: {possible}"):
                registry.advance(id_, new, reason=reason)
            assert registry.get(id_).state == old


def test_a_step_is_kept_once_with_its_time_and_its_log_entry(either: Registry) -> None:
    request = either.add("url", "https://a.example/1.jpg")
    for state in ("identified", "identified", "tombstoned", "erased", "closed"):
        either.advance(request.id, state, body={"rows": 3} if state == "erased" else None)
    steps = either.get(request.id).transitions
    assert [state for state, _, _ in steps] == ["received", "identified", "tombstoned", "erased", "closed"]
    assert [leaf for _, _, leaf in steps] == [0, 1, 2, 3, 4]
    assert all(utc.endswith("Z") for _, utc, _ in steps)
    assert '"rows":3' in dict(either.entries_of(request.id))[3]


def test_a_refusal_needs_one_of_the_known_reasons(registry: Registry) -> None:
    request = registry.add("text", "Jane Doe")
    for reason in (None, "too much work"):
        with pytest.raises(InputError, match=r"needs its reason \(GDPR art\. 12\(4\)\): one of not_identifiable, "):
            registry.advance(request.id, "refused", reason=reason)
    assert registry.get(request.id).state == "received"
    registry.advance(request.id, "refused", reason=REFUSALS[0])
    assert registry.get(request.id).reason == "not_identifiable"


def test_open_states_are_those_that_end_and_have_not_ended() -> None:
    assert set(OPEN) == set(MOVES) - {"closed", "withdrawn", "refused"}


def test_an_unknown_request_says_where_to_look(registry: Registry) -> None:
    with pytest.raises(InputError, match=r"no request r-none in this registry; `tamis optout list` shows them"):
        registry.advance("r-none", "identified")

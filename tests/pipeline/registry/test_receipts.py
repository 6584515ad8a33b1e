"""A receipt is checked with nothing but itself; whatever is changed in it, or in the log after it, shows."""

import copy
import json
from typing import Any

import pytest

from pipeline.errors import FormatError, InputError, InvariantError
from pipeline.registry import receipts
from pipeline.registry.registry import Registry

URL = "https://www.Artist.example/a%7Eb.jpg"


@pytest.fixture
def held(either: Registry) -> dict[str, Any]:
    """The receipt of a request that was carried out, among others, as it comes from a file."""
    for number in range(5):
        either.add("url", f"https://other.example/{number}.jpg")
    request = either.add("url", URL, contact="jane@mail.example")
    for state in ("identified", "tombstoned", "erased"):
        either.advance(request.id, state, body={"rows": 2} if state == "erased" else None)
        either.append("test", {})
    either.extend(request.id)
    found: dict[str, Any] = json.loads(json.dumps(receipts.receipt(either, request.id)))
    return found


def test_a_receipt_shows_each_step_and_what_was_asked(held: dict[str, Any]) -> None:
    shown = receipts.check(held, URL)
    assert "is signed by the key in the receipt" in shown[0]
    assert [line.split(":")[1].split()[0] for line in shown[1:-1]] == [
        "received", "identified", "tombstoned", "erased", "extended",
    ]  # fmt: skip
    assert shown[-1] == "what was asked is that url"
    assert (
        receipts.check(held, "http://artist.example/a~b.jpg")[-1] == "what was asked is that url"
    )  # the same resource
    assert "is signed by the key you gave" in receipts.check(held, public_key=held["public_key"])[0]


def test_a_receipt_holds_nothing_personal(held: dict[str, Any]) -> None:
    text = json.dumps(held)
    assert "rtist" not in text
    assert "jane" not in text


def test_another_value_or_another_key_is_refused(held: dict[str, Any]) -> None:
    for value in ("https://artist.example/a~c.jpg", "no url"):
        with pytest.raises(InvariantError, match="the log speaks of something else than that value"):
            receipts.check(held, value)
    with pytest.raises(InvariantError, match="no signature by this key"):
        receipts.check(held, public_key="A" * 43 + "=")


def _changes(held: dict[str, Any]) -> dict[str, Any]:
    """Return what someone might change, by a name."""
    second = held["entries"][1]
    flipped = f"{int(second['proof'][0][0], 16) ^ 1:x}{second['proof'][0][1:]}"
    other = json.loads(held["entries"][0]["entry"])
    return {
        "kind": {"kind": "domain"},
        "state": {"state": "closed"},
        "received_utc": {"received_utc": "2020-01-01T00:00:00Z"},
        "due_utc": {"due_utc": "2099-01-01T00:00:00Z"},
        "request": {"request": "r-other"},
        "checkpoint": {"checkpoint": held["checkpoint"].replace("\n1", "\n2")},
        "entry": {"entries": [{**held["entries"][0], "entry": json.dumps({**other, "kind": "host"})}]},
        "leaf": {"entries": [{**held["entries"][0], "leaf": held["entries"][0]["leaf"] + 1}]},
        "proof": {"entries": [{**second, "proof": [flipped, *second["proof"][1:]]}]},
        "form of an entry": {"entries": [{**held["entries"][0], "entry": "[]"}]},
        "fewer entries": {"entries": held["entries"][:-1]},
        "no entries": {"entries": []},
    }  # fmt: skip


def test_every_change_to_a_receipt_shows(held: dict[str, Any]) -> None:
    for name, change in _changes(held).items():
        assert not holds({**held, **change}), f"a changed {name} was not found"


def holds(held: dict[str, Any]) -> bool:
    try:
        receipts.check(held)
    except InvariantError:
        return False
    return True


def test_what_is_no_receipt_is_said_so(held: dict[str, Any]) -> None:
    wrong: list[Any] = [{}, [], "receipt", 3, {**held, "format": "x"}, {**held, "entries": 3}, {**held, "entries": ["x"]},
                        {**held, "public_key": "!"}, {**held, "checkpoint": None}]  # fmt: skip
    for one in wrong:
        with pytest.raises(FormatError, match="not a receipt"):
            receipts.check(one)
    for name in held:
        part = copy.deepcopy(held)
        del part[name]
        with pytest.raises(FormatError, match=f"not a receipt: KeyError\\('{name}'\\)"):
            receipts.check(part, URL)


def test_a_receipt_made_after_the_person_was_forgotten_says_so_and_an_earlier_one_still_opens(
    either: Registry, held: dict[str, Any]
) -> None:
    either.advance(held["request"], "closed")
    either.shred(held["request"])
    late = receipts.receipt(either, held["request"])
    assert late["opening"] is None
    assert any("forgotten" in line for line in receipts.check(late))
    with pytest.raises(InvariantError, match="made after the person was forgotten"):
        receipts.check(late, URL)
    assert receipts.check(held, URL)[-1] == "what was asked is that url"


def test_a_later_head_must_have_grown_out_of_the_receipts(either: Registry, held: dict[str, Any]) -> None:
    size = int(held["checkpoint"].splitlines()[1])
    for _ in range(9):
        either.append("test", {})
    later = receipts.checkpoint(either, since=size)
    assert (
        receipts.check(held, later=later)[-1] == f"the log of {size + 9} entries begins with the {size} of the receipt"
    )
    assert receipts.check(held, later=receipts.checkpoint(either, since=size))
    with pytest.raises(InvariantError, match=f"proof begins at 3 entries; ask for one since {size}"):
        receipts.check(held, later=receipts.checkpoint(either, since=3))
    with pytest.raises(InvariantError, match="the log was rewritten"):
        receipts.check(held, later={**later, "consistency": [*later["consistency"][:-1], "00" * 32]})
    with pytest.raises(FormatError, match="not a head of a kind that is known"):
        receipts.check(held, later={**later, "format": "x"})
    with pytest.raises(InputError, match="no proof since 99 entries: the log has"):
        receipts.checkpoint(either, since=99)


def test_a_head_of_another_log_is_not_this_ones(either: Registry, held: dict[str, Any], tmp_path: Any) -> None:
    from pipeline.store import Store

    other = Registry.open(Store.open_url(str(tmp_path / "other")))
    other.append("test", {})
    with pytest.raises(InvariantError, match="no signature by this key"):
        receipts.check(held, later=receipts.checkpoint(other, since=1))


def test_a_picture_is_opened_by_the_sha256_of_its_file(registry: Registry) -> None:
    sha256 = "ab" * 32
    request = registry.add("picture", {"sha256": sha256, "md5": "cd" * 16, "pdq": "ef" * 32, "pdq_quality": "90"})
    found = receipts.receipt(registry, request.id)
    assert receipts.check(found, sha256.upper())[-1] == "what was asked is that picture"
    with pytest.raises(InvariantError, match="something else"):
        receipts.check(found, "ac" * 32)

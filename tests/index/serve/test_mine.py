"""Somebody asks whether they are in a data set, files a request and follows it; strangers can do no harm with either."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from index.serve.settings import Settings
from pipeline import held
from pipeline.snapshot import latest
from pipeline.store import Store
from pipeline.tombstones import read
from tests.office import DOMAIN, Desk, desk, kept
from tests.serving import wait
from tests.tiny import tamis

_AT_ONCE = round(Settings().filed_per_hour)
CONTACT = "curator-of-drawings@mail.example"


@pytest.fixture
def office(museum: Path, tmp_path: Path) -> Iterator[Desk]:
    """A server whose data set nobody else uses."""
    with desk(museum, tmp_path) as running:
        yield running


def test_an_address_and_a_site_are_confirmed_with_rows_and_pictures(office: Desk) -> None:
    row = kept(office.folder)[0]
    told = office.mine(url=row["url"].replace("https://www.", "http://"))
    assert (told["found"], told["counts"]["rows"]) == ("yes", 1)
    (shown,) = told["rows"]
    assert (shown["uid"], shown["caption"], shown["in_snapshots"]) == (row["key"], row["caption"], ["000001"])
    assert office.client.get(shown["picture"]).headers["content-type"] == "image/jpeg"
    site = office.mine(domain=f"*.{DOMAIN}")
    with_picture = [one for one in site["rows"] if one["picture"]]
    assert len(with_picture) == len(kept(office.folder))
    assert site["counts"]["rows"] > len(with_picture)  # rows that were judged and left out are known all the same
    assert any("clip_low" in one["left_out"] for one in site["rows"])
    assert (office.folder / "private").exists() is False  # to ask leaves nothing behind


def test_a_no_says_what_was_searched(office: Desk) -> None:
    told = office.mine(domain="elsewhere.example")
    assert (told["found"], told["rows"], told["scope"]["recall"]) == ("no", [], 1.0)
    assert told["scope"]["rows"] > 200


@pytest.mark.parametrize(
    ("named", "status", "says"),
    [
        ({}, 400, "name exactly one thing"),
        ({"url": "https://a.example/", "domain": "a.example"}, 400, "name exactly one thing"),
        ({"url": "not an address"}, 400, "is no url"),
        ({"domain": "me@a.example"}, 400, "is no domain"),
        ({"image": "%%%"}, 400, "the picture is not base64"),
        ({"image": "aGVsbG8="}, 400, "not a picture that can be read"),
        ({"image": "iVBORw0KGgoAAAANSUhEUgAA/////////wgGAAAA"}, 400, "not a picture that can be read"),
        ({"uid": "../../private"}, 422, "uid"),
        ({"text": "x" * 301}, 422, "text"),
        ({"path": "/etc/passwd"}, 422, "path"),
    ],
)
def test_what_cannot_be_looked_for_is_refused_in_words(
    refusing: Desk, named: dict[str, str], status: int, says: str
) -> None:
    for where in ("mine", "requests"):
        answer = refusing.client.post(f"/api/v1/datasets/museum/{where}", json=named)
        assert answer.status_code == status, answer.text
        assert says in answer.json()["error"]
    assert (refusing.folder / "private" / "registry.sqlite").exists() is False or not list(refusing.registry.requests())


@pytest.fixture(scope="module")
def refusing(museum: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A server for requests that are all refused."""
    with desk(museum, tmp_path_factory.mktemp("refusing"), filed_per_hour=0, asked_per_minute=0) as running:
        yield running


def test_a_picture_that_is_too_large_is_not_read_to_its_end(office: Desk) -> None:
    answer = office.client.post("/api/v1/datasets/museum/mine", json={"image": "A" * 13_000_000})
    assert answer.status_code == 413


def test_a_request_waits_and_its_link_and_receipt_tell_of_it(office: Desk, tmp_path: Path) -> None:
    filed = office.file(domain=DOMAIN, contact=CONTACT, reason="we never agreed", category="tdm")
    assert filed["state"] == "identified"
    told = office.followed(filed)
    assert told.headers["cache-control"] == "no-store"
    facts = told.json()
    assert (facts["id"], facts["title"], facts["open"], facts["rows"]) == (
        filed["id"], "waiting for the desk", True, None,
    )  # fmt: skip
    assert [step["state"] for step in facts["history"]] == ["received", "identified"]
    assert DOMAIN not in told.text
    assert CONTACT not in told.text
    row = kept(office.folder)[0]
    assert office.found(row["key"])
    assert office.mine(domain=DOMAIN)["found"] == "yes"
    receipt = tmp_path / "receipt.json"
    receipt.write_text(json.dumps(filed["receipt"]))
    said = tamis("optout", "check-receipt", receipt, "--value", DOMAIN).stdout
    assert "what was asked is that domain" in said
    later = office.client.get(f"/api/v1/datasets/museum/requests/{filed['link'].rsplit('/', 1)[1]}/receipt")
    assert later.json()["state"] == "identified"
    assert office.client.get(later.request.url.path.replace("receipt", "report")).status_code == 404


def test_a_wrong_link_says_the_same_as_one_that_never_was(office: Desk) -> None:
    secret = "A" * 27
    before = office.client.get(f"/api/v1/datasets/museum/requests/{secret}")  # there is no registry yet
    filed = office.file(domain=DOMAIN)
    wrong = office.client.get(f"/api/v1/datasets/museum/requests/{secret}")
    by_id = office.client.get(f"/api/v1/datasets/museum/requests/{filed['id']}")
    elsewhere = office.followed(filed, "other")
    assert {answer.status_code for answer in (before, wrong, by_id, elsewhere)} == {404}
    assert len({answer.text for answer in (before, wrong, by_id, elsewhere)}) == 1


def test_nothing_of_the_person_is_in_clear_on_disk(office: Desk) -> None:
    filed = office.file(url=f"https://{DOMAIN}/portrait-of-jane.jpg", contact=CONTACT, reason="Jane Roe, born 1970")
    secret = filed["link"].rsplit("/", 1)[1]
    files = [path for path in office.folder.rglob("*") if path.is_file() and "private" in path.parts]
    assert any(path.name.startswith("registry.sqlite") for path in files)
    told = b"".join(path.read_bytes() for path in files)
    for clear in (CONTACT, "portrait-of-jane", "Jane Roe", secret):
        assert clear.encode() not in told
    assert secret not in "".join(office.server.log)


def test_the_same_words_twice_are_two_requests_that_know_nothing_of_each_other(office: Desk) -> None:
    one, other = office.file(domain=DOMAIN, contact=CONTACT), office.file(domain=DOMAIN, contact=CONTACT)
    assert one["id"] != other["id"]
    assert one["link"] != other["link"]
    assert one["id"] not in json.dumps(other)
    assert office.followed(other).json()["id"] == other["id"]


def test_a_second_try_of_a_request_is_answered_for_the_same_request(office: Desk) -> None:
    def filed(key: str | None, **body: Any) -> dict[str, Any]:
        headers = {} if key is None else {"Idempotency-Key": key}
        answer = office.client.post("/api/v1/datasets/museum/requests", json=body, headers=headers)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    key, body = "a" * 40, {"domain": DOMAIN, "contact": CONTACT}
    with ThreadPoolExecutor(4) as pool:
        tries = list(pool.map(lambda _: filed(key, **body), range(4)))
    assert len({(one["id"], one["link"]) for one in tries}) == 1
    assert office.followed(tries[0]).json()["id"] == tries[0]["id"]
    others = [filed("b" * 40, **body), filed(key, domain="other.example", contact=CONTACT), filed(None, **body)]
    assert len({one["id"] for one in (tries[0], *others)}) == len({one["link"] for one in (tries[0], *others)}) == 4
    assert len(list(office.registry.requests())) == 4
    short = office.client.post("/api/v1/datasets/museum/requests", json=body, headers={"Idempotency-Key": "1"})
    assert short.status_code == 422  # a link of it could be guessed


def test_what_is_hidden_is_unknown_to_whoever_asks_also_to_the_one_who_had_it_hidden(office: Desk) -> None:
    first, second = kept(office.folder)[:2]
    filed = office.file(url=first["url"])
    held.accept(Store.open_url(str(office.folder)), office.registry, filed["id"])
    wait(lambda: not office.found(first["key"]))
    assert office.mine(url=first["url"])["found"] == "no"
    site = office.mine(domain=DOMAIN)
    assert first["key"] not in json.dumps(site)
    assert second["key"] in {row["uid"] for row in site["rows"]}
    assert office.mine(uid=first["key"])["counts"] == {"rows": 0, "copies": 0, "refused": 0, "look_alikes": 0}


def test_a_question_is_followed_like_a_request_and_hides_nothing(office: Desk) -> None:
    filed = office.file(domain=DOMAIN, wants="answer", contact=CONTACT)
    told = office.followed(filed).json()
    assert (told["asks"], told["title"], told["answer"]) == (True, "waiting for an answer", None)
    held.answer(Store.open_url(str(office.folder)), office.registry, filed["id"])
    told = office.followed(filed).json()
    assert (told["state"], told["title"], told["answer"]["found"]) == ("closed", "answered", "yes")
    assert len(read(Store.open_url(str(office.folder))).uids()) == 0


def test_a_stranger_cannot_empty_a_data_set(office: Desk) -> None:
    store = Store.open_url(str(office.folder))
    snapshot = latest(store)
    assert snapshot is not None
    for named in ({"domain": "example"}, {"host": "example"}, {"text": "a"}, {"url_prefix": "https://"}):
        answer = office.client.post("/api/v1/datasets/museum/requests", json=named)
        assert answer.status_code in (201, 400)
    for domain in {row["domain"] for row in kept(office.folder)}:
        office.file(domain=domain)
    assert len(read(store).uids()) == 0
    assert office.client.get("/api/v1/datasets").json()[0]["rows"] == snapshot.rows


def test_whoever_floods_the_desk_is_asked_to_wait(office: Desk) -> None:
    answers = [
        office.client.post("/api/v1/datasets/museum/requests", json={"domain": f"site{n}.example"})
        for n in range(_AT_ONCE + 2)
    ]
    assert [answer.status_code for answer in answers] == [201] * _AT_ONCE + [429] * 2
    assert 100 < int(answers[-1].headers["retry-after"]) < 3600
    assert office.mine(domain=DOMAIN)["found"] == "yes"  # to ask is still possible


def test_with_trusted_requests_they_act_at_once(museum: Path, tmp_path: Path) -> None:
    with desk(museum, tmp_path, trust_requests=True) as office:
        row = kept(office.folder)[0]
        filed = office.file(url=row["url"])
        assert filed["state"] == "tombstoned"
        wait(lambda: not office.found(row["key"]))
        assert office.followed(filed).json()["title"] == "hidden"

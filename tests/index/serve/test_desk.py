"""An officer works at the desk: who gets in, what a move does, and what happens when two do it at once."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import HTTPException

from index.serve.app import create_app
from index.serve.catalogue import Catalogue
from index.serve.jobs import Job, Jobs
from index.serve.office import Office
from index.serve.sessions import COOKIE, IDLE_S, WHOLE_S, Sessions
from index.serve.settings import Settings
from pipeline.errors import DatasetBusy, InputError
from pipeline.lock import hold
from pipeline.registry.requests import Match
from pipeline.store import Store
from tests.office import DOMAIN, TOKEN, Desk, desk, kept
from tests.serving import running, wait

CONTACT = "them@mail.example"
WRITES = ("accept", "confirm", "reject", "answer", "refuse", "extend", "withdraw")


@pytest.fixture
def office(museum: Path, tmp_path: Path) -> Iterator[Desk]:
    """A server whose data set nobody else uses, with nobody signed in."""
    with desk(museum, tmp_path) as found:
        yield found


def test_without_a_token_there_is_no_desk(museum: Path) -> None:
    with running(museum) as server:
        for where in ("/desk", "/api/v1/desk/session", "/api/v1/desk/museum/requests", "/api/v1/desk/museum/job"):
            assert server.client.get(where).status_code == 404
        for where in ("session", "museum/apply", "museum/requests/r-1/accept"):
            assert server.client.post(f"/api/v1/desk/{where}", json={"token": ""}).status_code == 404


def test_nobody_gets_in_without_the_token_and_no_write_without_the_second_secret(office: Desk) -> None:
    filed = office.file(domain=DOMAIN)
    reads = ("requests", f"requests/{filed['id']}", f"requests/{filed['id']}/receipt", "job", "notices")
    writes = [*(f"requests/{filed['id']}/{move}" for move in WRITES), "apply", "verify", "notices"]
    for where in reads:
        office.get(where, 401)
    for where in writes:
        office.post(where, status=401)
    wrong = office.client.post("/api/v1/desk/session", json={"token": TOKEN[:-1]})
    assert (wrong.status_code, "set-cookie" in wrong.headers) == (401, False)
    office.sign_in()
    right = office.client.headers["X-CSRF-Token"]
    for sent in ("", "x", right[:-1], right.swapcase()):
        office.client.headers["X-CSRF-Token"] = sent
        for where in writes:
            office.post(where, {"reason": "excessive"} if where.endswith("refuse") else {}, 403)
    assert office.registry.get(filed["id"]).state == "identified"
    office.client.headers["X-CSRF-Token"] = right
    assert office.client.post("/api/v1/desk/session/end").json() == {"signed_in": False}
    office.get("requests", 401)


def test_the_cookie_is_for_this_site_and_for_no_script(office: Desk) -> None:
    answer = office.client.post("/api/v1/desk/session", json={"token": TOKEN})
    told = answer.headers["set-cookie"]
    assert told.startswith(f"{COOKIE}=")
    for part in ("HttpOnly", "SameSite=strict", "Path=/api/v1/desk", f"Max-Age={WHOLE_S}"):
        assert part in told
    assert "Secure" not in told
    https = office.client.post("/api/v1/desk/session", json={"token": TOKEN}, headers={"X-Forwarded-Proto": "https"})
    assert "Secure" in https.headers["set-cookie"]
    assert TOKEN not in "".join(office.server.log)


def test_a_session_ends_after_idling_and_after_a_day_and_guessing_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("index.serve.sessions._SLOW_S", 0.0)
    sessions = Sessions(TOKEN, lambda: now[0])
    cookie, made = asyncio.run(sessions.sign_in(TOKEN))
    request: Any = SimpleNamespace(cookies={COOKIE: cookie}, headers={})
    assert sessions.of(request) is made
    for _ in range(WHOLE_S // (IDLE_S - 1)):
        now[0] += IDLE_S - 1
        assert sessions.known(request) is made
    now[0] += IDLE_S - 1
    assert sessions.known(request) is None
    cookie, _ = asyncio.run(sessions.sign_in(TOKEN))
    request.cookies[COOKIE] = cookie
    now[0] += IDLE_S
    assert sessions.known(request) is None
    statuses = []
    for _ in range(12):
        with pytest.raises(HTTPException) as error:
            asyncio.run(sessions.sign_in("a guess"))
        statuses.append(error.value.status_code)
    assert statuses == [401] * 10 + [429] * 2
    asyncio.run(sessions.sign_in(TOKEN))  # nobody can lock the office out


def test_a_request_is_shown_whole_accepted_erased_proved_and_forgotten(office: Desk) -> None:
    row = kept(office.folder)[0]
    filed = office.file(url=row["url"], contact=CONTACT, reason="not agreed")
    office.sign_in()
    queue = office.get("requests?state=waiting")
    assert [one["id"] for one in queue["requests"]] == [filed["id"]]
    assert (queue["counts"]["waiting"], queue["hidden_not_erased"]) == (1, 0)
    shown = office.get(f"requests/{filed['id']}")
    assert shown["told"] == {"value": row["url"], "contact": CONTACT, "note": "not agreed", "picture": None}
    (meant,) = [one for one in shown["rows"] if one["uid"] == row["key"]]
    assert (meant["how"], meant["text"], meant["hidden"]) == ("url", row["caption"], False)
    assert office.client.get(meant["picture"]).headers["content-type"] == "image/jpeg"
    assert office.found(row["key"])
    now = office.post(f"requests/{filed['id']}/accept")
    assert (now["state"], office.post(f"requests/{filed['id']}/accept")["state"]) == ("tombstoned", "tombstoned")
    wait(lambda: not office.found(row["key"]), longest_s=5)
    assert office.client.get(meant["picture"]).status_code == 200  # hidden from all but the officer
    office.post("apply", status=202)
    done = office.job()
    assert (done["state"], done["outcome"]["samples"]) == ("done", len(shown["rows"]))
    assert office.followed(filed).json()["title"] == "erased"
    assert office.client.get(meant["picture"]).status_code == 404
    office.post("verify", status=202)
    done = office.job()
    assert (done["state"], done["outcome"]["closed"], done["outcome"]["left"]) == ("done", [filed["id"]], [])
    told = office.followed(filed).json()
    assert (told["state"], told["has_report"], told["rows"]) == ("closed", True, len(shown["rows"]))
    after = office.get(f"requests/{filed['id']}")
    assert (after["told"], [one["url"] for one in after["rows"]]) == (None, [None] * len(shown["rows"]))
    report = office.client.get(f"/api/v1/datasets/museum/requests/{filed['link'].rsplit('/', 1)[1]}/report").json()
    assert report["report"]["searched"]["findings"] == 0
    assert office.registry.check_log() == []
    office.get(f"requests/{filed['id']}/receipt")


def test_look_alikes_are_confirmed_and_rejected_one_by_one_or_all(office: Desk) -> None:
    filed = office.file(url=kept(office.folder)[0]["url"])
    others = kept(office.folder, "pictures.example")[:4]
    part = office.registry.matches(filed["id"])[0].part
    uids = [bytes.fromhex(row["key"]) for row in others]
    office.registry.add_matches(
        filed["id"], [Match(uid, part, "neighbour", 0.8 + n / 100, "proposed") for n, uid in enumerate(uids)]
    )
    office.sign_in()
    shown = office.get(f"requests/{filed['id']}")
    assert [one["uid"] for one in shown["look_alikes"]] == [uid.hex() for uid in reversed(uids)]  # nearest first
    where = f"requests/{filed['id']}"
    office.post(f"{where}/confirm", {"uids": [uids[0].hex()]})
    assert office.registry.get(filed["id"]).state == "proposed"
    wait(lambda: not office.found(uids[0].hex()))
    office.post(f"{where}/reject", {"uids": [uids[1].hex()]})
    assert "is not among its open proposals" in office.post(f"{where}/confirm", {"uids": ["0" * 32]}, 400)["error"]
    assert office.post(f"{where}/reject", {"all": True})["state"] == "tombstoned"
    assert office.post(f"{where}/reject", {"all": True})["state"] == "tombstoned"  # again is fine
    assert [office.found(uid.hex()) for uid in uids] == [False, True, True, True]


def test_a_request_is_refused_extended_and_withdrawn_once(office: Desk) -> None:
    refused, extended, back = (office.file(url=row["url"]) for row in kept(office.folder)[:3])
    office.sign_in()
    office.post(f"requests/{refused['id']}/refuse", {"reason": "no time"}, 422)
    for _ in range(2):
        assert office.post(f"requests/{refused['id']}/refuse", {"reason": "not_in_scope"})["state"] == "refused"
    told = office.followed(refused).json()
    assert told["reason"] == "what was named is not in this data set, or not something the law covers"
    assert "complain" in told["next"]
    office.post(f"requests/{refused['id']}/accept")
    assert office.registry.get(refused["id"]).state == "refused"
    due = [office.post(f"requests/{extended['id']}/extend")["due_utc"] for _ in range(2)]
    assert due[0] == due[1] == office.followed(extended).json()["due_utc"] > extended["due_utc"]
    uid = kept(office.folder)[2]["key"]
    office.post(f"requests/{back['id']}/accept")
    wait(lambda: not office.found(uid))
    office.post(f"requests/{back['id']}/withdraw")
    wait(lambda: office.found(uid))
    assert office.get("requests?state=all")["counts"]["withdrawn"] == 1


def test_a_question_is_answered_and_the_person_forgotten(office: Desk) -> None:
    filed = office.file(domain=DOMAIN, wants="answer", contact=CONTACT)
    office.sign_in()
    assert office.get(f"requests/{filed['id']}")["can"] == ["answer", "refuse", "withdraw", "extend"]
    assert "only asks" in office.post(f"requests/{filed['id']}/accept", status=400)["error"]
    told = office.post(f"requests/{filed['id']}/answer")
    assert (told["said"]["found"], told["state"], told["told"]) == ("yes", "closed", None)
    assert office.followed(filed).json()["answer"] == told["said"]


def test_another_data_sets_request_is_not_here(office: Desk) -> None:
    filed = office.file(domain=DOMAIN)
    office.sign_in()
    where = f"/api/v1/desk/other/requests/{filed['id']}"
    assert office.client.get(where).status_code == 404
    assert office.client.get(f"{where}/receipt").status_code == 404
    for move in WRITES:
        body = {"reason": "excessive"} if move == "refuse" else {}
        assert office.client.post(f"{where}/{move}", json=body).status_code == 404
    assert office.client.post("/api/v1/desk/other/verify", json={"request": filed["id"]}).status_code == 404
    uid = office.registry.matches(filed["id"])[0].uid.hex()
    stranger = kept(office.folder, "pictures.example")[0]["key"]
    assert office.client.get(f"/api/v1/desk/museum/requests/{filed['id']}/pictures/{uid}").status_code in (200, 404)
    assert office.client.get(f"/api/v1/desk/museum/requests/{filed['id']}/pictures/{stranger}").status_code == 404
    assert office.client.get("/api/v1/desk/museum/notices/../private").status_code == 404
    assert office.client.get("/api/v1/desk/museum/notices/c-1/%2e%2e%2fprivate").status_code == 404


def test_while_a_run_holds_the_data_set_the_officer_is_told_kindly(office: Desk) -> None:
    filed = office.file(url=kept(office.folder)[0]["url"])
    office.sign_in()
    with hold(Store.open_url(str(office.folder))):
        assert office.post(f"requests/{filed['id']}/accept")["state"] == "tombstoned"  # hiding never waits
        assert "another run holds this data set" in office.post(f"requests/{filed['id']}/withdraw", status=409)["error"]
        office.post("apply", status=202)
        done = office.job()
        assert (done["state"], "another run holds this data set" in done["error"]) == ("failed", True)
    office.post("apply", status=202)
    assert office.job()["state"] == "done"


def test_two_officers_who_press_the_same_button_start_one_job() -> None:
    jobs = Jobs()
    go: list[bool] = []

    def work(note: Any) -> dict[str, Any]:
        note("erase", 1, 2)
        wait(lambda: go)
        return {"samples": 3}

    first = jobs.start("museum", "erase", work)
    assert jobs.start("museum", "erase", work) is first
    with pytest.raises(DatasetBusy, match="somebody has begun to erase on this data set"):
        jobs.start("museum", "verify", work)
    wait(lambda: first.total == 2)
    go.append(True)
    jobs.wait()
    assert (first.state, first.outcome, jobs.newest("museum"), jobs.newest("other")) == (
        "done",
        {"samples": 3},
        first,
        None,
    )


@pytest.mark.parametrize(
    ("error", "says"),
    [(InputError("told plainly"), "told plainly"), (ZeroDivisionError("/secret"), "the program failed")],
)
def test_a_job_that_fails_says_why_and_no_more(error: Exception, says: str) -> None:
    def work(_: Any) -> dict[str, Any]:
        raise error

    jobs = Jobs()
    job: Job = jobs.start("museum", "verify", work)
    jobs.wait()
    assert job.state == "failed"
    assert says in str(job.error)
    assert "/secret" not in str(job.error)


def test_a_server_that_ends_waits_for_what_the_desk_began(museum: Path) -> None:
    began, ended = threading.Event(), threading.Event()

    def work(_: Any) -> dict[str, Any]:
        began.set()
        ended.wait(10)
        return {"erased": 1}

    async def live() -> Job:
        app = create_app(Catalogue.open([str(museum)]), Settings(warm=False))
        async with app.router.lifespan_context(app):
            office = app.state.office = Office(Sessions(None), Settings())
            job: Job = office.jobs.start("museum", "erase", work)
            assert began.wait(10)
            threading.Timer(0.2, ended.set).start()
        return job

    assert asyncio.run(live()).outcome == {"erased": 1}

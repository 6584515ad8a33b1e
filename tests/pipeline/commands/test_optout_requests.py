"""`tamis optout` as people use it: requests come in, are followed, extended, refused and withdrawn."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.registry.clock import moment
from pipeline.registry.registry import Registry
from pipeline.store import Store
from tests.pictures import jpeg
from tests.tiny import tamis

URL = "https://www.artist.example/holiday/jane.jpg"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A data set before its first ingest: who says no now is not fetched then."""
    return tmp_path / "set"


def said(*args: str | Path, **kwargs: Any) -> Any:
    return json.loads(tamis("optout", *args, "--json", **kwargs).stdout)


def registry(dataset: Path) -> Registry:
    return Registry.open(Store.open_url(str(dataset)))


def test_a_request_is_taken_in_followed_and_withdrawn(dataset: Path, tmp_path: Path) -> None:
    receipt = tmp_path / "papers" / "receipt.json"
    done = tamis("optout", "add", dataset, "--url", URL, "--contact", "jane@mail.example", "--receipt", receipt)
    lines = dict(line.split(None, 1) for line in done.stdout.splitlines())
    id_ = lines["request"]
    assert lines["state"] == "tombstoned: nothing of it is in the data set; later ingests obey it"
    assert done.stderr == f"note: no data set is at {dataset} yet; what is ingested there will obey this\n"
    assert lines["receipt"] == str(receipt)
    assert receipt.exists()
    (listed,) = said("list", dataset)
    assert (listed["id"], listed["kind"], listed["state"]) == (id_, "url", "tombstoned")
    assert "artist" not in json.dumps(listed)
    assert said("list", dataset, "--state", "closed") == []
    shown = said("show", dataset, id_)
    assert [step["state"] for step in shown["transitions"]] == ["received", "identified", "tombstoned"]
    assert "told" not in shown
    assert said("show", dataset, id_, "--secret")["told"]["contact"] == "jane@mail.example"
    gone = tamis("optout", "withdraw", dataset, id_).stdout
    assert gone == f"{id_}: withdrawn; later ingests are free to take what it named\n"
    assert said("show", dataset, id_)["state"] == "withdrawn"
    wrong = tamis("optout", "refuse", dataset, id_, "--reason", "excessive", check=False)
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert wrong.stderr == f"tamis: request {id_} is withdrawn: it cannot become refused; possible: nothing more\n"


def test_the_same_request_again_is_the_same_and_a_value_may_come_from_stdin(dataset: Path) -> None:
    first = said(
        "add", dataset, "--url", "-", "--contact", "-", "--note", "-", input=f"{URL}\njane@mail.example\nplease\n"
    )
    assert (first["kind"], first["state"]) == ("url", "tombstoned")
    assert said("add", dataset, "--url", URL, "--contact", "jane@mail.example")["id"] == first["id"]
    told = {"value": URL, "contact": "jane@mail.example", "note": "please"}
    assert registry(dataset).secret(first["id"]) == told


def test_a_picture_is_known_by_its_hashes_and_kept_nowhere(dataset: Path, tmp_path: Path) -> None:
    picture = tmp_path / "jane.jpg"
    picture.write_bytes(jpeg())
    found = said("add", dataset, "--image", picture, "--category", "gdpr17")
    assert found["options"] == {"category": "gdpr17", "copies": True}
    told = registry(dataset).secret(found["id"])["value"]
    assert {"sha256", "md5", "phash64", "pdq", "pdq_quality", "pdq_turned"} <= set(told)
    data = picture.read_bytes()
    assert not [path for path in dataset.rglob("*") if path.is_file() and data[:200] in path.read_bytes()]
    (tmp_path / "no.png").write_bytes(b"no picture")
    for name, says in (("no.png", "not a picture that can be read"), ("absent.png", "No such file")):
        wrong = tamis("optout", "add", dataset, "--image", tmp_path / name, check=False)
        assert wrong.returncode == 1
        assert says in wrong.stderr


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["add", "SET"], 2, "name exactly one thing"),
        (["add", "SET", "--url", "x.example", "--domain", "x.example"], 2, "name exactly one thing"),
        (["add", "SET", "--md5", "12"], 1, "'12' is no md5; it is written as 32 hex digits"),
        (
            ["add", "SET", "--url", "no address"],
            1,
            "'no address' is no url; it is written as https://example.org/picture.jpg",
        ),
        (["add", "SET", "--url", "x.example", "--distance", "5"], 1, "distance 5 of a url: a radius is of pdq, "),
        (
            ["add", "SET", "--phash", "ab" * 8, "--distance", "40"],
            1,
            "distance 40 of a phash64: a radius is 1 to 15 bits",
        ),
        (["apply", "SET"], 1, "nobody has asked for anything here yet"),
        (["verify", "SET"], 1, "nobody has asked for anything here yet"),
        (["confirm", "SET", "--url", "x.example"], 1, "no data set is here, so nothing can be said of it"),
        (["add", "SET", "--url", "x.example", "--category", "y"], 1, "category 'y': one of train, "),
        (["add", "SET", "--url", "x.example", "--received", "soon"], 1, "'soon' is not a time"),
        (["list", "SET"], 1, "nobody has asked for anything here yet; `tamis optout add` takes a request in"),
        (["list", "SET", "--state", "lost"], 2, "one of received, identified, "),
        (["refuse", "SET", "r-x", "--reason", "no time"], 2, "one of not_identifiable, "),
        (["withdraw", "SET", "r-x"], 1, "nobody has asked for anything here yet"),
        (["extend", "SET", "r-x"], 1, "nobody has asked for anything here yet"),
        (["import", "SET", "none.txt"], 1, "none.txt: No such file"),
        (["add", "SET", "--url", "x.example", "--registry", "mysql://x/y"], 2, "optout.registry: "),
        (["add", "s3://sets/x", "--url", "x.example"], 2, "keeps its requests in a database elsewhere"),
        (["receipt", "SET", "r-x"], 1, "nobody has asked for anything here yet"),
        (["check-receipt", "none.json"], 1, "none.json: No such file"),
    ],
)
def test_mistakes_are_explained(dataset: Path, args: list[str], code: int, says: str, s3_endpoint: str) -> None:
    done = tamis("optout", *(str(dataset) if arg == "SET" else arg for arg in args), check=False)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr


def test_a_mistyped_path_gets_no_registry_from_those_who_only_ask(dataset: Path) -> None:
    for verb in (["list"], ["apply"], ["verify"], ["overdue"], ["confirm", "--url", "x.example"], ["withdraw", "r-x"]):
        assert tamis("optout", verb[0], dataset, *verb[1:], check=False).returncode == 1
    assert not (dataset / "private").exists()


def test_deadlines_are_listed_when_they_pass_and_extended_before(dataset: Path) -> None:
    store = registry(dataset)
    now = store.add("domain", "now.example")
    late = store.add("domain", "late.example", received_utc=moment("2026-01-31"))
    assert [one["id"] for one in said("list", dataset)] == [now.id, late.id]
    done = tamis("optout", "overdue", dataset, "--json", check=False)
    assert done.returncode == 1  # for a daily job
    assert [(one["id"], one["deadline_utc"]) for one in json.loads(done.stdout)] == [(late.id, "2026-02-28T00:00:00Z")]
    shown = tamis("optout", "overdue", dataset, check=False).stdout
    assert late.id in shown
    assert now.id not in shown
    assert "2026-02-28 overdue" in shown
    assert tamis("optout", "overdue", dataset, "--at", "2026-02-28").stdout == "no requests\n"
    refused = tamis("optout", "extend", dataset, late.id, check=False)
    assert refused.returncode == 1
    assert "an extension must be told before that" in refused.stderr
    extended = said("extend", dataset, now.id)
    assert extended["extended_due_utc"] == extended["deadline_utc"] > extended["due_utc"]
    assert said("refuse", dataset, late.id, "--reason", "not_identifiable")["reason"] == "not_identifiable"
    assert said("overdue", dataset) == []


def test_lists_are_imported_once_and_their_bad_lines_shown(dataset: Path, tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("type,value,status\nurl,https://a.example/1.jpg,\nregistrable_domain,b.example,active\nface,x,\n")
    first = tamis("optout", "import", dataset, path, "--source", "partner")
    assert first.stdout.splitlines() == [
        "list.csv: 3 lines, 2 added, 0 known, 0 withdrawn, 1 bad",
        "  line 4: type 'face' is not one that is matched",
    ]
    again = said("import", dataset, path, "--source", "partner")
    assert (again["again"], again["added"], again["bad"]) == (True, 2, 1)
    assert said("import", dataset, path, "--source", "other")["again"] is False
    assert len(registry(dataset).imports()) == 2
    piped = tamis("optout", "import", dataset, "-", "--json", input="c.example\nd.example\n").stdout
    assert (json.loads(piped)["name"], json.loads(piped)["added"]) == ("stdin", 2)


def test_a_server_is_used_where_its_url_is_given_and_asked_for_where_it_is_not(
    dataset: Path, postgres_url: str
) -> None:
    made = said("add", dataset, "--domain", "artist.example", "--registry", postgres_url)
    assert said("show", dataset, made["id"], "--registry", postgres_url)["kind"] == "domain"
    wrong = tamis("optout", "list", dataset, check=False)
    assert wrong.returncode == 2
    assert "this data set has a registry of requests; name postgresql" in wrong.stderr
    assert not (dataset / "private" / "registry.sqlite").exists()

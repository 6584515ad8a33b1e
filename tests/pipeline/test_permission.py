"""robots.txt and tdmrep.json: fetched as RFC 9309 says, applied to every URL, every statement kept."""

import gzip
import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from filters.signal import Signal
from pipeline.permission import (
    MAX_ROBOTS_BYTES,
    MAX_TDMREP_BYTES,
    Gatekeeper,
    OriginPolicy,
    captured_policies,
    fetch_policies,
    policies_table,
    read_policies,
    table_policies,
)
from pipeline.stage import Draft, Outcome, Part, Stage, run
from pipeline.store import Store
from pipeline.trouble import Trouble
from tests.small_site import NOW, OPTIONS, Answer, ask, judged, never, site, status

DENY = b"User-agent: *\nDisallow: /private\n"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (200, "robots_disallow"),
        *((code, None) for code in (204, 400, 401, 403, 404, 410)),
        *((code, "robots_unreachable") for code in (429, 500, 503)),
    ],
)
def test_the_status_of_robots_txt_decides_as_rfc_9309_says(code: int, reason: str | None) -> None:
    with site(status(code, DENY if code != 204 else b"")) as (origin, _):
        policy = ask(origin)
    assert policy.robots_status == code
    assert judged(policy, "/private/x.jpg")[0] == reason
    everything = None if reason == "robots_disallow" else reason
    assert judged(policy, "/public/x.jpg")[0] == everything


@pytest.mark.parametrize(("hops", "reason"), [(1, "robots_disallow"), (5, "robots_disallow"), (6, None)])
def test_five_redirects_are_followed_and_more_count_as_no_file(hops: int, reason: str | None) -> None:
    chain = {f"r{i}": status(301, Location=f"/r{i + 1}") for i in range(1, hops)} | {f"r{hops}": status(200, DENY)}
    with site(status(302, Location="/r1"), **chain) as (origin, asked):
        policy = ask(origin)
    assert judged(policy, "/private/x.jpg")[0] == reason
    assert len([path for path in asked if path.startswith("/r")]) == 1 + min(hops, 5)


def test_rules_got_through_a_redirect_hold_for_the_first_authority() -> None:
    with site(status(200, DENY)) as (other, _), site(status(301, Location=f"{other}/robots.txt")) as (origin, _asked):
        policy = ask(origin)
    assert policy.origin == origin
    assert judged(policy, "/private/x.jpg")[0] == "robots_disallow"


@pytest.mark.parametrize("target", ["http://10.0.0.1/robots.txt", "file:///etc/passwd", "http://127.0.0.9:1/"])
def test_a_redirect_of_robots_txt_to_a_forbidden_place_denies(target: str) -> None:
    with site(status(301, Location=target)) as (origin, _):
        policy = ask(origin)
    assert judged(policy, "/x.jpg")[0] == "robots_unreachable"


def test_a_long_robots_txt_is_cut_at_500_kib_and_says_so() -> None:
    head = b"User-agent: *\nDisallow: /early\n"
    filler = b"# " + b"x" * 97 + b"\n"
    body = head + filler * (MAX_ROBOTS_BYTES // len(filler) + 50) + b"Disallow: /late\n"
    with site(status(200, body)) as (origin, _):
        policy = ask(origin)
    assert policy.truncated
    assert len(policy.robots_body) == MAX_ROBOTS_BYTES
    assert policy.robots_sha256 == hashlib.sha256(body[:MAX_ROBOTS_BYTES]).digest()
    assert judged(policy, "/early")[0] == "robots_disallow"
    assert judged(policy, "/late")[0] is None


def test_a_hosts_own_trouble_is_its_pictures_reason() -> None:
    policies = fetch_policies(
        ["http://nowhere.invalid", "http://127.0.0.1:1", "http://10.0.0.1"], options=OPTIONS, clock=lambda: NOW
    )
    assert [judged(policy, "/x.jpg")[0] for policy in policies] == ["dns", "connect", "private_address"]


def test_each_file_is_asked_for_once_and_nothing_more_where_robots_txt_is_unreachable() -> None:
    with site(status(200, DENY)) as (origin, asked):
        ask(origin)
    assert asked == ["/robots.txt", "/.well-known/tdmrep.json", "/ai.txt", "/trust.txt", "/.well-known/trust.txt"]
    with site(status(503)) as (origin, asked):
        ask(origin)
    assert asked == ["/robots.txt"]


def test_tdmrep_json_reserves_by_its_first_matching_rule() -> None:
    rules = b'[{"location": "/free/*", "tdm-reservation": 0}, {"location": "/", "tdm-reservation": 1}]'
    with site(status(404), status(200, rules)) as (origin, _):
        policy = ask(origin)
    reason, signals = judged(policy, "/x.jpg")
    assert reason == "tdm_reserved"
    assert [(s.mechanism, s.category, s.value) for s in signals] == [
        ("robots.txt", "crawl", "unknown"),
        ("tdmrep.json", "tdm", "deny"),
    ]
    assert '"tdm-reservation": 1' in signals[1].raw
    assert judged(policy, "/free/x.jpg")[0] is None


RESERVED = b'[{"location": "/", "tdm-reservation": 1}]'


@pytest.mark.parametrize(
    ("answer", "trouble"),
    [
        (status(500), "http_5xx: "),
        (status(429), "http_429: "),
        (never, "timeout: no end after 1 s"),
        (status(200, gzip.compress(RESERVED)[:-9], Content_Encoding="gzip"), "bad_encoding: gzip"),
        (status(200, RESERVED + b" " * MAX_TDMREP_BYTES), f"too_large: more than {MAX_TDMREP_BYTES} bytes"),
        (status(200, b"{not json"), "not JSON"),
        (status(200, b""), "not JSON"),
        (status(301, Location="http://10.0.0.1/tdmrep.json"), "redirect: redirected to http://10.0.0.1/"),
        (status(301, Location="/.well-known/tdmrep.json"), "redirect_loop: "),
    ],
)
def test_a_tdmrep_json_that_cannot_be_read_reserves_nothing_but_leaves_a_trace(answer: Answer, trouble: str) -> None:
    with site(status(404), answer) as (origin, _):
        (policy,) = fetch_policies([origin], options=replace(OPTIONS, timeout_s=1.0), clock=lambda: NOW)
    assert policy.tdmrep_trouble is not None
    assert policy.tdmrep_trouble.startswith(trouble)
    reason, (_, said) = judged(policy, "/x.jpg")
    assert reason is None
    assert (said.mechanism, said.category, said.value) == ("tdmrep.json", "tdm", "unknown")
    assert (said.raw, said.observed_utc) == (policy.tdmrep_trouble, NOW)
    assert said.subject_url == f"{origin}/.well-known/tdmrep.json"


@pytest.mark.parametrize("answer", [status(404), status(410), status(200, b"{}"), status(200, b"[]")])
def test_a_tdmrep_json_that_is_not_there_or_says_nothing_leaves_none(answer: Answer) -> None:
    with site(status(404), answer) as (origin, _):
        policy = ask(origin)
    reason, signals = judged(policy, "/x.jpg")
    assert (reason, policy.tdmrep_trouble) == (None, None)
    assert [said.mechanism for said in signals] == ["robots.txt"]


def test_every_statement_is_kept_with_its_words_and_time() -> None:
    with site(status(200, b"User-agent: tamis\nAllow: /ok\nDisallow: /\n")) as (origin, _):
        policy = ask(origin)
    _, (allowed,) = judged(policy, "/ok/x.jpg")
    _, (denied,) = judged(policy, "/x.jpg")
    assert (allowed.value, allowed.raw, allowed.agent_scope) == ("allow", "Allow: /ok", "tamis")
    assert (denied.value, denied.raw, denied.observed_utc) == ("deny", "Disallow: /", NOW)
    assert denied.subject_url == f"{origin}/robots.txt"


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        # optout.md §2.3, the column "correct", with our token
        (["noai"], "noai_header"),
        (["NoAI"], "noai_header"),
        (["noindex"], "noai_header"),
        (["none"], "noai_header"),
        (["tamis: noai"], "noai_header"),
        (["TAMIS: noai"], "noai_header"),
        (["tamis : noai"], "noai_header"),
        (["otherbot: noai"], None),
        (["otherbot: noindex, noai"], None),
        (["otherbot: noindex", "noai"], "noai_header"),
        (["noai, unavailable_after: 25 Jun 2010 15:00:00 PST"], "noai_header"),
        (["max-image-preview:none, noai"], "noai_header"),
        (["otherbot: noindex, tamis: noai"], "noai_header"),
        (["noarchive"], None),
    ],
)
def test_x_robots_tag_means_what_the_reference_table_says(lines: list[str], reason: str | None) -> None:
    signals: list[Signal] = []
    headers = CIMultiDictProxy(CIMultiDict([("X-Robots-Tag", line) for line in lines]))
    got = None
    try:
        Gatekeeper(OPTIONS, {}, None, lambda: NOW).may_use("http://a.example/x.jpg", headers, signals)
    except Trouble as trouble:
        got = trouble.reason
    assert got == reason
    assert [(s.value, s.raw) for s in signals] == [("deny" if reason else "unknown", "\n".join(lines))]


@pytest.mark.parametrize(
    ("value", "reason", "said"),
    [("1", "tdm_reserved", "deny"), ("0", None, "allow"), ("yes", None, "unknown"), ("2", None, "unknown")],
)
def test_the_tdm_header_reserves_allows_or_is_not_understood(value: str, reason: str | None, said: str) -> None:
    signals: list[Signal] = []
    headers = CIMultiDictProxy(CIMultiDict([("TDM-Reservation", value), ("tdm-policy", "https://a.example/p")]))
    got = None
    try:
        Gatekeeper(OPTIONS, {}, None, lambda: NOW).may_use("http://a.example/x.jpg", headers, signals)
    except Trouble as trouble:
        got = trouble.reason
    assert got == reason
    assert [(s.mechanism, s.value) for s in signals] == [("tdm-header", said)]
    assert "https://a.example/p" in signals[0].raw


def test_policies_survive_being_stored() -> None:
    with site(status(200, DENY)) as (origin, _):
        policies = fetch_policies([origin, "http://10.0.0.1"], options=OPTIONS, clock=lambda: NOW)
    assert table_policies(policies_table(policies)) == {policy.origin: policy for policy in policies}


def test_policies_are_read_for_the_origins_asked_about_and_a_later_table_wins(tmp_path: Path) -> None:
    store = Store(str(tmp_path))

    def commit(number: int, policies: list[OriginPolicy], drop: str | None = None) -> Part:
        def write(draft: Draft) -> Outcome:
            table = policies_table(policies)
            draft.table(table.drop_columns(drop) if drop else table)
            return Outcome(len(policies), len(policies))

        return run(store, Stage("permission", write, {"number": number}))

    def made(number: int, robots: bytes) -> OriginPolicy:
        return OriginPolicy(f"http://h{number}.example", 200, None, None, robots, None, False, 404, None, None, NOW)

    parts = [commit(0, [made(n, b"") for n in range(100)]), commit(1, [made(n, DENY) for n in range(50, 120)])]
    wanted = {"http://h7.example", "http://h70.example", "http://unheard-of.example"}
    found = read_policies(store, parts, wanted)
    assert {origin: policy.robots_body for origin, policy in found.items()} == {
        "http://h7.example": b"",
        "http://h70.example": DENY,
    }
    assert read_policies(store, parts, set()) == {}
    assert len(read_policies(store, parts, None)) == 120
    for number, name in enumerate(("tdmrep_trouble", "files"), 3):
        assert read_policies(store, [commit(number, [made(1, DENY)], drop=name)], None) == {
            "http://h1.example": made(1, DENY)
        }
    before = commit(2, [made(1, DENY)], drop="tdmrep_trouble")  # a table of a version that had no such column
    assert read_policies(store, [before], None) == {"http://h1.example": made(1, DENY)}


def test_a_crawls_own_copies_of_the_files_are_policies_too() -> None:
    (policy, other) = captured_policies(
        [
            ("http://b.example/robots.txt", ([(":status", "404")], b"nothing here")),
            ("http://a.example/robots.txt", ([(":status", "200")], DENY)),
            ("http://a.example/.well-known/tdmrep.json", ([(":status", "200")], b"[]")),
        ]
    )
    assert (policy.origin, policy.robots_status, policy.tdmrep_body) == ("http://a.example", 200, b"[]")
    assert judged(policy, "/private/x.jpg")[0] == "robots_disallow"
    assert (other.robots_status, judged(other, "/private/x.jpg")[0]) == (404, None)

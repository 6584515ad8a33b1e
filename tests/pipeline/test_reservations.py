"""Content-Signal, training crawlers, AIPREF, RSL, ai.txt and trust.txt: heard over real sockets, each with its reason."""

import gzip
from dataclasses import replace

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from filters.policy import ReleasePolicy
from filters.signal import Signal
from pipeline.permission import (
    Gatekeeper,
    captured_policies,
    fetch_policies,
    policies_table,
    table_policies,
)
from pipeline.trouble import Trouble
from tests.small_site import NOW, OPTIONS, Answer, ask, judged, never, site, status

DENY = b"User-agent: *\nDisallow: /private\n"
ANY_TRAINING = b"User-agent: *\nContent-Signal: search=yes, ai-train=no\nAllow: /\n"
SHUT_OUT = b"User-agent: GPTBot\nUser-agent: CCBot\nDisallow: /\n\nUser-agent: *\nAllow: /\n"
NO_JPEG = b"# Spawning AI\nUser-Agent: *\nDisallow: *.jpg\n"
LICENCE = b'<rsl><content url="/"><license><prohibits type="usage">ai-train</prohibits></license></content></rsl>'
LINKED = b"License: /licence.xml\nUser-agent: *\nAllow: /\n"


def answers(**bodies: bytes) -> dict[str, Answer]:
    """Return answers by path, `_` for what cannot stand in a name."""
    names = {"ai": "ai.txt", "trust": "trust.txt", "known_trust": ".well-known/trust.txt", "licence": "licence.xml"}
    return {names[name]: status(200, body) for name, body in bodies.items()}


@pytest.mark.parametrize(
    ("robots", "files", "reason", "mechanism"),
    [
        (ANY_TRAINING, {}, "training_reserved", "content-signal"),
        (SHUT_OUT, {}, "training_reserved", "proxy-token"),
        (b"User-agent: *\nAllow: /\nContent-Usage: train-ai=n\n", {}, "training_reserved", "aipref-robots"),
        (b"", {"ai": NO_JPEG}, "training_reserved", "ai.txt"),
        (b"", {"trust": b"datatrainingallowed=no\n"}, "training_reserved", "trust.txt"),
        (b"", {"known_trust": b"datatrainingallowed=no\n"}, "training_reserved", "trust.txt"),
        (LINKED, {"licence": LICENCE}, "licence_denies", "rsl"),
        (b"", {"ai": b"<h1>not found</h1>", "trust": b"<h1>not found</h1>"}, None, None),
        (b"User-agent: *\nContent-Signal: search=no, ai-input=no\nAllow: /\n", {}, None, None),
        (LINKED, {"licence": LICENCE.replace(b"prohibits", b"permits")}, None, None),
    ],
)
def test_a_sites_other_files_reserve_training_each_in_its_way(
    robots: bytes, files: dict[str, bytes], reason: str | None, mechanism: str | None
) -> None:
    with site(status(200, robots), **answers(**files)) as (origin, _):
        policy = ask(origin)
    got, signals = judged(policy, "/x.jpg")
    assert got == reason
    denied = [s for s in signals if s.value == "deny" and s.category not in ("search", "ai-input")]
    assert [s.mechanism for s in denied] == ([mechanism] if mechanism else [])
    for said in denied:
        assert said.raw
        assert (said.observed_utc, said.subject_url.startswith(origin)) == (NOW, True)
        assert len(said.evidence_digest or b"") == 32
    assert table_policies(policies_table([policy])) == {origin: policy}


@pytest.mark.parametrize(("path", "name"), [("ai.txt", "ai.txt"), ("trust.txt", "trust.txt"), ("licence.xml", "rsl")])
@pytest.mark.parametrize(
    ("answer", "trouble"),
    [
        (status(404), None),
        (status(410), None),
        (status(403), None),
        (status(500), "http_5xx: "),
        (status(429), "http_429: "),
        (status(301, Location="http://10.0.0.1/x"), "redirect: redirected to http://10.0.0.1/"),
        (status(200, gzip.compress(NO_JPEG)[:-9], Content_Encoding="gzip"), "bad_encoding: "),
        (status(200, b"x" * 1_000_001), "too_large: more than "),
        (never, "timeout: no end after 1 s"),
    ],
)
def test_what_becomes_of_a_small_file_is_known_and_forbids_nothing(
    path: str, name: str, answer: Answer, trouble: str | None
) -> None:
    with site(
        status(200, LINKED), **{path: answer, **({} if path == "licence.xml" else answers(licence=b"<rsl/>"))}
    ) as (origin, asked):
        (policy,) = fetch_policies([origin], options=replace(OPTIONS, timeout_s=1.0), clock=lambda: NOW)
    found = {file.kind: file.trouble for file in policy.files}
    linked_nowhere = "linked, but not there" if name == "rsl" else None
    said = found.get(name) or ""  # type: ignore[call-overload]
    assert said.startswith(trouble or linked_nowhere or "")
    assert (name in found) is (trouble is not None or name == "rsl")
    assert asked.count(f"/{path}") == 1
    reason, signals = judged(policy, "/x.jpg")
    assert reason is None
    unread = [(s.category, s.value, s.flag) for s in signals if s.mechanism == name]
    assert unread == ([("train", "unknown", "unreadable")] if said else [])
    strict = Gatekeeper(replace(OPTIONS, policy=ReleasePolicy(unknown="unclear")), {}, None, lambda: NOW)
    if said:
        with pytest.raises(Trouble, match="signal_unclear"):
            strict.settle(signals)
    else:
        strict.settle(signals)


def test_a_host_that_stops_answering_is_not_asked_for_more() -> None:
    with site(status(404), never) as (origin, asked):
        fetch_policies([origin], options=replace(OPTIONS, timeout_s=1.0), clock=lambda: NOW)
    assert asked == ["/robots.txt", "/.well-known/tdmrep.json"]


def test_mechanisms_that_are_off_are_not_asked_for_and_trust_txt_has_two_places() -> None:
    off = replace(OPTIONS, policy=ReleasePolicy(off=["ai.txt", "rsl"]))
    with site(status(200, LINKED), **answers(trust=b"contact=x\n", licence=LICENCE)) as (origin, asked):
        (policy,) = fetch_policies([origin], options=off, clock=lambda: NOW)
    assert asked == ["/robots.txt", "/.well-known/tdmrep.json", "/trust.txt"]
    assert [file.kind for file in policy.files] == ["trust.txt"]


def test_one_licence_of_many_sites_is_asked_for_once() -> None:
    with site(status(404), **answers(licence=LICENCE)) as (shared, asked):
        link = f"License: {shared}/licence.xml\nUser-agent: *\nAllow: /\n".encode()
        with site(status(200, link)) as (one, _), site(status(200, link)) as (two, _):
            options = replace(OPTIONS, concurrency=1)
            policies = fetch_policies([one, two], options=options, clock=lambda: NOW)
    assert asked == ["/licence.xml"]
    assert [judged(policy, "/x.jpg")[0] for policy in policies] == ["licence_denies"] * 2


def test_a_robots_txt_that_forbids_the_visit_is_obeyed_by_any_policy() -> None:
    with site(status(200, DENY)) as (origin, _):
        policy = ask(origin)
    gate = Gatekeeper(replace(OPTIONS, policy=ReleasePolicy(deny=["search"])), {}, None, lambda: NOW)
    with pytest.raises(Trouble, match="robots_disallow"):
        gate.judge_policy(f"{origin}/private/x.jpg", policy, [])


@pytest.mark.parametrize(
    ("headers", "reason", "said"),
    [
        ([("Content-Usage", "train-ai=n")], "training_reserved", [("aipref-header", "train-genai", "deny", "")]),
        ([("content-usage", "search=y"), ("Content-Usage", "train-ai=n")], "training_reserved",
         [("aipref-header", "search", "allow", ""), ("aipref-header", "train-genai", "deny", "")]),
        ([("Content-Usage", "train-ai=y")], None, [("aipref-header", "train-genai", "allow", "")]),
        ([("Content-Usage", "Train-AI=n")], "signal_unclear",
         [("aipref-header", "train-genai", "unknown", "malformed_reservation")]),
        ([("Content-Usage", "Train-AI=y")], None, [("aipref-header", "train-genai", "unknown", "malformed")]),
        ([("Link", '</l.xml>; rel="license"; type="application/rsl+xml"')], None,
         [("rsl", "train", "unknown", "unreadable")]),
        ([("Link", '</l.xml>; rel="license"')], None, []),
        ([("X-Robots-Tag", "noai"), ("Content-Usage", "train-ai=y"), ("tdm-reservation", "0")], "noai_header",
         [("x-robots-tag", "train", "deny", ""), ("tdm-header", "tdm", "allow", ""),
          ("aipref-header", "train-genai", "allow", "")]),
    ],
)  # fmt: skip
def test_a_responses_headers_speak_of_its_picture(
    headers: list[tuple[str, str]], reason: str | None, said: list[tuple[str, str, str, str]]
) -> None:
    signals: list[Signal] = []
    got = None
    gate = Gatekeeper(OPTIONS, {}, None, lambda: NOW)
    try:
        gate.may_use("http://a.example/x.jpg", CIMultiDictProxy(CIMultiDict(headers)), signals)
        gate.settle(signals)
    except Trouble as trouble:
        got = trouble.reason
    assert got == reason
    assert [(s.mechanism, s.category, s.value, s.flag) for s in signals] == said


def test_a_linked_licence_that_robots_txt_links_too_speaks_by_its_words() -> None:
    with site(status(200, LINKED), **answers(licence=LICENCE)) as (origin, _):
        policy = ask(origin)
    headers = CIMultiDictProxy(CIMultiDict([("Link", '</licence.xml>; rel=license; type="application/rsl+xml"')]))
    with pytest.raises(Trouble, match="licence_denies"):
        Gatekeeper(OPTIONS, {origin: policy}, None, lambda: NOW).may_use(f"{origin}/x.jpg", headers, [])


def test_a_crawls_own_copies_of_the_small_files_speak_and_its_licence_is_the_one_that_is_linked() -> None:
    ok = [(":status", "200")]
    found = captured_policies(
        [
            ("http://a.example/robots.txt", (ok, LINKED)),
            ("http://a.example/licence.xml", (ok, LICENCE)),
            ("http://b.example/ai.txt", (ok, NO_JPEG)),
            ("http://c.example/.well-known/trust.txt", (ok, b"datatrainingallowed=no")),
            ("http://d.example/robots.txt", (ok, LINKED)),
            ("http://e.example/ai.txt", ([(":status", "404")], NO_JPEG)),
        ],
        {"http://f.example/trust.txt": "a broken record"},
    )
    assert {policy.origin[7]: judged(policy, "/x.jpg")[0] for policy in found} == {
        "a": "licence_denies",
        "b": "training_reserved",
        "c": "training_reserved",
        "d": None,
        "e": None,
        "f": None,
    }
    files = {policy.origin[7]: [(file.kind, file.trouble) for file in policy.files] for policy in found}
    assert (files["d"], files["e"]) == ([("rsl", "not in the crawl")], [])
    assert files["f"] == [("trust.txt", "capture_broken: a broken record")]

"""Whoever means harm: oversize, slow, many, by other names, at paths that are none."""

import json
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from index.serve.headers import CSP
from index.serve.protocol import PromptHeads
from index.serve.rates import Buckets, client_of
from tests.serving import Running, dial, direction, exchange, running, uid, wait

SAFE = {
    "content-security-policy": CSP, "x-content-type-options": "nosniff", "referrer-policy": "no-referrer",
    "x-frame-options": "DENY", "cross-origin-resource-policy": "same-origin", "cache-control": "no-store",
}  # fmt: skip


@pytest.fixture(scope="module")
def small(drawn_set: Path) -> Any:
    """A server with small limits."""
    with running(drawn_set, max_body_bytes=10_000, body_s=0.5) as found:
        yield found


@pytest.mark.parametrize(
    "path",
    ["/api/v1/datasets", "/nothing", "/api/v1/datasets/none/overview", "/healthz", "/api/v1/datasets/drawn/search"],
)
def test_every_response_has_the_safety_headers_and_none_names_the_program(server: Running, path: str) -> None:
    headers = server.client.get(path).headers
    assert {name: headers.get(name) for name in SAFE} == SAFE
    assert "server" not in headers
    assert "access-control-allow-origin" not in headers


def test_a_body_over_the_limit_is_refused_while_it_comes(small: Running) -> None:
    path = "/api/v1/datasets/drawn/search"
    answer = small.client.post(path, content=b"x" * 10_001, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()) == (413, {"error": "the body is over 10000 bytes"})
    chunks = (b"x" * 1000 for _ in range(20))
    assert small.client.post(path, content=chunks, headers={"content-type": "application/json"}).status_code == 413
    for announced in (b"99999999999999999999", b"10001"):
        head = b"POST /knn-service HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + announced + b"\r\n\r\n"
        assert exchange(small.address, head).startswith(b"HTTP/1.1 413")


def test_a_body_that_does_not_come_is_given_up(small: Running) -> None:
    head = b"POST /knn-service HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"
    assert exchange(small.address, head).startswith(b"HTTP/1.1 408")


def test_a_head_that_does_not_come_is_given_up(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PromptHeads, "head_s", 1.0)
    assert exchange(server.address, b"GET /healthz HTTP/1.1\r\nHost: ") == b""
    assert exchange(server.address, b"") == b""
    with dial(server.address) as found:  # one byte after an answer ends uvicorn's own timer; the head's clock runs
        found.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b""
        while not answer.endswith(b"}"):
            answer += found.recv(65536)
        found.sendall(b"G")
        found.settimeout(5)
        assert found.recv(65536) == b""


def test_a_client_that_takes_nothing_of_its_answers_is_cut_off(
    drawn_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PromptHeads, "taken_s", 0.3)
    with running(drawn_set) as server, dial(server.address) as found:
        asked = b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
        found.sendall(asked * 500)
        answered = -1
        while answered != len(server.log):  # until nothing more is answered
            answered = len(server.log)
            time.sleep(0.7)
        assert answered < 500
        taken = b""
        with suppress(ConnectionResetError):
            while piece := found.recv(1 << 20):
                taken += piece
        assert taken.count(b"HTTP/1.1 200") < 500
        assert server.client.get("/healthz").status_code == 200


def test_a_body_whose_end_two_headers_tell_is_refused_and_nothing_is_read_after_it(server: Running) -> None:
    """A proxy in front may have seen another end: what follows would be its next client's (RFC 9112 section 6.1)."""
    head = b"POST /api/v1/datasets/drawn/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = exchange(server.address, head + b"0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1") == 1


def test_heads_too_large_are_refused(server: Running) -> None:
    answer = exchange(
        server.address, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 2_000_000 + b"\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 4") or answer == b""


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/datasets/../../../etc/passwd/overview", "/api/v1/datasets/..%2f..%2fetc/overview", "/static/../app.py",
        "/static/..%2f..%2fapp.py", "/static/%2e%2e/app.py", "/static/%00", "/api/v1/datasets/drawn%00/overview", "//etc/passwd",
        "/static//etc/passwd", "/static/%2fetc%2fpasswd", "/api/v1/datasets/drawn/samples/..%2f..%2fx/picture",
        "/api/v1/datasets/drawn/samples/%2e%2e/picture", "/api/v1/datasets/DRAWN/overview", "/d/..%2f..%2f/", "/static/../../settings.py",
        "/api/v1/datasets/" + "x" * 5000 + "/overview",
    ],
)  # fmt: skip
def test_no_path_leads_out_of_what_is_served(server: Running, path: str) -> None:
    answer = exchange(server.address, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    status = int(answer.split(b" ")[1])
    assert status in (307, 400, 404, 405, 422), answer[:200]
    assert b"root:" not in answer
    assert b"import" not in answer


def test_other_names_are_not_answered_on_loopback(server: Running) -> None:
    for host, status in (("evil.example", 421), ("localhost:80", 200), ("[::1]:9", 200), ("127.0.0.1", 200), ("", 421)):
        answer = exchange(
            server.address, f"GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
        )
        assert int(answer.split(b" ")[1]) == status, host


def test_pages_of_others_may_search_only_when_told_and_never_write(drawn_set: Path) -> None:
    origin = {"origin": "https://front.example"}
    with running(drawn_set, allow_origins=("https://front.example",)) as found:
        answer = found.client.post("/knn-service", json={"embedding_input": direction(1)}, headers=origin)
        assert answer.headers["access-control-allow-origin"] == "https://front.example"
        asks = {"access-control-request-method": "POST", "access-control-request-headers": "content-type", **origin}
        assert found.client.options("/api/v1/datasets/drawn/search", headers=asks).status_code == 200
        for path in (
            "/api/v1/datasets/drawn/requests",
            "/api/v1/datasets/drawn/mine",
            "/api/v1/desk/session",
            "/metrics",
        ):
            assert "access-control-allow-origin" not in found.client.options(path, headers=asks).headers, path
        other = found.client.get("/indices-list", headers={"origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers


def test_a_client_that_asks_too_much_waits(drawn_set: Path) -> None:
    with running(drawn_set, rate_per_s=1.0, burst=3.0) as found:
        statuses = [found.search(terms=[{"uid": uid(1)}], k=1).status_code for _ in range(5)]
        assert statuses == [200, 200, 200, 429, 429]
        refused = found.search(terms=[{"uid": uid(1)}])
        assert int(refused.headers["retry-after"]) >= 1
        assert "too many" in refused.json()["error"]


def test_buckets_fill_with_time_and_are_one_for_each_client() -> None:
    now_s = [0.0]
    buckets = Buckets(rate_per_s=2.0, burst=4.0, clock=lambda: now_s[0])
    assert [buckets.take("a", 2.0) for _ in range(3)] == [0.0, 0.0, 1.0]
    assert buckets.take("b", 4.0) == 0.0
    now_s[0] = 0.5
    assert (buckets.take("a", 1.0), buckets.take("a", 1.0)) == (0.0, 0.5)
    now_s[0] = 1000.0
    assert [buckets.take("a", 4.0), buckets.take("a", 0.1) > 0] == [0.0, True]


@pytest.mark.parametrize(
    ("address", "forwarded", "trusted", "name"),
    [
        ("192.0.2.7", None, False, "192.0.2.7"),
        ("192.0.2.7", "203.0.113.5", False, "192.0.2.7"),
        ("127.0.0.1", "8.8.8.8, 203.0.113.5", True, "203.0.113.5"),
        ("2001:db8:1:2:3::4", None, False, "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", None, False, "192.0.2.7"),
        ("127.0.0.1", None, True, "127.0.0.1"),
        ("127.0.0.1", "x" * 999, True, "x" * 64),
        ("127.0.0.1", "203.0.113.5:4711", True, "203.0.113.5"),
        ("127.0.0.1", "8.8.8.8:1, [2001:db8:1:2:3::4]:4711", True, "2001:db8:1:2::/64"),
        ("127.0.0.1", "[2001:db8:1:2:3::4]", True, "2001:db8:1:2::/64"),
    ],
)
def test_clients_are_told_apart_by_address(address: str, forwarded: str | None, trusted: bool, name: str) -> None:
    headers = [(b"x-forwarded-for", forwarded.encode())] if forwarded else []
    assert client_of({"client": (address, 1), "headers": headers}, trusted) == name


def test_too_much_at_once_is_refused_and_counted(drawn_set: Path) -> None:
    with running(drawn_set, threads=1, waiting=0) as found:  # no search may wait, so each is one too many
        answers = [found.search(terms=[{"uid": uid(1)}]) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [503] * 3
        assert {answer.headers["retry-after"] for answer in answers} == {"1"}
        assert found.client.get("/healthz").status_code == 200
        assert "tamis_overloads_total 3.0" in found.client.get("/metrics").text


def test_a_flood_is_answered_or_refused_and_nothing_stays_behind(drawn_set: Path) -> None:
    with running(drawn_set, threads=1, waiting=2) as found:
        statuses: list[int] = []

        def ask() -> None:
            statuses.append(found.search(terms=[{"uid": uid(1)}], k=90, deduplicate=True).status_code)

        threads = [threading.Thread(target=ask) for _ in range(24)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert set(statuses) <= {200, 503}
        assert 200 in statuses
        assert found.search(terms=[{"uid": uid(1)}]).status_code == 200


def test_the_log_says_how_it_went_and_nothing_of_who_asked_what(server: Running) -> None:
    server.log.clear()
    server.client.get(f"/api/v1/datasets/drawn/samples/{uid(4)}/picture?secret=me")
    server.search(terms=[{"uid": uid(4)}], k=2)
    server.client.get("/secret-path")
    wait(lambda: len(server.log) >= 3)
    lines = [json.loads(line) for line in server.log[:3]]
    assert [set(line) for line in lines] == [{"utc", "method", "route", "status", "ms", "bytes"}] * 3
    assert [(line["route"], line["status"]) for line in lines] == [
        ("/api/v1/datasets/{name}/samples/{uid}/picture", 200), ("/api/v1/datasets/{name}/search", 200), ("(unknown)", 404),
    ]  # fmt: skip
    text = "".join(server.log)
    assert not any(word in text for word in ("127.0.0.1", uid(4), "secret"))


def test_metrics_count_by_template(server: Running) -> None:
    server.search(terms=[{"uid": uid(4)}], k=2)
    text = server.client.get("/metrics").text
    assert 'tamis_requests_total{method="POST",route="/api/v1/datasets/{name}/search",status="200"}' in text
    assert 'tamis_index_rows{dataset="drawn"} 90.0' in text
    assert 'tamis_snapshot{dataset="again"} 1.0' in text
    assert uid(4) not in text


def test_a_slow_client_holds_up_nobody(server: Running) -> None:
    with dial(server.address) as found:
        found.sendall(b"POST /knn-service HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{}")
        assert all(server.client.get("/healthz").status_code == 200 for _ in range(5))

"""What a crawl recorded of robots.txt and tdmrep.json is read again; a broken record ends nothing."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from filters.signal import Signal
from pipeline.errors import StorageError
from pipeline.extract import POLICY_COLUMNS
from pipeline.fetch_options import FetchOptions
from pipeline.permission import Gatekeeper, read_policies
from pipeline.permits import _captured
from pipeline.stage import Draft, Outcome, Part, Stage, run
from pipeline.store import Store
from pipeline.trouble import Trouble
from tests.crawl_files import response

DENY = b"User-agent: *\nDisallow: /private\n"
RESERVED = b'[{"location": "/", "tdm-reservation": 1}]'
PLAIN = [("Content-Type", "text/plain")]


def commit(store: Store, records: Sequence[tuple[str, bytes]]) -> Part:
    """Write records (URL, bytes), each into a file of its own, and the table that says where they are."""
    rows = []
    for number, (url, record) in enumerate(records):
        path = store.local(f"{number}.warc")
        assert path is not None
        path.write_bytes(record)
        rows.append((url, "warc", str(path), 0, max(1, len(record))))

    def write(draft: Draft) -> Outcome:
        columns = list(zip(*rows, strict=True))
        draft.table(pa.table(dict(zip(POLICY_COLUMNS, map(list, columns), strict=True))), "policies.parquet")
        return Outcome(0, 0)

    return run(store, Stage("extract", write, {"records": len(records)}))


def judged(store: Store, extract: Part, url: str) -> tuple[str | None, list[tuple[str, str, str]]]:
    """Return the reason that the crawl's own files give for a URL, and what they say."""
    part = run(store, Stage("permission", lambda draft: _captured(draft, [extract]), {"kind": "captured"}), [extract])
    (policy,) = read_policies(store, [part], None).values()
    signals: list[Signal] = []
    reason = None
    try:
        Gatekeeper(FetchOptions(), {}, None, lambda: datetime.now(UTC)).judge_policy(url, policy, signals)
    except Trouble as trouble:
        reason = trouble.reason
    return reason, [(said.mechanism, said.value, said.raw) for said in signals]


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"garbage",
        response("http://a.example/robots.txt", DENY, PLAIN, "40000 What"),
        response("http://b.example/robots.txt", DENY, PLAIN),
    ],
)
def test_a_broken_record_of_robots_txt_is_unknown_and_forbids_nothing(tmp_path: Path, broken: bytes) -> None:
    store = Store(str(tmp_path))
    reason, said = judged(store, commit(store, [("http://a.example/robots.txt", broken)]), "http://a.example/private/x")
    assert reason is None
    assert [(mechanism, value) for mechanism, value, _ in said] == [("robots.txt", "unknown")]
    assert said[0][2].startswith("capture_broken: ")


def test_a_broken_record_of_tdmrep_json_is_unknown_and_robots_txt_still_holds(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    robots = ("http://a.example/robots.txt", response("http://a.example/robots.txt", DENY, PLAIN))
    part = commit(store, [robots, ("http://a.example/.well-known/tdmrep.json", b"garbage")])
    assert judged(store, part, "http://a.example/private/x")[0] == "robots_disallow"
    reason, said = judged(store, part, "http://a.example/x")
    assert reason is None
    assert [(mechanism, value) for mechanism, value, _ in said] == [
        ("robots.txt", "unknown"),
        ("tdmrep.json", "unknown"),
    ]
    assert said[1][2].startswith("capture_broken: ")


def test_where_one_record_is_broken_another_of_the_same_file_speaks(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    url = "http://a.example/.well-known/tdmrep.json"
    part = commit(store, [(url, b"garbage"), (url, response(url, RESERVED, PLAIN)), (url, b"garbage again")])
    reason, said = judged(store, part, "http://a.example/x")
    assert reason == "tdm_reserved"
    assert said[1][:2] == ("tdmrep.json", "deny")


def test_a_missing_file_is_still_everybodys_trouble(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    part = commit(store, [("http://a.example/robots.txt", b"x")])
    (tmp_path / "0.warc").unlink()
    with pytest.raises(StorageError, match=r"0\.warc"):
        judged(store, part, "http://a.example/x")

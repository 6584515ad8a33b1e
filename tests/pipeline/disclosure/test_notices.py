"""Every holder of something erased is told, once, with nothing in it that says what it was."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.disclosure import notices, removals
from pipeline.disclosure.disclose import disclose
from pipeline.disclosure.lineage import lineage
from pipeline.disclosure.releases import register
from pipeline.erasure.prove import verify
from pipeline.errors import InputError
from pipeline.store import Store
from tests.pipeline.disclosure.conftest import PICTURES, SITES, Told
from tests.tiny import tamis

ERASED = PICTURES // SITES + 1


@pytest.fixture
def mine(told: Told, tmp_path: Path) -> Told:
    """A copy of what was told, to do things to."""
    shutil.copytree(told.made.root, tmp_path / "set")
    made = type(told.made)(Store.open_url(str(tmp_path / "set")), told.made.file, told.made.scheduler)
    return Told(made, told.before, told.after, told.domain_request, told.picture_request, told.erased, told.texts)


def lines(store: Store, name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    head, *rows = (json.loads(line) for line in store.read(name).splitlines())
    return head, rows


def test_each_recipient_gets_one_file_with_every_row_it_holds(mine: Told) -> None:
    store, registry = mine.made.store, mine.made.registry
    done = notices.write_notices(store, registry)
    lab, museum = (made.recipient_id for made in mine.before)
    assert sorted(name.split("/")[1] for name in done.files) == sorted([lab, museum])
    assert done.rows == 2 * ERASED
    where = {row["key"]: row["tar"].name for row in mine.made.sidecars()}
    for name, made in zip(sorted(done.files, key=lambda n: n.split("/")[1] != lab), mine.before, strict=True):
        head, rows = lines(store, name)
        assert head["requests"] == sorted([mine.domain_request, mine.picture_request])
        assert (head["rows"], head["min_safe_snapshot"], head["published"]) == (ERASED, 2, False)
        assert {row["uid"] for row in rows} == set(mine.erased)
        assert {row["release"] for row in rows} == {made.id}  # not the one that was made after the erasure
        assert all(row["shard"] == f"shards/000001/{where[row['uid']]}" for row in rows)
        assert sorted({row["reason"] for row in rows}) == ["gdpr17", "legal"]
        assert set(rows[0]) == {"release", "snapshot", "shard", "uid", "reason"}


def test_asked_again_nothing_is_written_again(mine: Told) -> None:
    store, registry = mine.made.store, mine.made.registry
    notices.write_notices(store, registry)
    removals.publish(store, registry.origin)
    before = {
        path: path.read_bytes()
        for kind in ("notices", "removals")
        for path in (mine.made.root / kind).rglob("*.ndjson")
    }
    assert len(before) == 2 + 2
    assert (notices.write_notices(store, registry).files, removals.publish(store, registry.origin)) == ([], [])
    after = {
        path: path.read_bytes()
        for kind in ("notices", "removals")
        for path in (mine.made.root / kind).rglob("*.ndjson")
    }
    assert after == before


def test_a_run_killed_before_it_entered_the_files_writes_no_second_ones(
    mine: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, registry = mine.made.store, mine.made.registry

    def dies(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(notices, "_enter", dies)
        with pytest.raises(KeyboardInterrupt):
            notices.write_notices(store, registry)
    done = notices.write_notices(store, registry)
    assert len(done.files) == 1  # the other recipient's
    assert len(list((mine.made.root / "notices").rglob("*.ndjson"))) == 2
    assert [line["state"] for line in done.report] == ["written", "written"]
    logged = [
        entry for request in (mine.domain_request, mine.picture_request) for _, entry in registry.entries_of(request)
    ]
    assert sum('"type":"recipient_notified"' in entry for entry in logged) == 4
    assert registry.check_log() == []


def test_a_recipient_of_only_clean_releases_is_told_nothing(mine: Told) -> None:
    store, registry = mine.made.store, mine.made.registry
    late = register(store, registry, to="The Newcomer", contact="new@new.example", purpose="tests")
    done = notices.write_notices(store, registry)
    assert late.recipient_id not in {name.split("/")[1] for name in done.files}


def test_deliveries_and_answers_are_counted_and_failures_are_told_with_why(mine: Told) -> None:
    store, registry = mine.made.store, mine.made.registry
    written = notices.write_notices(store, registry).report  # registered in one second: their order is by chance
    first, second = (line["notice"] for line in sorted(written, key=lambda line: str(line["recipient"])))
    assert (
        notices.summary(notices.report(store, registry))
        == "0 informed, 0 acknowledged, 0 unreachable, 2 to be delivered"
    )
    assert notices.mark(store, registry, first, "delivered") == 2
    notices.mark(store, registry, second, "failed", "the address bounces")
    told = notices.summary(notices.report(store, registry))
    assert told == "1 informed, 0 acknowledged, 1 unreachable (The Museum: the address bounces), 0 to be delivered"
    notices.mark(store, registry, first, "acknowledged")
    notices.mark(store, registry, second, "acknowledged")
    assert (
        notices.summary(notices.report(store, registry))
        == "2 informed, 2 acknowledged, 0 unreachable, 0 to be delivered"
    )
    with pytest.raises(InputError, match="is no notice"):
        notices.mark(store, registry, "c-0/2026-01-01-1", "delivered")


def test_the_feed_lets_holders_drop_the_rows_and_nobody_learn_of_them(mine: Told) -> None:
    store, registry = mine.made.store, mine.made.registry
    assert removals.publish(store, registry.origin) == ["removals/000001.ndjson"]
    head, rows = lines(store, "removals/feed.ndjson")
    assert (head["number"], head["rows"], head["salt"]) == (1, ERASED, registry.origin)
    joined = {row["key"] for row in mine.made.sidecars() if removals.digest(bytes.fromhex(row["key"]), head["salt"]) in
              {line["digest"] for line in rows}}  # fmt: skip
    assert joined == set(mine.erased)
    assert all(set(line) == {"digest", "last_snapshot"} and line["last_snapshot"] == 1 for line in rows)
    assert [line["digest"] for line in rows] == sorted(line["digest"] for line in rows)
    assert removals.digest(b"\1" * 16, "one set") != removals.digest(b"\1" * 16, "another")


def test_no_notice_feed_or_manifest_holds_an_address_a_text_or_a_category_of_shame(mine: Told) -> None:
    store, registry = mine.made.store, mine.made.registry
    notices.write_notices(store, registry)
    removals.publish(store, registry.origin)
    needles = [*mine.erased.values(), *mine.texts.values(), "site2.example", "http://", "ncii"]
    public = list(mine.erased)
    for kind in ("notices", "removals", "releases", "erasures"):
        paths = [path for path in (mine.made.root / kind).rglob("*") if path.is_file()]
        assert paths
        for path in paths:
            data = path.read_bytes()
            assert [needle for needle in needles if needle.encode() in data] == []
            if kind == "removals":
                assert [uid for uid in public if uid.encode() in data] == []
                assert b"gdpr" not in data


def test_the_papers_do_not_stand_in_the_way_of_the_proof_and_the_proof_not_in_that_of_the_notices(mine: Told) -> None:
    store, registry = mine.made.store, mine.made.registry
    disclose(store, mine.made.snapshot, registry)
    removals.publish(store, registry.origin)
    proof = verify(store, registry)
    assert proof.findings == []
    assert sorted(proof.closed) == sorted([mine.domain_request, mine.picture_request])
    assert notices.write_notices(store, registry).rows == 2 * ERASED  # closed and forgotten: uids are enough
    found = lineage(store, "request", mine.picture_request, registry)
    assert [sample["erased"] for sample in found.samples] == [True]


def test_the_command_writes_tells_and_marks(mine: Told) -> None:
    root = mine.made.root
    done = json.loads(tamis("notices", root, "--json").stdout)
    assert (len(done["written"]), done["rows"], done["feed"]) == (2, 2 * ERASED, ["removals/000001.ndjson"])
    first = done["notices"][0]["notice"]
    marked = tamis("notices", root, "--acknowledged", first).stdout
    assert "1 informed, 1 acknowledged, 0 unreachable, 1 to be delivered" in marked
    assert json.loads(tamis("notices", root, "--json").stdout)["written"] == []

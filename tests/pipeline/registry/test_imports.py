"""Lists of any size become entries once: the same again adds nothing, a kill in the middle loses nothing."""

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from filters import removal
from pipeline.errors import InputError
from pipeline.registry import place
from pipeline.registry.imports import import_list
from pipeline.registry.registry import Registry
from pipeline.registry.tables import entry, leaf
from tests.pipeline.registry.conftest import Opener

IMPORT = """
import sys
from pathlib import Path
from pipeline.registry.imports import import_list
from pipeline.registry.registry import Registry
from pipeline.store import Store

registry = Registry.open(Store.open_url(sys.argv[1]), sys.argv[2] or None)
print("ready", flush=True)
import_list(registry, Path(sys.argv[3]))
"""


def entries(registry: Registry) -> dict[tuple[str, bytes], tuple[Any, ...]]:
    with place.reading(registry.engine) as connection:
        rows = connection.execute(select(entry).where(entry.c.active)).all()
    return {(row.kind, bytes(row.digest)): (row.owner, row.category, row.distance, row.expires_utc) for row in rows}


def logged(registry: Registry) -> list[dict[str, Any]]:
    with place.reading(registry.engine) as connection:
        found = connection.execute(select(leaf.c.entry).where(leaf.c.type == "list_imported").order_by(leaf.c.number))
        return [json.loads(text) for text in found.scalars()]


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_a_list_is_counted_line_by_line_and_bad_lines_are_shown(either: Registry, tmp_path: Path) -> None:
    path = write(
        tmp_path / "list.txt", "# ours", "https://a.example/1.jpg", "http://www.a.example/1.jpg", "b.example", "not a domain!",
        *(f"bad line {n}" for n in range(9)), "0a" * 16,
    )  # fmt: skip
    done = import_list(either, path)
    assert (done.lines, done.added, done.known, done.withdrawn, done.bad) == (14, 3, 1, 0, 10)
    assert done.examples == [f"line {n}: no domain" for n in range(5, 10)]
    assert {kind for kind, _ in entries(either)} == {"url", "domain", "md5"}
    assert either.position() == 1
    (leaf_,) = logged(either)
    assert (leaf_["list"], leaf_["added"], leaf_["bad"]) == (done.id, 3, 10)
    assert "a.example" not in json.dumps(leaf_)
    assert either.imports() == [done.id]


@pytest.mark.slow
def test_200_000_lines_twice_add_nothing_the_second_time(opener: Opener, tmp_path: Path) -> None:
    registry = opener()
    count = (
        200_000 if registry.engine.dialect.name == "sqlite" else 50_000
    )  # the same code; the time of the tests is dear
    path = tmp_path / "urls.txt.gz"
    with gzip.open(path, "wt", compresslevel=1) as out:
        out.writelines(f"https://site{n % 5000}.example/{n}.jpg\n" for n in range(count))
    seen: list[int] = []
    first = import_list(registry, path, on_batch=seen.append)
    assert (first.lines, first.added, first.known, first.again) == (count, count, 0, False)
    assert seen[-1] == count
    assert seen[0] == 20_000  # committed in batches, as they are shown
    position, before = registry.position(), logged(registry)
    second = import_list(opener(), path)
    assert (second.lines, second.added, second.again) == (count, count, True)
    assert (registry.position(), logged(registry)) == (position, before)
    digest = removal.digest(registry.seed, "url", "site7.example/7.jpg")
    assert entries(registry)["url", digest] == (first.id, "train", 0, None)
    assert len(entries(registry)) == count


def test_a_newer_list_of_the_source_adds_what_is_new_and_takes_back_what_it_says(
    either: Registry, tmp_path: Path
) -> None:
    old = write(tmp_path / "old.txt", *(f"{n}.example" for n in range(100)))
    first = import_list(either, old, source="names")
    csv = [
        "type,value,status,category,expires_at",
        "domain,3.example,withdrawn,,",
        "domain,4.example,active,tdm,2030-01-01",
    ]
    new = write(tmp_path / "new.csv", *csv, *(f"domain,{n}.example,,," for n in range(50, 120)))
    position = either.position()
    done = import_list(either, new, source="names")
    assert (done.lines, done.added, done.known, done.withdrawn, done.bad) == (72, 20, 51, 1, 0)
    assert either.position() == position + 1
    found = entries(either)
    assert len(found) == 100 + 20 - 1

    def of(name: str) -> tuple[Any, ...] | None:
        return found.get(("domain", removal.digest(either.seed, "domain", name)))

    assert of("3.example") is None
    assert of("4.example") == (first.id, "tdm", 0, "2030-01-01T00:00:00Z")
    assert of("60.example") == (first.id, "train", 0, None)
    assert of("110.example") == (done.id, "train", 0, None)
    again = import_list(either, write(tmp_path / "same.txt", *(f"{n}.example" for n in range(50, 120))), source="names")
    assert (again.added, again.known, again.again) == (0, 70, False)
    assert either.position() == position + 1  # nothing changed, so nothing is matched anew


def test_what_one_source_takes_back_another_still_lists(either: Registry, tmp_path: Path) -> None:
    lists = {
        name: import_list(either, write(tmp_path / name, "a.example", "b.example"), source=name).id
        for name in ("one", "two")
    }
    either.add("domain", "a.example")
    back = write(tmp_path / "back.ndjson", '{"type":"domain","value":"a.example","status":"withdrawn"}')
    import_list(either, back, source="one")
    digest = removal.digest(either.seed, "domain", "a.example")
    with place.reading(either.engine) as connection:
        owners = set(connection.execute(select(entry.c.owner).where(entry.c.digest == digest)).scalars())
    assert lists["two"] in owners
    assert lists["one"] not in owners
    assert len(owners) == 2


def test_the_last_line_on_a_thing_counts(registry: Registry, tmp_path: Path) -> None:
    rows = [
        ("a", "active"),
        ("b", "active"),
        ("a", "withdrawn"),
        ("b", "withdrawn"),
        ("b", "active"),
        ("c", "withdrawn"),
    ]
    lines = [json.dumps({"type": "host", "value": f"{name}.example", "status": status}) for name, status in rows]
    done = import_list(registry, write(tmp_path / "list.jsonl", *lines))
    assert (done.lines, done.added, done.known, done.withdrawn) == (6, 1, 2, 3)
    assert set(entries(registry)) == {("host", removal.digest(registry.seed, "host", "b.example"))}


def test_prefixes_of_one_host_do_not_take_one_another_along(registry: Registry, tmp_path: Path) -> None:
    prefixes = [f"https://a.example/{name}/" for name in ("one", "two", "threefour")]
    done = import_list(registry, write(tmp_path / "prefixes", *prefixes), kind="url_prefix")
    assert (done.lines, done.added, done.known) == (3, 3, 0)
    whole = set(entries(registry))
    back = {"type": "url", "match": "prefix", "value": prefixes[0], "status": "withdrawn"}
    import_list(registry, write(tmp_path / "back.ndjson", json.dumps(back)))
    gone = ("url_prefix", removal.digest(registry.seed, "url_prefix", "a.example/one/"))
    assert set(entries(registry)) == whole - {gone}


def test_a_list_of_hashes_keeps_none_of_them_in_clear(registry: Registry, tmp_path: Path) -> None:
    hashes = {"sha256": "1b" * 32, "md5": "2c" * 16, "pdq": "3d" * 32, "phash64": "4e" * 8}
    lines = [json.dumps({"type": kind, "value": value, "category": "ncii"}) for kind, value in hashes.items()]
    assert import_list(registry, write(tmp_path / "list.ndjson", *lines)).added == 4
    registry.engine.dispose()
    data = b"".join(path.read_bytes() for path in (tmp_path / "set").rglob("*") if path.is_file())
    for value in hashes.values():
        assert bytes.fromhex(value) not in data
        assert value.encode() not in data


def test_a_list_that_breaks_off_adds_nothing_and_its_repair_adds_all(registry: Registry, tmp_path: Path) -> None:
    whole = gzip.compress("".join(f"{n}.example\n" for n in range(30_000)).encode())
    path = tmp_path / "list.txt.gz"
    path.write_bytes(whole[:-50])
    with pytest.raises(InputError, match=r"cannot be read as a list after line 2\d{4} "):
        import_list(registry, path)
    assert (entries(registry), registry.position(), registry.imports()) == ({}, 0, [])
    assert not list((tmp_path / "set" / "tmp").iterdir())
    path.write_bytes(whole)
    assert import_list(registry, path).added == 30_000


def test_a_list_that_comes_again_after_another_says_anew_what_that_took_back(either: Registry, tmp_path: Path) -> None:
    monday = write(tmp_path / "monday.txt", "a.example", "b.example")
    back = write(tmp_path / "tuesday.ndjson", '{"type":"domain","value":"a.example","status":"withdrawn"}')
    first = import_list(either, monday, source="daily")
    assert import_list(either, monday, source="daily").again
    import_list(either, back, source="daily")
    wanted = ("domain", removal.digest(either.seed, "domain", "a.example"))
    assert wanted not in entries(either)
    wednesday = import_list(either, monday, source="daily")
    assert (wednesday.again, wednesday.added, wednesday.known) == (False, 1, 1)
    assert wednesday.id != first.id
    assert wanted in entries(either)
    assert import_list(either, monday, source="daily").again


def test_the_same_hashes_said_to_be_another_kind_are_another_list(registry: Registry, tmp_path: Path) -> None:
    path = write(tmp_path / "hashes.txt", "1b" * 32)
    assert import_list(registry, path).added == 1  # read as sha256
    done = import_list(registry, path, kind="pdq")
    assert (done.again, done.added) == (False, 1)
    assert {kind for kind, _ in entries(registry)} == {"sha256", "pdq"}


def test_what_comes_through_a_pipe_is_read_once_and_whole(registry: Registry, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["sh", "-c", f"echo a.example > {pipe}"]):
        done = import_list(registry, pipe)
    assert (done.name, done.lines, done.added) == ("pipe", 1, 1)
    assert len(entries(registry)) == 1


def test_a_list_of_which_nothing_is_understood_is_no_list(registry: Registry, tmp_path: Path) -> None:
    for name, text, says in (
        ("list.csv", "https://a.example/1.jpg\nhttps://a.example/2.jpg\n", r"none of its 1 lines .*line 2: no value"),
        ("list.json", json.dumps([{"type": "url", "value": "https://a.example/"}], indent=1), "JSON one object a line"),
    ):
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(InputError, match=says):
            import_list(registry, path)
    (tmp_path / "empty.txt").touch()
    done = import_list(registry, tmp_path / "empty.txt")
    assert (done.lines, done.again) == (0, False)
    assert (registry.imports(), logged(registry)) == ([], [])


def test_one_hostile_line_stops_no_list(either: Registry, tmp_path: Path) -> None:
    hostile = (
        '{"type":"pdq","value":"' + "aa" * 32 + '","match":"hamming<=' + "9" * 40 + '"}',
        '{"type":"url","value":"https://a.example/\\ud800"}', '{"type":["url"],"value":{"a":1}}', '{"type":"url","value":1e999}',
        '{"type":"url","value":"https://a.example/","expires_at":"9999-12-31T23:59:59-23:59"}',
        '{"type":"url","value":"https://a.example/","expires_at":"0001-01-01T00:00:00+23:59"}',
        '{"type":"url","value":"https://a.example/","category":{"a":[]}}', "[" * 90_000,
        '{"type":"url","value":"https://\\u0000.example/"}', '{"type":"phash64","value":"' + "a" * 16 + '","match":"hamming<=64"}',
    )  # fmt: skip
    done = import_list(either, write(tmp_path / "list.ndjson", *hostile, '{"type":"host","value":"b.example"}'))
    assert done.lines == len(hostile) + 1
    assert ("host", removal.digest(either.seed, "host", "b.example")) in entries(either)
    assert {kind for kind, _ in entries(either)} <= {"url", "host"}


def test_wrong_words_are_named_before_anything_is_read(registry: Registry, tmp_path: Path) -> None:
    path = write(tmp_path / "list.txt", "a.example")
    with pytest.raises(InputError, match="category 'x': one of train, "):
        import_list(registry, path, category="x")
    with pytest.raises(InputError, match="--kind 'x': one of url, "):
        import_list(registry, path, kind="x")
    with pytest.raises(InputError, match=r"none\.txt: No such file"):
        import_list(registry, tmp_path / "none.txt")
    for source in ("", "x" * 65):
        with pytest.raises(InputError, match="a source has a name of 1 to 64 characters"):
            import_list(registry, path, source=source)
    with pytest.raises(InputError, match="Is a directory"):
        import_list(registry, tmp_path)
    assert registry.imports() == []


@pytest.mark.slow
def test_killed_at_random_moments_and_run_again_it_ends_as_if_never_killed(opener: Opener, tmp_path: Path) -> None:
    registry, count = opener(), 60_000
    url = registry.engine.url.render_as_string(hide_password=False) if registry.engine.dialect.name != "sqlite" else ""
    path = write(tmp_path / "urls.txt", *(f"https://site{n % 999}.example/{n}.jpg" for n in range(count)))
    chance, killed = random.Random(7), 0
    command = [sys.executable, "-c", IMPORT, str(tmp_path / "set"), url, str(path)]
    for wait_s in (*(chance.uniform(0.3, 2.0) for _ in range(2)), 200.0):
        run = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3], text=True)
        assert run.stdout is not None
        assert run.stdout.readline() == "ready\n"
        until = time.monotonic() + wait_s
        if wait_s == 200.0:
            assert run.wait(200) == 0
        else:
            if killed == 0:  # once surely in the middle of the merge
                while registry.position() == 0 and run.poll() is None:
                    time.sleep(0.01)
            else:
                time.sleep(max(0.0, until - time.monotonic()))
            if run.poll() is None:
                os.kill(run.pid, signal.SIGKILL)
                killed += 1
            run.wait()
        run.stdout.close()
    assert killed > 0
    done = import_list(opener(), path)
    assert (done.again, done.lines, done.added, done.known, done.bad) == (True, count, count, 0, 0)
    assert len(entries(registry)) == count
    assert [entry["added"] for entry in logged(registry)] == [count]
    assert registry.position() == 3  # one a batch, none twice
    assert registry.meta(f"import {done.id}") is None
    assert registry.check_log() == []

"""A destroyed key takes all it sealed with it: no byte of a person is in the database's files, however they are read."""

import json
import os
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import Connection, select

from pipeline.errors import InputError, StorageError
from pipeline.registry import place, receipts
from pipeline.registry.registry import Registry
from pipeline.registry.requests import Match
from pipeline.registry.scrub import scrub
from pipeline.registry.tables import request as request_table

URL = "https://artist.example/holiday/jane.jpg"
CONTACT = "jane.doe@mail.example"
NOTE = "Mein Name ist Jäne Dœ"
FACTS = {"url": URL, "text": "Jäne am Strand", "sha256": "ab" * 32}
NEEDLES = [text.encode() for text in (URL, "artist.example/holiday", CONTACT, NOTE, "Jäne", "Strand")]
NEEDLES += [bytes.fromhex("ab" * 32), ("ab" * 32).encode(), json.dumps(NOTE).encode()]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def found_in(folder: Path, needles: list[bytes]) -> list[tuple[str, bytes]]:
    return [(name, needle) for name, data in files(folder).items() for needle in needles if needle in data]


def keys(registry: Registry) -> dict[str, bytes]:
    with place.reading(registry.engine) as connection:
        return {
            id_: bytes(key) for id_, key in connection.execute(select(request_table.c.id, request_table.c.key)) if key
        }


def test_nothing_told_is_ever_in_clear_and_after_shredding_no_key_is_left(registry: Registry, tmp_path: Path) -> None:
    ids = []
    for number in range(300):  # so that pages split and rows move
        request = registry.add("url", f"{URL}?{number}", contact=CONTACT, note=NOTE * (number % 7))
        registry.add_matches(request.id, [Match(number.to_bytes(16, "big"), "part", "url", None, "confirmed", FACTS)])
        ids.append(request.id)
        if number % 3 == 0:
            registry.advance(request.id, "identified")
    folder, kept = tmp_path / "set", keys(registry)
    assert found_in(folder, NEEDLES) == []  # sealed from the first byte on
    assert found_in(folder, [kept[ids[4]]])  # the scan finds what is there
    for id_ in ids[::2]:
        registry.shred(id_)
    gone, left = [kept[id_] for id_ in ids[::2]], [kept[id_] for id_ in ids[1::2]]
    assert found_in(folder, NEEDLES + gone) == []
    assert (folder / "private" / "registry.sqlite-wal").stat().st_size == 0
    assert len({needle for _, needle in found_in(folder, left)}) == len(left)
    assert registry.secret(ids[1])["contact"] == CONTACT
    with pytest.raises(InputError, match="is no longer known, its key was destroyed"):
        registry.secret(ids[0])
    assert registry.get(ids[0]).forgotten
    assert registry.matches(ids[0])[0].secret is None
    assert registry.check_log() == []


def test_shredding_again_changes_nothing(either: Registry) -> None:
    request = either.add("url", URL, contact=CONTACT)
    either.shred(request.id)
    log = either.entries_of(request.id)
    either.shred(request.id)
    assert either.entries_of(request.id) == log
    assert [json.loads(entry)["type"] for _, entry in log] == ["received", "forgotten"]


def test_a_postgresql_server_has_no_row_with_the_key_any_more(postgres_url: str, tmp_path: Path) -> None:
    from pipeline.store import Store

    registry = Registry.open(Store.open_url(str(tmp_path / "set")), postgres_url)
    request = registry.add("url", URL, contact=CONTACT)
    key = keys(registry)[request.id]
    with registry.engine.connect() as connection:
        before = data_file(connection)
        assert key in before.read_bytes() or checkpointed(connection, before, key)
    registry.shred(request.id)
    with registry.engine.connect() as connection:
        connection.exec_driver_sql("CHECKPOINT")
        after = data_file(connection)
        assert after != before
        assert not before.exists() or before.stat().st_size == 0
        assert not [needle for needle in [*NEEDLES, key] if needle in after.read_bytes()]


def data_file(connection: Connection) -> Path:
    """Return the file of the table; the tests' server is on this machine."""
    if os.geteuid() != 0:
        pytest.skip("only root reads another user's database files")
    folder = Path(connection.exec_driver_sql("SHOW data_directory").scalar_one())
    return folder / str(connection.exec_driver_sql("SELECT pg_relation_filepath('request')").scalar_one())


def checkpointed(connection: Connection, file: Path, key: bytes) -> bool:
    connection.exec_driver_sql("CHECKPOINT")
    return key in file.read_bytes()


def test_a_reader_that_keeps_the_old_pages_is_named(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = registry.add("url", URL)
    other = sqlite3.connect(tmp_path / "set" / "private" / "registry.sqlite")
    other.execute("BEGIN")
    other.execute("SELECT * FROM request").fetchall()
    with registry.engine.connect() as connection:  # do not wait a minute
        connection.exec_driver_sql("PRAGMA busy_timeout=100")
    with pytest.raises(StorageError, match=r"registry\.sqlite-wal: still read by another program"):
        registry.shred(request.id)
    other.close()
    registry.shred(request.id)  # again, as the message says
    assert (tmp_path / "set" / "private" / "registry.sqlite-wal").stat().st_size == 0


def test_a_key_that_a_page_still_has_is_found_and_the_file_rewritten(registry: Registry, tmp_path: Path) -> None:
    file, key = tmp_path / "set" / "private" / "registry.sqlite", b"\x9a" * 32
    with place.writing(registry.engine) as connection:  # without secure_delete, a deleted row stays in its page
        connection.exec_driver_sql("PRAGMA secure_delete=OFF")
        connection.exec_driver_sql("CREATE TABLE stray (data BLOB)")
        connection.exec_driver_sql("INSERT INTO stray VALUES (?)", (key,))
    with registry.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA secure_delete=OFF")
        connection.exec_driver_sql("DELETE FROM stray")
        connection.commit()
    scrub(registry.engine)
    assert key in file.read_bytes()
    scrub(registry.engine, key)
    assert key not in file.read_bytes()


def test_receipts_and_reports_after_shredding_hold_no_key(registry: Registry) -> None:
    request = registry.add("url", URL)
    key = keys(registry)[request.id]
    before = json.dumps(receipts.receipt(registry, request.id))
    assert key.hex() not in before  # the opening is derived from it and unseals nothing
    registry.shred(request.id)
    assert receipts.receipt(registry, request.id)["opening"] is None

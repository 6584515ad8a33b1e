"""The log only grows: changed, removed and invented entries are found, and of what is appended at once nothing is lost."""

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import delete, func, select, text, update

from pipeline.errors import ConfigError, InvariantError, StorageError
from pipeline.registry import log, merkle, place
from pipeline.registry.registry import Registry
from pipeline.registry.tables import head, leaf, node
from pipeline.store import Store
from tests.pipeline.registry.conftest import Opener

APPENDS = """
import sys
from pipeline.registry.registry import Registry
from pipeline.store import Store

registry = Registry.open(Store.open_url(sys.argv[1]), sys.argv[2] or None)
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[4])):
    if number % 5 == 0:
        registry.add("url", f"https://{sys.argv[3]}.example/{number}.jpg")
    else:
        registry.append("test", {"who": sys.argv[3], "count": number})
"""


def filled(registry: Registry, entries: int = 11) -> Registry:
    for number in range(entries):
        registry.append("test", {"count": number})
        if number in (4, entries - 1):
            registry.sign()
    return registry


def test_an_untouched_log_is_whole_and_its_heads_follow_from_one_another(either: Registry) -> None:
    filled(either, 40)
    assert either.check_log() == []
    with place.reading(either.engine) as connection:
        notes = dict(connection.execute(select(head.c.size, head.c.note)).all())
        public = log.public_bytes(either.key)
        old, new = (log.open_note(notes[size], public) for size in (5, 40))
        assert old[:2] == (either.origin, 5)
        path = merkle.consistency(5, 40, log.reader(connection))
    assert merkle.consistent(5, 40, path, old[2], new[2])


@pytest.mark.parametrize("signed", [True, False])
def test_a_changed_entry_is_found(registry: Registry, signed: bool) -> None:
    filled(registry)
    with place.writing(registry.engine) as connection:
        entry = json.loads(connection.execute(select(leaf.c.entry).where(leaf.c.number == 3)).scalar_one())
        forged = log.canonical({**entry, "count": 999})
        connection.execute(update(leaf).where(leaf.c.number == 3).values(entry=forged))
        if not signed:
            connection.execute(delete(head))
    wrong = registry.check_log()
    assert wrong[0] == "leaf 3 is not what was hashed"
    assert ("the signed head of 5 leaves does not follow from the leaves" in wrong) == signed


def test_a_log_that_was_rewritten_whole_is_given_away_by_its_signed_heads(registry: Registry) -> None:
    filled(registry)
    with place.writing(registry.engine) as connection:
        entries = connection.execute(select(leaf.c.entry).order_by(leaf.c.number)).scalars().all()
        connection.execute(delete(leaf))
        connection.execute(delete(node))
        for entry in entries:
            body = {name: value for name, value in json.loads(entry).items() if name not in ("number", "utc", "type")}
            log.append(connection, "test", {**body, "count": body["count"] + 1})
    assert registry.check_log() == [
        "the signed head of 5 leaves does not follow from the leaves",
        "the signed head of 11 leaves does not follow from the leaves",
    ]


def test_removed_entries_nodes_and_forged_heads_are_found(registry: Registry) -> None:
    filled(registry)
    with place.writing(registry.engine) as connection:
        connection.execute(delete(leaf).where(leaf.c.number >= 9))
    assert "a head of 11 leaves was signed, the log has 9" in registry.check_log()
    with place.writing(registry.engine) as connection:
        connection.execute(update(node).where(node.c.level == 2, node.c.number == 0).values(hash=b"\0" * 32))
        connection.execute(delete(head))
        stranger = Ed25519PrivateKey.generate()
        note = log.signed_note(
            f"{registry.origin}\n0\n{base64.b64encode(merkle.EMPTY).decode()}\n", stranger, registry.origin
        )
        connection.execute(head.insert().values(size=0, root=merkle.EMPTY, utc="2026-01-01T00:00:00Z", note=note))
    assert registry.check_log() == [
        "node 4 of level 1 is not what the leaves give",  # of the leaves that went
        "node 0 of level 2 is not what the leaves give",
        "head of 0 leaves: the tree head carries no signature by this key",
    ]
    with place.writing(registry.engine) as connection:
        connection.execute(delete(leaf).where(leaf.c.number == 4))
    assert "leaf 4 is missing" in registry.check_log()


def test_a_head_is_a_c2sp_checkpoint_and_no_byte_of_it_can_change(registry: Registry) -> None:
    note, public = filled(registry).sign(), log.public_bytes(registry.key)
    origin, size, root, blank, signature = note.splitlines()
    assert (origin, size, blank) == (registry.origin, "11", "")
    assert len(base64.b64decode(root)) == 32
    dash, name, encoded = signature.split(" ")
    assert (dash, name) == ("—", origin)
    assert len(base64.b64decode(encoded)) == 4 + 64
    assert note.endswith("\n")
    assert log.open_note(note, public)[1] == 11
    for changed in (
        note.replace("\n11\n", "\n12\n"), note.replace(root, base64.b64encode(b"\0" * 32).decode()), note.replace(origin, "tamis/x"),
        note.replace(encoded, encoded[:-8] + "AAAAAAA="), note.replace("\n\n", "\n"), "", "\n\n", "a\nb\n\n— a !!\n",
    ):  # fmt: skip
        with pytest.raises(InvariantError, match="signature"):
            log.open_note(changed, public)


def test_the_signing_key_is_its_owners_alone_and_cannot_be_swapped(registry: Registry, tmp_path: Path) -> None:
    note, path = registry.sign(), tmp_path / "set" / "private" / "signing.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert Registry.open(registry.store).sign() == note
    kept = path.read_bytes()
    path.unlink()
    with pytest.raises(StorageError, match="signing key is gone; restore it from a backup"):
        Registry.open(registry.store).sign()
    log.signing_key(path.parent)  # a new one
    with pytest.raises(StorageError, match="not the key that signed the log before"):
        Registry.open(registry.store).sign()
    path.write_bytes(b"not a key")
    with pytest.raises(StorageError, match="not a private key"):
        Registry.open(registry.store).sign()
    path.write_bytes(kept)
    assert Registry.open(registry.store).sign() == note


def test_two_processes_that_append_at_once_lose_nothing(opener: Opener, tmp_path: Path) -> None:
    registry = opener()
    url = registry.engine.url.render_as_string(hide_password=False) if registry.engine.dialect.name != "sqlite" else ""
    many = 40
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", APPENDS, str(tmp_path / "set"), url, who, str(many)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3], text=True,
        )
        for who in ("one", "two", "three")
    ]  # fmt: skip
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        assert writer.wait(120) == 0
        for pipe in (writer.stdin, writer.stdout):
            assert pipe is not None
            pipe.close()
    with place.reading(registry.engine) as connection:
        entries = [
            json.loads(text) for text in connection.execute(select(leaf.c.entry).order_by(leaf.c.number)).scalars()
        ]
        nodes = connection.execute(select(func.count()).select_from(node)).scalar_one()
    assert [entry["number"] for entry in entries] == list(range(3 * many))
    told = {(entry["who"], entry["count"]) for entry in entries if entry["type"] == "test"}
    assert told == {(who, n) for who in ("one", "two", "three") for n in range(many) if n % 5}
    assert len(list(registry.requests())) == registry.position() == 3 * many // 5
    assert nodes == sum(3 * many >> level for level in range(1, 8))
    registry.sign()
    assert registry.check_log() == []


def test_a_change_and_its_entry_are_one_transaction(either: Registry) -> None:
    request = either.add("url", "https://a.example/1.jpg")
    with place.writing(either.engine) as connection:  # a gap, so that the next entry's subtree is incomplete
        connection.execute(leaf.insert().values(number=6, utc="", type="", entry="", hash=b""))
    with pytest.raises(InvariantError, match="the log has lost node 2 of level 1; restore the registry from a backup"):
        either.advance(request.id, "identified")
    assert either.get(request.id).state == "received"
    assert len(either.get(request.id).transitions) == 1


def test_the_log_says_nothing_personal(either: Registry) -> None:
    told = {"contact": "jane@mail.example", "note": "it shows my daughter"}
    request = either.add("url", "https://jane.example/holiday.jpg", **told)  # type: ignore[arg-type]
    either.add("text", "Jane Q. Doe")
    either.advance(request.id, "withdrawn")
    with place.reading(either.engine) as connection:
        said = "\n".join(connection.execute(select(leaf.c.entry)).scalars())
        rows = connection.execute(text("SELECT * FROM entry")).all()
    for needle in ("jane", "Jane", "holiday", "daughter", "mail.example"):
        assert needle not in said
        assert needle not in repr(rows)
    assert '"commitment":"' in said


def test_a_store_elsewhere_keeps_its_key_where_tamis_keys_says(
    s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, url = Store.open_url("s3://sets/keys"), f"sqlite:///{tmp_path}/away.sqlite"
    monkeypatch.delenv("TAMIS_KEYS", raising=False)
    with pytest.raises(ConfigError, match="name it in TAMIS_KEYS"):
        Registry.open(store, url).sign()
    monkeypatch.setenv("TAMIS_KEYS", str(tmp_path / "keys"))
    away = Registry.open(store, url)
    assert away.sign().startswith(away.origin)
    assert (tmp_path / "keys" / "signing.key").stat().st_mode & 0o777 == 0o600

"""The append-only log of what was asked and done: RFC 9162 hashing, heads signed with Ed25519 as C2SP checkpoints.

Leaves hold ids, commitments, counts and digests, never a URL, a name or a text, so that the log can outlive what it proves.
"""

import base64
import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from sqlalchemy import Connection, func, select

from pipeline.errors import InvariantError, StorageError
from pipeline.registry import clock, merkle
from pipeline.registry.tables import head, leaf, node

_ALGORITHM = b"\x01"  # Ed25519 in signed notes
KEY_FILE = "signing.key"


def signing_key(folder: Path) -> Ed25519PrivateKey:
    """Return the registry's key, made at the first use (PEM, mode 0600)."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    path = folder / KEY_FILE
    if not path.exists():
        fresh = Ed25519PrivateKey.generate()
        pem = fresh.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_suffix(f".{secrets.token_hex(8)}")  # threads of a server share its process id
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as out:
            out.write(pem)
            out.flush()
            os.fsync(out.fileno())
        try:
            os.link(draft, path)  # of two that start at once, one key wins
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except ValueError as error:
        raise StorageError(f"{path}: not a private key ({error}); restore it from a backup") from error
    assert isinstance(key, Ed25519PrivateKey)
    return key


def canonical(entry: Mapping[str, Any]) -> str:
    """Return the JSON that is hashed: keys sorted, no white space, as RFC 8785 writes what we put in (strings and integers)."""
    return json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def size(connection: Connection) -> int:
    """Return how many leaves the log has."""
    largest = connection.execute(select(func.max(leaf.c.number))).scalar()
    return 0 if largest is None else int(largest) + 1


def reader(connection: Connection) -> merkle.Node:
    """Return the function that reads a complete subtree's hash."""

    def read(level: int, number: int) -> bytes:
        if level == 0:
            found = connection.execute(select(leaf.c.hash).where(leaf.c.number == number)).scalar()
        else:
            found = connection.execute(
                select(node.c.hash).where(node.c.level == level, node.c.number == number)
            ).scalar()
        if found is None:
            raise InvariantError(f"the log has lost node {number} of level {level}; restore the registry from a backup")
        return bytes(found)

    return read


def append(connection: Connection, type_: str, body: Mapping[str, Any]) -> int:
    """Append an entry in the caller's transaction and return its number."""
    number, utc = size(connection), clock.text(clock.now_utc())
    entry = canonical({"number": number, "utc": utc, "type": type_, **body})
    hashed = merkle.leaf_hash(entry.encode())
    row = {"number": number, "utc": utc, "type": type_, "request": body.get("request"), "entry": entry, "hash": hashed}
    connection.execute(leaf.insert().values(**row))
    for level, at, value in merkle.grown(number, hashed, reader(connection)):
        connection.execute(node.insert().values(level=level, number=at, hash=value))
    return number


def sign_head(connection: Connection, key: Ed25519PrivateKey, origin: str) -> str:
    """Return the signed note of the newest head, made and kept where there is none yet."""
    count = size(connection)
    known = connection.execute(select(head.c.note).where(head.c.size == count)).scalar()
    if known is not None:
        return str(known)
    top = merkle.root(0, count, reader(connection))
    note = signed_note(f"{origin}\n{count}\n{base64.b64encode(top).decode()}\n", key, origin)
    connection.execute(head.insert().values(size=count, root=top, utc=clock.text(clock.now_utc()), note=note))
    return note


def public_bytes(key: Ed25519PrivateKey) -> bytes:
    """Return the 32 bytes that anyone may have."""
    return key.public_key().public_bytes_raw()


def _key_id(name: str, public: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + _ALGORITHM + public).digest()[:4]


def signed_note(body: str, key: Ed25519PrivateKey, name: str) -> str:
    """Return a signed note (C2SP signed-note): the text, a blank line, and one signature line."""
    signature = base64.b64encode(_key_id(name, public_bytes(key)) + key.sign(body.encode())).decode()
    return f"{body}\n— {name} {signature}\n"


def open_note(note: str, public: bytes) -> tuple[str, int, bytes]:
    """Return origin, size and root of a checkpoint whose signature holds; InvariantError otherwise."""
    body, blank, signatures = note.partition("\n\n")
    body += "\n"
    try:
        origin, count, top = body.splitlines()[:3]
        for line in signatures.splitlines() if blank else ():
            dash, name, encoded = line.split(" ")
            raw = base64.b64decode(encoded, validate=True)
            if dash == "—" and name == origin and raw[:4] == _key_id(name, public):
                Ed25519PublicKey.from_public_bytes(public).verify(raw[4:], body.encode())
                return origin, int(count), base64.b64decode(top, validate=True)
    except (ValueError, InvalidSignature) as error:
        raise InvariantError(
            "the tree head's signature does not hold: the head was changed, or signed by another key"
        ) from error
    raise InvariantError("the tree head carries no signature by this key")


def check(connection: Connection, public: bytes) -> list[str]:
    """Return what is wrong with the log: leaves or nodes that changed or went missing, heads that do not follow from them."""
    wrong: list[str] = []
    nodes: dict[tuple[int, int], bytes] = {}
    rows = connection.execute(select(leaf.c.number, leaf.c.entry, leaf.c.hash).order_by(leaf.c.number))
    count = 0
    for number, entry, hashed in rows:
        if number != count:
            wrong.append(f"leaf {count} is missing")
            break
        true = merkle.leaf_hash(entry.encode())
        if true != bytes(hashed):
            wrong.append(f"leaf {number} is not what was hashed")
        nodes[0, number] = true
        for level, at, value in merkle.grown(number, true, lambda level, at: nodes[level, at]):
            nodes[level, at] = value
        count += 1
    stored = {(level, at): bytes(value) for level, at, value in connection.execute(select(node))}
    wrong += [f"node {at} of level {level} is not what the leaves give" for level, at in sorted(nodes.keys() | stored)
              if level and stored.get((level, at)) != nodes.get((level, at))]  # fmt: skip
    for size_, top, note in connection.execute(select(head.c.size, head.c.root, head.c.note).order_by(head.c.size)):
        if size_ > count:
            wrong.append(f"a head of {size_} leaves was signed, the log has {count}")
        elif merkle.root(0, size_, lambda level, at: nodes[level, at]) != bytes(top):
            wrong.append(f"the signed head of {size_} leaves does not follow from the leaves")
        else:
            try:
                if open_note(note, public)[1:] != (size_, bytes(top)):
                    wrong.append(f"the signed note of {size_} leaves says something else")
            except InvariantError as error:
                wrong.append(f"head of {size_} leaves: {error}")
    return wrong

"""What a person told us, sealed with the request's own key: destroying the key forgets it, wherever copies of the rows are."""

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pipeline.errors import InvariantError

_NONCE_BYTES = 12


def new_key() -> bytes:
    """Return a fresh AES-256 key."""
    return AESGCM.generate_key(256)


def seal(key: bytes, value: Mapping[str, Any], what: str) -> bytes:
    """Return nonce ‖ AES-256-GCM of a JSON value; `what` (row it belongs to) is authenticated with it."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    plain = json.dumps(value, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return nonce + AESGCM(key).encrypt(nonce, plain, what.encode())


def unseal(key: bytes, sealed: bytes, what: str) -> dict[str, Any]:
    """Return the value; InvariantError when the bytes were changed or belong to another row."""
    try:
        plain = AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], what.encode())
    except InvalidTag as error:
        raise InvariantError(f"the sealed values of {what} were changed; restore the registry from a backup") from error
    found: dict[str, Any] = json.loads(plain.decode("utf-8", "surrogatepass"))
    return found


def opening(key: bytes) -> bytes:
    """Return the key of commitments: given to the requester, it opens the log's leaves on them and unseals nothing."""
    return hmac.digest(key, b"tamis commitment", hashlib.sha256)


def commitment(opening_key: bytes, kind: str, value: str | bytes) -> bytes:
    """Return HMAC-SHA256 of what the request names: it binds us and tells nothing to whom the key is unknown."""
    raw = value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
    return hmac.digest(opening_key, kind.encode() + b"\0" + raw, hashlib.sha256)

"""Links by which people follow what they filed: a secret that they alone hold, of which the registry keeps the digest."""

import hmac
import secrets
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Final

from sqlalchemy import select

from pipeline.registry import place
from pipeline.registry.registry import Registry
from pipeline.registry.tables import link

_SECRET_BYTES: Final = 20  # 160 bits; 128 are asked of a capability URL (W3C TAG, "Good Practices for Capability URLs")


def fresh_secret(seed: str | None = None) -> str:
    """Return a secret for a new link: random, or always the same one of a seed that nobody else can guess."""
    chosen = secrets.token_bytes(_SECRET_BYTES) if seed is None else sha256(b"tamis seed\0" + seed.encode()).digest()
    return urlsafe_b64encode(chosen[:_SECRET_BYTES]).rstrip(b"=").decode()


def new_link(registry: Registry, request_id: str, secret: str | None = None) -> str:
    """Return a secret that leads to a request from now on: the given one, which leads nowhere yet, or a fresh one."""
    secret = secret or fresh_secret()
    with place.writing(registry.engine) as connection:
        connection.execute(link.insert().values(hash=_hash(secret), request_id=request_id))
    return secret


def follow(registry: Registry, secret: str) -> str | None:
    """Return the id of the request that a secret leads to, or None.

    The database looks for the digest of a guess, so how long it takes tells nothing of any secret.
    """
    hashed = _hash(secret)
    with place.reading(registry.engine) as connection:
        row = connection.execute(select(link.c.hash, link.c.request_id).where(link.c.hash == hashed)).first()
    return str(row.request_id) if row is not None and hmac.compare_digest(bytes(row.hash), hashed) else None


def _hash(secret: str) -> bytes:
    return sha256(b"tamis link\0" + secret.encode("utf-8", "surrogatepass")).digest()

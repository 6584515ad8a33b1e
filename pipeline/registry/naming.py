"""What a request names, in the forms that are stored: a digest, what the log commits to, and list entries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from filters import removal
from filters.perceptual import PDQ_MIN_QUALITY
from pipeline.errors import InputError

Value = str | Mapping[str, str]
"""What a person named: a text, or a picture's hashes in hex (sha256, md5, pdq, …)."""
_WRITTEN = {
    "url": "https://example.org/picture.jpg", "url_prefix": "https://example.org/anne/", "host": "pictures.example.org",
    "domain": "example.org", "text": "at least one word", "creator": "at least one word",
}  # fmt: skip
_SHOWN = 80


@dataclass(frozen=True)
class Named:
    """One value in its stored forms."""

    digest: bytes  # 16 bytes, by which equal requests find one another
    form: str | bytes  # what the commitment is made of
    entries: Sequence[tuple[str, bytes, int]]  # kind, digest, length

    @classmethod
    def read(cls, seed: bytes, kind: str, value: Value) -> "Named":
        """Read a value; InputError when it is none of that kind."""
        if kind not in removal.KINDS:
            raise InputError(f"kind {kind!r}: one of {', '.join(removal.KINDS)}")
        if not isinstance(value, str):
            return cls._picture(seed, value)
        if kind == "picture":
            raise InputError("a picture is named by its hashes, sha256 at least")
        form = removal.normal(kind, value)
        if form is None:
            raise InputError(_none(kind, str(value)))
        if isinstance(form, bytes):
            return cls(removal.digest(seed, kind, form.hex()), form, [(kind, removal.listed_hash(seed, kind, form), 0)])
        return cls(removal.digest(seed, kind, form), form, removal.entries(seed, kind, form))

    @classmethod
    def _picture(cls, seed: bytes, hashes: Mapping[str, str]) -> "Named":
        forms: dict[str, bytes] = {}
        for kind in ("sha256", "md5", "pdq"):
            form = removal.normal(kind, hashes[kind]) if hashes.get(kind) else None
            if isinstance(form, bytes):
                forms[kind] = form
            elif hashes.get(kind):
                raise InputError(_none(kind, hashes[kind]))
        if "sha256" not in forms:
            raise InputError("a picture is named by its hashes, sha256 at least")
        listed: list[tuple[str, bytes]] = [(kind, forms[kind]) for kind in ("sha256", "md5") if kind in forms]
        if (
            "pdq" in forms and int(hashes.get("pdq_quality", PDQ_MIN_QUALITY)) >= PDQ_MIN_QUALITY
        ):  # else it says too little
            turned = [bytes.fromhex(text) for text in hashes.get("pdq_turned", "").split()]
            listed += [("pdq", form) for form in (forms["pdq"], *turned)]
        sha256 = forms["sha256"].hex()
        entries = [(kind, removal.listed_hash(seed, kind, form), 0) for kind, form in dict.fromkeys(listed)]
        return cls(removal.digest(seed, "picture", sha256), sha256, entries)


def _none(kind: str, value: str) -> str:
    """Return what is wrong with a value that is none of its kind, and how one is written."""
    shown = value if len(value) <= _SHOWN else value[:_SHOWN] + "…"
    written = _WRITTEN.get(kind) or f"{2 * removal.HASH_BYTES[kind]} hex digits"
    return f"{shown!r} is no {kind}; it is written as {written}"

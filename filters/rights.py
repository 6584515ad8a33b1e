"""What a picture's own metadata say about its use and its makers: IPTC/PLUS, TDM reservations, companion rights fields."""

import hashlib
import re
from typing import Final, NamedTuple

from filters import embedded, exif, xmp
from filters.embedded import Embedded
from filters.signal import Category, Flag, Mechanism, Statement, Value

PLUS: Final = "{http://ns.useplus.org/ldf/xmp/1.0/}"
_DC: Final = "{http://purl.org/dc/elements/1.1/}"
_TERMS: Final = "{http://purl.org/dc/terms/}"
_PHOTOSHOP: Final = "{http://ns.adobe.com/photoshop/1.0/}"
_RIGHTS: Final = "{http://ns.adobe.com/xap/1.0/rights/}"
_EXT: Final = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"
_TDM: Final = ("{http://www.w3.org/ns/tdmrep/}", "{http://www.w3.org/ns/tdmrep#}")
_CHARS: Final = 1000

_ALL: Final[tuple[Category, ...]] = ("tdm", "train", "train-genai", "search")
_MINING: Final[dict[str, dict[Category, Value]]] = {  # optout.md §6.1
    "DMI-UNSPECIFIED": {},
    "DMI-ALLOWED": dict.fromkeys(_ALL, "allow"),
    "DMI-PROHIBITED-AIMLTRAINING": {"train": "deny", "train-genai": "deny"},
    "DMI-PROHIBITED-GENAIMLTRAINING": {"train-genai": "deny"},
    "DMI-PROHIBITED-EXCEPTSEARCHENGINEINDEXING": {
        "tdm": "deny",
        "train": "deny",
        "train-genai": "deny",
        "search": "allow",
    },
}
_DENIED: Final[dict[Category, Value]] = dict.fromkeys(_ALL, "deny")
_VOCABULARY: Final = re.compile(r"(?:https?://ns\.useplus\.org/ldf/vocab/)?([A-Za-z-]+)/?", re.IGNORECASE)
_LOOKS_RESERVED: Final = re.compile(rb"DMI-PROHIBITED|reservation\s*(?:=\s*[\"']|>)\s*1", re.IGNORECASE)
# A packet without any of these names has nothing for us, and most packets (of histories and settings) are such.
_NAMES: Final = re.compile(
    rb"DataMining|reservation|creator|rights|Credit|UsageTerms|WebStatement|Marked|CopyrightOwner|Licensor|"
    rb"OtherConstraints|DigitalSourceType|provenance|\0"
)


class Said(NamedTuple):
    """One statement, how it was made, and the SHA-256 of the packet it stands in."""

    mechanism: Mechanism
    statement: Statement
    evidence: bytes | None


class Rights(NamedTuple):
    """Who made a picture and on which terms it may be used; names are those of the table's columns."""

    creator: str | None = None
    copyright: str | None = None
    credit: str | None = None
    usage_terms: str | None = None
    web_statement: str | None = None
    licensor: str | None = None
    digital_source_type: str | None = None
    copyright_owner: str | None = None
    other_constraints: str | None = None
    rights_marked: str | None = None


NOTHING: Final = Rights()


class Metadata(NamedTuple):
    """All that is read of one picture; `c2pa` tells that a manifest is there, which filters.c2pa reads."""

    rights: Rights
    said: list[Said]
    c2pa: bool


def read(data: bytes, name: str) -> Metadata:
    """Read the metadata of a picture of this format (jpeg, png, webp, tiff, gif, avif) from its original bytes."""
    found = embedded.find(data, name)
    if not (found.xmp or found.exif or found.iim or found.too_large):
        return Metadata(NOTHING, [], found.c2pa)
    said: list[Said] = []
    merged: xmp.Properties = {}
    said += [_unread(packet, "over the limit", "unreadable") for packet in found.too_large]
    for packet in found.xmp:
        if not _NAMES.search(packet):
            continue
        properties = xmp.parse(packet)
        if properties is None:
            said.append(_unread(packet, "not XML", "malformed"))
            continue
        said += statements(properties, hashlib.sha256(packet).digest())
        for key, values in properties.items():
            merged.setdefault(key, []).extend(values)
    if not found.c2pa:  # a manifest kept elsewhere is noted, and never fetched
        for url in xmp.texts(merged, f"{_TERMS}provenance"):
            said.append(
                Said("c2pa", Statement("train", "unknown", f"remote manifest {url}"[:_CHARS], "unreadable"), None)
            )
    return Metadata(companions(merged, found), said, found.c2pa)


def _unread(packet: bytes, why: str, flag: Flag) -> Said:
    """Return what a packet says that cannot be read, which may be a no."""
    if _LOOKS_RESERVED.search(packet):
        flag = "malformed_reservation"
    return Said("iptc-plus", Statement("train", "unknown", f"XMP packet {why}", flag), hashlib.sha256(packet).digest())


def statements(properties: xmp.Properties, evidence: bytes | None = None) -> list[Said]:
    """Return what plus:DataMining and tdm:reservation say, one statement a category."""
    found = [
        Said("iptc-plus", statement, evidence)
        for value in xmp.texts(properties, f"{PLUS}DataMining")
        for statement in data_mining(value)
    ]
    for namespace in _TDM:
        policy = "".join(f"; tdm:policy {url}" for url in xmp.texts(properties, f"{namespace}policy"))
        for text in xmp.texts(properties, f"{namespace}reservation"):
            value: Value = {"1": "deny", "0": "allow"}.get(text, "unknown")  # type: ignore[assignment]
            raw = f"tdm:reservation {text}{policy}"[:_CHARS]
            statement = Statement("tdm", value, raw, "malformed" if value == "unknown" else "")
            found.append(Said("xmp-tdm", statement, evidence))
    return found


def data_mining(value: str) -> list[Statement]:
    """Return what a value of plus:DataMining says of each category (optout.md §6.1).

    Lenient about a missing namespace, http or https, case and a final slash. A prohibition that the vocabulary does not
    have is one all the same; any other unknown value says nothing, and is kept as such.
    """
    match = _VOCABULARY.fullmatch(value.strip())
    raw = f"plus:DataMining {value}"[:_CHARS]
    key = match[1].upper() if match else ""
    said = _MINING.get(key)
    if said is None and key.startswith("DMI-PROHIBITED"):
        said = _DENIED
    if said is None:
        return [
            Statement("train", "unknown", raw, "malformed_reservation" if "prohibit" in value.lower() else "malformed")
        ]
    return [Statement(category, says, raw) for category, says in said.items()] or [Statement("train", "unknown", raw)]


def companions(properties: xmp.Properties, found: Embedded) -> Rights:
    """Return the companion fields (optout.md §6.2): XMP's, else IIM's, else EXIF's."""

    def first(*names: str) -> str | None:
        return next((values[0] for name in names if (values := xmp.texts(properties, name))), None)

    old = exif.iim(found.iim) if found.iim else {}
    tags = exif.texts(found.exif) if found.exif else {}
    marked = (first(f"{_RIGHTS}Marked") or "").lower()
    return Rights(
        creator=_joined(xmp.texts(properties, f"{_DC}creator"), old.get(exif.BYLINE), tags.get(exif.ARTIST)),
        copyright=_joined(first(f"{_DC}rights"), old.get(exif.NOTICE), tags.get(exif.COPYRIGHT)),
        credit=_joined(first(f"{_PHOTOSHOP}Credit"), old.get(exif.CREDIT)),
        usage_terms=_joined(first(f"{_RIGHTS}UsageTerms")),
        web_statement=_joined(first(f"{_RIGHTS}WebStatement")),
        licensor=_joined(_parties(properties, f"{PLUS}Licensor", f"{PLUS}LicensorName", f"{PLUS}LicensorURL")),
        digital_source_type=_joined(first(f"{_EXT}DigitalSourceType")),
        copyright_owner=_joined(_parties(properties, f"{PLUS}CopyrightOwner", f"{PLUS}CopyrightOwnerName")),
        other_constraints=_joined(first(f"{PLUS}OtherConstraints")),
        rights_marked=marked if marked in ("true", "false") else None,
    )


def _parties(properties: xmp.Properties, name: str, *parts: str) -> list[str]:
    """Return people or firms, each as its name and address in one text."""
    found = [
        " ".join(text for part in parts for text in xmp.texts(party, part)[:1])
        for party in xmp.structures(properties, name)
    ]
    return [text for text in found if text]


def _joined(*sources: str | list[str] | None) -> str | None:
    """Return the first source that says something, a list's entries joined by semicolons, cut at a sane length."""
    for source in sources:
        text = source if isinstance(source, str) else "; ".join(dict.fromkeys(source or ()))
        if text.strip():
            return text.strip()[:_CHARS]
    return None

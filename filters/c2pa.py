"""Read training-and-mining assertions (C2PA 1.4, CAWG 1.1) out of a picture's manifests; nothing is fetched for it.

Call it for pictures that carry a manifest (filters.embedded): the library costs a tenth of a millisecond to find none.
"""

import io
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from filters.rights import Said
from filters.signal import Category, Flag, Statement, Value

_MIME: Final = {
    "jpeg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "tiff": "image/tiff",
    "gif": "image/gif",
    "avif": "image/avif",
}
# Manifests, revocation lists and timestamps elsewhere are strangers' addresses: none is dialled.
_OFFLINE: Final = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}
_LABEL: Final = re.compile(r"(?:c2pa|cawg)\.training-mining(?:\.v\d+)?(?:__\d+)?")
_CATEGORY: Final[dict[str, Category]] = {
    "data_mining": "tdm",
    "ai_training": "train",  # of models that do not generate
    "ai_generative_training": "train-genai",
    "ai_inference": "ai-input",
}
_USE: Final[dict[str, Value]] = {"notallowed": "deny", "constrained": "deny", "allowed": "allow"}
_SOUND: Final = ("Valid", "Trusted")
_LOOKS_RESERVED: Final = re.compile(rb"training-mining.{0,2000}?(?:notAllowed|constrained)", re.DOTALL)
_CHARS: Final = 1000


def statements(data: bytes, name: str) -> list[Said]:
    """Return what all manifests of a picture say, those of its ingredients too.

    Denials count whoever signed them and whatever was done to the file; an allowance counts only of the picture itself,
    in a manifest that is whole. What cannot be read is unknown.
    """
    import c2pa

    try:
        with c2pa.Settings.from_dict(_OFFLINE) as settings, c2pa.Context(settings) as context:
            reader = c2pa.Reader.try_create(_MIME[name], io.BytesIO(data), context=context)
            if reader is None:
                return []
            with reader:
                store = json.loads(reader.json())
    except (c2pa.C2paError, ValueError, OSError) as error:
        flag: Flag = "malformed_reservation" if _LOOKS_RESERVED.search(data) else "unreadable"
        return [Said("c2pa", Statement("train", "unknown", f"unreadable manifest: {error}"[:_CHARS], flag), None)]
    return list(dict.fromkeys(_read(store)))


def _read(store: Mapping[str, Any]) -> Iterator[Said]:
    sound, active = store.get("validation_state") in _SOUND, store.get("active_manifest")
    for name, manifest in store.get("manifests", {}).items():
        for assertion in manifest.get("assertions") or ():
            if not _LABEL.fullmatch(str(assertion.get("label"))):
                continue
            data = assertion.get("data")
            listed = data.get("entries") if isinstance(data, dict) else None
            if not isinstance(listed, dict):
                raw = f"{assertion['label']}: no entries"
                yield Said("c2pa", Statement("train", "unknown", raw, "malformed"), None)
                continue
            for key, entry in listed.items():
                if statement := _entry(str(assertion["label"]), str(key), entry, may_allow=sound and name == active):
                    yield Said("c2pa", statement, None)


def _entry(label: str, key: str, entry: object, *, may_allow: bool) -> Statement | None:
    """Read one entry; other keys than the specification's are ignored, as it asks."""
    category = _CATEGORY.get(key.rpartition(".")[2])
    if category is None:
        return None
    fields: Mapping[str, Any] = entry if isinstance(entry, dict) else {"use": entry}
    use = str(fields.get("use"))
    value = _USE.get(re.sub(r"[^a-z]", "", use.lower()), "unknown")
    constraint = fields.get("constraint_info") or fields.get("constraints_info")
    raw = f"{label} {key}: {use}" + (f" ({constraint})" if constraint else "")
    if value == "allow" and not may_allow:
        return Statement(category, "unknown", f"{raw}, in a manifest that proves nothing"[:_CHARS])
    return Statement(category, value, raw[:_CHARS], "malformed" if value == "unknown" else "")

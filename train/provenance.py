"""A made picture says what made it: XMP with IPTC's digital source type, the facts as JSON, and, with a certificate, C2PA.

IPTC Photo Metadata Standard 2023.1, property Digital Source Type; IPTC NewsCodes `trainedAlgorithmicMedia`; C2PA 2.1, section
18.16.3 (`c2pa.created` with a digitalSourceType).
"""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape, quoteattr

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pipeline.errors import InputError

SOURCE_TYPE: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
FORMATS: Final = {"png": "image/png", "webp": "image/webp"}
_TOOL: Final = "tamis"


def xmp(facts: Mapping[str, Any]) -> bytes:
    """Return an XMP packet that calls the picture one of a trained model and holds the facts."""
    told = escape(_json(facts))
    prompt = escape(str(facts.get("prompt") or ""))
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
        'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/" '
        f"Iptc4xmpExt:DigitalSourceType={quoteattr(SOURCE_TYPE)} xmp:CreatorTool={quoteattr(_TOOL)}>"
        f'<dc:title><rdf:Alt><rdf:li xml:lang="x-default">{prompt}</rdf:li></rdf:Alt></dc:title>'
        f'<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{told}</rdf:li></rdf:Alt></dc:description>'
        "</rdf:Description></rdf:RDF></x:xmpmeta>"
        '<?xpacket end="w"?>'
    ).encode()


def _json(facts: Mapping[str, Any]) -> str:
    return json.dumps(facts, sort_keys=True, ensure_ascii=False, allow_nan=False)


def encode(picture: Image.Image, form: str, facts: Mapping[str, Any]) -> bytes:
    """Return a PNG or lossless WebP with the facts in it; the same picture and facts give the same bytes."""
    if form not in FORMATS:
        raise InputError(f"no format {form!r}; there are {', '.join(FORMATS)}")
    out = io.BytesIO()
    if form == "png":
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp(facts).decode())
        info.add_itxt("tamis", _json(facts))
        picture.save(out, "PNG", pnginfo=info)
    else:
        picture.save(out, "WEBP", lossless=True, quality=80, method=4, xmp=xmp(facts))
    return out.getvalue()


def facts_of(path: Path) -> dict[str, Any]:
    """Read the facts back from a picture that `encode` made; InputError where there are none."""
    from defusedxml import ElementTree

    with Image.open(path) as opened:
        packet = opened.info.get("xmp") or opened.info.get("XML:com.adobe.xmp")
    if not packet:
        raise InputError(f"{path}: holds no facts of a model")
    text = packet.decode() if isinstance(packet, bytes) else packet
    tree = ElementTree.fromstring(text[text.index("<x:xmpmeta") : text.rindex("</x:xmpmeta>") + len("</x:xmpmeta>")])
    description = tree.find(".//{http://purl.org/dc/elements/1.1/}description")
    found: dict[str, Any] = json.loads("".join(description.itertext())) if description is not None else {}
    return found


def sign(data: bytes, form: str, facts: Mapping[str, Any], certificate: Path, private_key: Path) -> bytes:
    """Return the picture with a C2PA manifest signed by a user's certificate chain (PEM) and key (PEM, ES256).

    No time-stamping service is asked: nothing leaves the machine. InputError when certificate and key do not fit.
    """
    import c2pa

    created = {"action": "c2pa.created", "digitalSourceType": SOURCE_TYPE, "softwareAgent": {"name": _TOOL}}
    manifest = {
        "claim_generator_info": [{"name": _TOOL}],
        "title": str(facts.get("prompt") or "picture"),
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [created]}},
            {"label": "org.tamis.sample", "data": dict(facts)},
        ],
    }
    try:
        info = c2pa.C2paSignerInfo(
            alg=c2pa.C2paSigningAlg.ES256,
            sign_cert=certificate.read_bytes(),
            private_key=private_key.read_bytes(),
            ta_url=None,
        )
        signer = c2pa.Signer.from_info(info)
        out = io.BytesIO()
        c2pa.Builder(manifest).sign(signer, FORMATS[form], io.BytesIO(data), out)
    except (c2pa.C2paError, OSError) as error:
        raise InputError(
            f"{certificate} and {private_key}: cannot sign with these ({error}); give a certificate chain and its P-256 key, both PEM"
        ) from error
    return out.getvalue()

"""Pictures that carry XMP in every container, and packets in each of RDF's spellings; made by Pillow or byte by byte."""

import io
import zlib
from typing import Any

from PIL import Image, PngImagePlugin

from tests import pictures

PLUS = "http://ns.useplus.org/ldf/xmp/1.0/"
VOCABULARY = "http://ns.useplus.org/ldf/vocab/"
FORMATS = ("jpeg", "png", "webp", "tiff", "avif")
SPELLINGS = ("attribute", "element", "resource")
_NAMESPACES = {
    "plus": PLUS,
    "dc": "http://purl.org/dc/elements/1.1/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "xmpRights": "http://ns.adobe.com/xap/1.0/rights/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "xmpMM": "http://ns.adobe.com/xap/1.0/mm/",
    "stranger": "https://stranger.example/ns/",
}


def packet(body: str = "", attributes: str = "", **namespaces: str) -> bytes:
    """Return a packet whose one description has these attributes and elements."""
    names = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in (_NAMESPACES | namespaces).items())
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" {names} {attributes}>{body}</rdf:Description></rdf:RDF></x:xmpmeta>'
        f'{" " * 200}<?xpacket end="w"?>'
    ).encode()


def mining(value: str, spelling: str = "attribute", prefix: str = "plus") -> bytes:
    """Return a packet with a DataMining property, spelled in one of RDF's ways."""
    if spelling == "attribute":
        return packet(attributes=f'{prefix}:DataMining="{value}"')
    if spelling == "element":
        return packet(f"<{prefix}:DataMining>{value}</{prefix}:DataMining>")
    return packet(f'<{prefix}:DataMining rdf:resource="{value}"/>')


def carrying(xmp: bytes, name: str = "jpeg", picture: Any = None, **options: Any) -> bytes:
    """Return a picture of a format with this packet in it."""
    shown = pictures.scene(120, 90) if picture is None else picture
    if name == "png":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp.decode(), zip=options.pop("zip", False))
        return pictures.saved(shown, "PNG", pnginfo=info, **options)
    if name == "tiff":
        return pictures.saved(shown, "TIFF", tiffinfo={700: xmp}, **options)
    if name == "gif":  # by hand: an application extension right behind the header and its colours
        plain = pictures.saved(shown, "GIF")
        at = 13 + (3 << ((plain[10] & 7) + 1) if plain[10] & 0x80 else 0)
        trailer = b"\x01" + bytes(range(255, -1, -1)) + b"\0"
        return plain[:at] + b"\x21\xff\x0bXMP DataXMP" + xmp + trailer + plain[at:]
    return pictures.saved(shown, name.upper(), xmp=xmp, **options)


def with_segments(*segments: tuple[int, bytes]) -> bytes:
    """Return a JPEG with these APPn segments (marker's low byte, body) in front."""
    plain = pictures.jpeg(120, 90)
    made = b"".join(bytes((0xFF, low)) + (len(body) + 2).to_bytes(2, "big") + body for low, body in segments)
    return plain[:2] + made + plain[2:]


def iim(*fields: tuple[int, bytes], utf8: bool = False) -> bytes:
    """Return a Photoshop segment's body with IIM records of the application record."""
    records = b"\x1c\x01\x5a\0\x03\x1b%G" if utf8 else b""
    records += b"".join(b"\x1c\x02" + bytes((n,)) + len(text).to_bytes(2, "big") + text for n, text in fields)
    other = b"8BIM\x04\x25\0\0" + (16).to_bytes(4, "big") + bytes(16)
    return b"Photoshop 3.0\0" + other + b"8BIM\x04\x04\0\0" + len(records).to_bytes(4, "big") + records


def exif(**tags: str) -> Image.Exif:
    """Return an EXIF block with Artist and Copyright."""
    block = Image.Exif()
    for name, text in tags.items():
        block[{"artist": 0x013B, "copyright": 0x8298}[name]] = text
    return block


def reencoded(data: bytes, name: str = "JPEG") -> bytes:
    """Return what is left of a picture after Pillow opened and saved it, as any resizing does."""
    with Image.open(io.BytesIO(data)) as image:
        return pictures.saved(image.convert("RGB").resize((60, 45)), name)


def png_text(body: bytes) -> bytes:
    """Return a PNG with an iTXt chunk of this body behind its pixels."""
    plain = pictures.saved(pictures.scene(120, 90), "PNG")
    chunk = len(body).to_bytes(4, "big") + b"iTXt" + body + zlib.crc32(b"iTXt" + body).to_bytes(4, "big")
    return plain[:-12] + chunk + plain[-12:]

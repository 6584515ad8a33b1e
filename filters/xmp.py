"""Read an XMP packet (ISO 16684-1) into plain values, whichever of RDF's spellings it uses; namespaces are exact."""

import re
from typing import TYPE_CHECKING, Final, Union
from xml.etree.ElementTree import ParseError

from defusedxml.common import DefusedXmlException

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

RDF: Final = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_XML: Final = "{http://www.w3.org/XML/1998/namespace}"
_CONTAINERS: Final = (f"{RDF}Alt", f"{RDF}Bag", f"{RDF}Seq")
_DEEPEST: Final = 12
_ILLEGAL: Final = re.compile(
    "[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|&#(?:x0*[0-8bcefBCEF]|0*[0-8]|0*1[124-9]);"
)

Value = Union[str, "Properties"]
Properties = dict[str, list[Value]]
"""Name ("{namespace}local") → values in their order; an array's items are values of their own, a structure is one."""


def parse(packet: bytes) -> Properties | None:
    """Return the properties of a packet's resource; None when it is not XML, or is XML of a kind that attacks parsers.

    Properties of other resources that are nested in it (what a montage was made of) are within its values, not beside them.
    """
    root = _tree(packet)
    if root is None:
        return None
    found: Properties = {}
    for rdf in root.iter(f"{RDF}RDF"):
        for resource in rdf:
            for name, values in _fields(resource, 0).items():
                found.setdefault(name, []).extend(values)
    return found


def _tree(packet: bytes) -> "Element | None":
    from defusedxml.ElementTree import fromstring

    body = packet if packet[:2] in (b"\xff\xfe", b"\xfe\xff") else packet.strip(b"\0 \t\r\n")  # UTF-16 ends in zeros
    try:
        return fromstring(body, forbid_dtd=True)  # type: ignore[no-any-return]
    except DefusedXmlException:
        return None
    except (ParseError, ValueError, LookupError):
        pass
    # Writers leave control characters and bytes of other charsets in texts; what is around them can still be read.
    cleaned = _ILLEGAL.sub("", body.decode("utf-8", "replace"))
    try:
        return fromstring(re.sub(r"^\s*<\?xml[^>]*\?>", "", cleaned), forbid_dtd=True)  # type: ignore[no-any-return]
    except (ParseError, ValueError, LookupError):  # DefusedXmlException is a ValueError
        return None


def _fields(element: "Element", depth: int) -> Properties:
    """Return the properties of a description or structure: its attributes and its children."""
    found: Properties = {
        name: [value.strip()]
        for name, value in element.attrib.items()
        if not name.startswith((RDF, _XML)) and value.strip()
    }
    if value := element.get(f"{RDF}value"):
        found[f"{RDF}value"] = [value.strip()]
    for child in element:
        if isinstance(child.tag, str):
            found.setdefault(child.tag, []).extend(_values(child, depth + 1))
    return found


def _values(element: "Element", depth: int) -> list[Value]:
    """Return the values of one property element: text, URI, array, or structure in any of its four spellings."""
    resource = element.get(f"{RDF}resource")
    if resource is not None:
        return [resource.strip()]
    if depth > _DEEPEST:
        return []
    children = [child for child in element if isinstance(child.tag, str)]
    if not children and not any(not name.startswith((RDF, _XML)) for name in element.attrib):
        value = (element.get(f"{RDF}value") or element.text or "").strip()
        return [value] if value else []
    if children and children[0].tag in _CONTAINERS:
        items = [item for item in children[0] if item.tag == f"{RDF}li"]
        items.sort(key=lambda item: item.get(f"{_XML}lang") != "x-default")
        return [value for item in items for value in _values(item, depth + 1)]
    fields = _fields(children[0] if children and children[0].tag == f"{RDF}Description" else element, depth)
    return fields.get(f"{RDF}value") or ([fields] if fields else [])  # rdf:value: a value with qualifiers


def texts(properties: Properties, name: str) -> list[str]:
    """Return the values of a property that are texts."""
    return [value for value in properties.get(name, ()) if isinstance(value, str) and value]


def structures(properties: Properties, name: str) -> list[Properties]:
    """Return the values of a property that are structures."""
    return [value for value in properties.get(name, ()) if isinstance(value, dict)]

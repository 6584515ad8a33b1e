"""What pictures' own metadata say: IPTC/PLUS data mining, TDM reservations, and who made them on which terms."""

import random
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from filters import embedded, rights
from filters.policy import ReleasePolicy
from filters.rights import Rights
from filters.signal import Category, Value
from tests import pictures
from tests.rights_pictures import (
    FORMATS,
    SPELLINGS,
    VOCABULARY,
    carrying,
    exif,
    iim,
    mining,
    packet,
    png_text,
    reencoded,
    with_segments,
)

ALL: tuple[Category, ...] = ("tdm", "train", "train-genai", "search")
TABLE: dict[str, dict[Category, Value]] = {
    "DMI-UNSPECIFIED": {},
    "DMI-ALLOWED": dict.fromkeys(ALL, "allow"),
    "DMI-PROHIBITED-AIMLTRAINING": {"train": "deny", "train-genai": "deny"},
    "DMI-PROHIBITED-GENAIMLTRAINING": {"train-genai": "deny"},
    "DMI-PROHIBITED-EXCEPTSEARCHENGINEINDEXING": {
        "tdm": "deny",
        "train": "deny",
        "train-genai": "deny",
        "search": "allow",
    },
    "DMI-PROHIBITED": dict.fromkeys(ALL, "deny"),
    "DMI-PROHIBITED-SEECONSTRAINT": dict.fromkeys(ALL, "deny"),
    "DMI-PROHIBITED-SEEEMBEDDEDRIGHTSEXPR": dict.fromkeys(ALL, "deny"),
    "DMI-PROHIBITED-SEELINKEDRIGHTSEXPR": dict.fromkeys(ALL, "deny"),
}


def said(data: bytes, name: str = "jpeg") -> dict[str, str]:
    """Return category → value of what plus:DataMining says."""
    found = rights.read(data, name).said
    assert all(one.mechanism == "iptc-plus" for one in found)
    return {one.statement.category: one.statement.value for one in found if one.statement.value != "unknown"}


@pytest.mark.parametrize("name", [*FORMATS, "gif"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_is_read_from_every_format(spelling: str, name: str) -> None:
    xmp = mining(f"{VOCABULARY}DMI-PROHIBITED-AIMLTRAINING", spelling)
    data = carrying(xmp, name)
    assert said(data, name) == {"train": "deny", "train-genai": "deny"}
    assert rights.read(pictures.saved(pictures.scene(120, 90), name.upper()), name).said == []


@pytest.mark.parametrize("name", FORMATS)
def test_re_encoding_loses_it_which_is_why_it_is_read_from_the_original_bytes(name: str) -> None:
    data = carrying(mining(f"{VOCABULARY}DMI-PROHIBITED"), name)
    assert said(data, name) == TABLE["DMI-PROHIBITED"]
    assert rights.read(reencoded(data), "jpeg") == (Rights(), [], False)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_strangers_property_of_the_same_name_says_nothing(spelling: str) -> None:
    assert rights.read(carrying(mining(f"{VOCABULARY}DMI-PROHIBITED", spelling, prefix="stranger")), "jpeg").said == []
    both = packet(
        "<stranger:DataMining>DMI-PROHIBITED</stranger:DataMining><plus:DataMining>DMI-ALLOWED</plus:DataMining>"
    )
    assert said(carrying(both)) == dict.fromkeys(ALL, "allow")


def test_what_is_said_of_a_montages_ingredient_is_not_said_of_the_picture() -> None:
    inner = '<rdf:li rdf:parseType="Resource"><plus:DataMining>DMI-PROHIBITED</plus:DataMining></rdf:li>'
    assert said(carrying(packet(f"<xmpMM:Pantry><rdf:Bag>{inner}</rdf:Bag></xmpMM:Pantry>"))) == {}


@pytest.mark.parametrize(("key", "wanted"), TABLE.items())
def test_the_table_of_values(key: str, wanted: dict[Category, Value]) -> None:
    found = {statement.category: statement.value for statement in rights.data_mining(VOCABULARY + key)}
    assert {category: value for category, value in found.items() if value != "unknown"} == wanted
    assert found  # also DMI-UNSPECIFIED leaves its trace
    denied = ReleasePolicy().deny
    assert any(wanted.get(category) == "deny" for category in denied) is key.startswith("DMI-PROHIBITED")


@pytest.mark.parametrize("form", ["{}", "{}/", " {} ", "https://ns.useplus.org/ldf/vocab/{}", VOCABULARY + "{}/"])
def test_lenient_about_how_a_value_is_written(form: str) -> None:
    for key in (*TABLE, "dmi-prohibited"):
        wanted = rights.data_mining(VOCABULARY + key.upper())
        found = rights.data_mining(form.format(key))
        assert [(s.category, s.value, s.flag) for s in found] == [(s.category, s.value, s.flag) for s in wanted]


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("DMI-PROHIBITED-ONTUESDAYS", [(category, "deny", "") for category in ALL]),
        ("DMI-PERHAPS", [("train", "unknown", "malformed")]),
        ("yes", [("train", "unknown", "malformed")]),
        ("Prohibited for AI/ML training", [("train", "unknown", "malformed_reservation")]),
        ("https://elsewhere.example/DMI-ALLOWED", [("train", "unknown", "malformed")]),
    ],
)
def test_unknown_prohibitions_prohibit_and_other_unknown_values_never_allow(
    value: str, wanted: list[tuple[str, str, str]]
) -> None:
    assert [(s.category, s.value, s.flag) for s in rights.data_mining(value)] == wanted


@pytest.mark.parametrize("namespace", ["http://www.w3.org/ns/tdmrep/", "http://www.w3.org/ns/tdmrep#"])
@pytest.mark.parametrize(("text", "value"), [("1", "deny"), ("0", "allow"), ("true", "unknown")])
def test_tdm_reservations_in_xmp_are_read_in_both_spellings_of_the_namespace(
    namespace: str, text: str, value: str
) -> None:
    body = f'<tdm:reservation>{text}</tdm:reservation><tdm:policy rdf:resource="https://a.example/policy"/>'
    (one,) = rights.read(carrying(packet(body, tdm=namespace)), "jpeg").said
    assert (one.mechanism, one.statement.category, one.statement.value) == ("xmp-tdm", "tdm", value)
    assert one.statement.raw == f"tdm:reservation {text}; tdm:policy https://a.example/policy"
    assert one.statement.flag == ("malformed" if value == "unknown" else "")


COMPANIONS = (
    "<dc:creator><rdf:Seq><rdf:li>Ada Byron</rdf:li><rdf:li>Bo Ek</rdf:li></rdf:Seq></dc:creator>"
    '<dc:rights><rdf:Alt><rdf:li xml:lang="de">© Ada, alle Rechte</rdf:li>'
    '<rdf:li xml:lang="x-default">© Ada, all rights</rdf:li></rdf:Alt></dc:rights>'
    "<photoshop:Credit>Ada/Agency</photoshop:Credit><xmpRights:Marked>True</xmpRights:Marked>"
    '<xmpRights:UsageTerms><rdf:Alt><rdf:li xml:lang="x-default">No training</rdf:li></rdf:Alt></xmpRights:UsageTerms>'
    '<plus:CopyrightOwner><rdf:Seq><rdf:li plus:CopyrightOwnerName="Ada Ltd"/></rdf:Seq></plus:CopyrightOwner>'
    "<plus:Licensor><rdf:Seq><rdf:li><rdf:Description><plus:LicensorName>Firm</plus:LicensorName>"
    '<plus:LicensorURL rdf:resource="https://firm.example"/></rdf:Description></rdf:li></rdf:Seq></plus:Licensor>'
    "<plus:OtherConstraints><rdf:Alt><rdf:li>Ask first</rdf:li></rdf:Alt></plus:OtherConstraints>"
)
WANTED = Rights(
    creator="Ada Byron; Bo Ek",
    copyright="© Ada, all rights",
    credit="Ada/Agency",
    usage_terms="No training",
    web_statement="https://a.example/terms",
    licensor="Firm https://firm.example",
    digital_source_type="http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture",
    copyright_owner="Ada Ltd",
    other_constraints="Ask first",
    rights_marked="true",
)


@pytest.mark.parametrize("name", FORMATS)
def test_companion_fields_are_read_whatever_rdf_makes_of_them(name: str) -> None:
    attributes = (
        f'xmpRights:WebStatement="{WANTED.web_statement}" Iptc4xmpExt:DigitalSourceType="{WANTED.digital_source_type}"'
    )
    assert rights.read(carrying(packet(COMPANIONS, attributes), name), name).rights == WANTED


def test_iim_stands_in_for_xmp_and_exif_for_iim() -> None:
    old = iim((80, "Åsa".encode()), (80, b"Bo"), (110, b"Agency"), (116, "© Åsa".encode()), utf8=True)
    taken = exif(artist="Exif Artist", copyright="Exif Notice").tobytes()
    both = rights.read(with_segments((0xE1, taken), (0xED, old)), "jpeg").rights
    assert both == Rights(creator="Åsa; Bo", copyright="© Åsa", credit="Agency")
    xmp = b"http://ns.adobe.com/xap/1.0/\0" + packet(attributes='photoshop:Credit="XMP"')
    all_three = rights.read(with_segments((0xE1, taken), (0xE1, xmp), (0xED, old)), "jpeg").rights
    assert all_three == Rights(creator="Åsa; Bo", copyright="© Åsa", credit="XMP")
    latin = rights.read(with_segments((0xED, iim((116, "© Åsa".encode("cp1252"))))), "jpeg").rights
    assert latin.copyright == "© Åsa"


@pytest.mark.parametrize("name", FORMATS)
def test_exif_alone_is_read_from_every_format(name: str) -> None:
    block = exif(artist="Ada Byron", copyright="(c) Ada\0(c) an editor")
    data = pictures.saved(pictures.scene(120, 90), name.upper(), exif=block)
    assert rights.read(data, name).rights == Rights(creator="Ada Byron", copyright="(c) Ada; (c) an editor")


def test_the_larger_part_of_an_extended_packet_is_put_together_again() -> None:
    whole = packet(f"<dc:rights>{'x' * 70_000}</dc:rights><plus:DataMining>DMI-PROHIBITED</plus:DataMining>")
    head = b"http://ns.adobe.com/xmp/extension/\0" + b"A" * 32 + len(whole).to_bytes(4, "big")
    pieces = [
        (0xE1, head + at.to_bytes(4, "big") + whole[at : at + 60_000]) for at in reversed(range(0, len(whole), 60_000))
    ]
    main = (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet(attributes='photoshop:Credit="main"'))
    data = with_segments(main, *pieces)
    assert said(data) == TABLE["DMI-PROHIBITED"]
    assert rights.read(data, "jpeg").rights.credit == "main"


def test_png_text_is_read_compressed_and_behind_the_pixels() -> None:
    xmp = mining("DMI-PROHIBITED")
    assert said(carrying(xmp, "png", zip=True), "png") == TABLE["DMI-PROHIBITED"]
    assert said(png_text(b"XML:com.adobe.xmp\0\0\0en\0Metadaten\0" + xmp), "png") == TABLE["DMI-PROHIBITED"]


@pytest.mark.parametrize(
    ("xmp", "flag"),
    [
        (b"<not xml", "malformed"),
        (mining("DMI-PROHIBITED")[:-260], "malformed_reservation"),
        (b'<x xmlns:tdm="http://www.w3.org/ns/tdmrep/" tdm:reservation="1"', "malformed_reservation"),
        (b'<!DOCTYPE x [<!ENTITY a "DataMining">]><x>&a;</x>', "malformed"),
        (b"<?xml version='1.0'?><!DOCTYPE x SYSTEM 'file:///etc/passwd'><x>DataMining</x>", "malformed"),
    ],
)
def test_a_packet_that_cannot_be_read_is_unknown_and_held_where_it_looks_like_a_no(xmp: bytes, flag: str) -> None:
    data = with_segments((0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp + b"<!-- rights -->"))
    (one,) = rights.read(data, "jpeg").said
    assert (one.statement.value, one.statement.flag) == ("unknown", flag)


def test_control_characters_and_strange_bytes_do_not_hide_what_is_said() -> None:
    body = mining("DMI-PROHIBITED").replace(b"<rdf:Description", b"<!-- \x0b \xff&#2; --><rdf:Description")
    wrong = body.replace(b"DMI-PROHIBITED", b"DMI-PROHIBITED\x1f")
    for xmp in (body, wrong):
        assert said(with_segments((0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp))) == TABLE["DMI-PROHIBITED"]


def test_utf16_packets_are_read() -> None:
    xmp = mining("DMI-PROHIBITED").decode().encode("utf-16")
    assert said(with_segments((0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp))) == TABLE["DMI-PROHIBITED"]


def test_packets_over_a_megabyte_are_not_parsed_and_deep_ones_do_no_harm() -> None:
    large = packet(
        "<dc:rights>" + "x" * (embedded.MAX_PACKET_BYTES + 1) + "</dc:rights>", 'plus:DataMining="DMI-PROHIBITED"'
    )
    for name in ("png", "webp", "tiff"):
        found = rights.read(carrying(large, name, **({"zip": True} if name == "png" else {})), name)
        assert [one.statement.flag for one in found.said] == ["malformed_reservation"]
    deep = packet("<dc:rights>" * 20_000 + "</dc:rights>" * 20_000)
    assert rights.read(carrying(deep, "webp"), "webp").rights == Rights()


@pytest.mark.parametrize("name", [*FORMATS, "gif"])
def test_damaged_files_never_raise(name: str) -> None:
    chance = random.Random(7)
    data = carrying(packet(COMPANIONS, 'plus:DataMining="DMI-PROHIBITED"'), name)
    for _ in range(300):
        broken = bytearray(data[: chance.randrange(len(data))] if chance.random() < 0.5 else data)
        for _ in range(chance.randrange(1, 9)):
            broken[chance.randrange(len(broken))] = chance.randrange(256) if broken else 0
        rights.read(bytes(broken), name)
    assert rights.read(b"", name).said == []


@pytest.mark.parametrize(("key", "wanted"), TABLE.items())
def test_files_written_by_exiftool_are_read(key: str, wanted: dict[Category, Value], tmp_path: Path) -> None:
    program = shutil.which("exiftool")
    if program is None:
        pytest.skip("exiftool is not installed (Debian: libimage-exiftool-perl)")
    config = tmp_path / "config"  # versions before 12.67 do not know the property
    config.write_text(
        "%Image::ExifTool::UserDefined = ('Image::ExifTool::PLUS::XMP' => { DataMining => { Writable => 'string' } }); 1;"
    )
    fields = {
        "XMP-plus:DataMining#": VOCABULARY + key,
        "XMP-plus:LicensorName": "Firm",
        "XMP-plus:LicensorURL": "https://firm.example",
        "XMP-plus:CopyrightOwnerName": WANTED.copyright_owner,
        "XMP-plus:OtherConstraints": WANTED.other_constraints,
        "XMP-iptcExt:DigitalSourceType": WANTED.digital_source_type,
        "XMP-dc:Rights": WANTED.copyright,
        "XMP-xmpRights:UsageTerms": WANTED.usage_terms,
        "XMP-xmpRights:WebStatement": WANTED.web_statement,
        "XMP-xmpRights:Marked": "True",
    }
    files = []
    for name in ("jpeg", "png", "webp", "tiff"):
        files.append(tmp_path / f"a.{name}")
        files[-1].write_bytes(pictures.saved(pictures.scene(120, 90), name.upper()))
    arguments = [f"-{tag}={value}" for tag, value in fields.items()]
    arguments += ["-XMP-dc:Creator=Ada Byron", "-XMP-dc:Creator=Bo Ek", "-IPTC:Credit=Ada/Agency"]
    command = [program, "-config", str(config), "-q", "-overwrite_original", *arguments, *map(str, files)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    for path in files:
        name = path.suffix[1:]
        found = rights.read(path.read_bytes(), name)
        values = {one.statement.category: one.statement.value for one in found.said if one.statement.value != "unknown"}
        assert values == wanted
        has_iim = name in ("jpeg", "tiff")
        assert found.rights == WANTED._replace(credit=WANTED.credit if has_iim else None)


def test_a_picture_that_carries_nothing_costs_next_to_nothing() -> None:
    data = pictures.jpeg(800, 600)
    began_s = time.process_time()
    for _ in range(2000):
        rights.read(data, "jpeg")
    assert (time.process_time() - began_s) / 2000 < 50e-6

"""Content credentials, signed here by c2pa-python itself, and what of them counts."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from filters import c2pa, rights
from tests import pictures
from tests.signed_pictures import LABELS, entries, signed


def said(data: bytes, name: str = "jpeg") -> list[tuple[str, str, str]]:
    assert rights.read(data, name).c2pa
    found = c2pa.statements(data, name)
    assert {one.mechanism for one in found} <= {"c2pa"}
    return sorted((one.statement.category, one.statement.value, one.statement.flag) for one in found)


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "tiff", "gif", "avif"])
def test_both_labels_are_read_from_every_format(label: str, name: str) -> None:
    plain = pictures.saved(pictures.scene(120, 90), name.upper())
    assert not rights.read(plain, name).c2pa
    uses = {"data_mining": "allowed", "ai_training": "notAllowed", "ai_inference": "constrained"}
    data = signed(entries(label, ai_generative_training="notAllowed", **uses), picture=plain, mime=f"image/{name}")
    assert said(data, name) == [
        ("ai-input", "deny", ""),
        ("tdm", "allow", ""),
        ("train", "deny", ""),
        ("train-genai", "deny", ""),
    ]


@pytest.mark.parametrize("spelling", ["constraint_info", "constraints_info"])
def test_a_constraint_denies_and_its_text_is_kept_in_either_spelling(spelling: str) -> None:
    data = signed(entries(LABELS[1], ai_training={"use": "constrained", spelling: "ask at a.example"}))
    (one,) = c2pa.statements(data, "jpeg")
    assert (one.statement.category, one.statement.value) == ("train", "deny")
    assert one.statement.raw == "cawg.training-mining cawg.ai_training: constrained (ask at a.example)"


def test_unknown_words_are_malformed_and_unknown_uses_ignored() -> None:
    data = signed(entries(ai_training="perhaps", dream_reading="notAllowed", ai_inference="NOT_ALLOWED"))
    assert said(data) == [("ai-input", "deny", ""), ("train", "unknown", "malformed")]


def test_a_manifest_that_says_nothing_of_use_says_nothing() -> None:
    assert said(signed()) == []


def test_of_a_tampered_file_denials_count_and_allowances_do_not() -> None:
    data = bytearray(signed(entries(ai_training="notAllowed", data_mining="allowed")))
    data[data.rfind(b"\xff\xda") + 100] ^= 1
    assert said(bytes(data)) == [("tdm", "unknown", ""), ("train", "deny", "")]


def test_what_only_an_ingredient_says_is_inherited_where_it_denies() -> None:
    parent = signed(entries(ai_training="notAllowed", data_mining="allowed"))
    grandchild = signed(parent=signed(parent=parent, picture=pictures.jpeg(160, 90)), picture=pictures.jpeg(200, 90))
    assert said(grandchild) == [("tdm", "unknown", ""), ("train", "deny", "")]
    allowing = signed(entries(data_mining="allowed"), parent=parent, picture=pictures.jpeg(160, 90))
    assert ("tdm", "allow", "") in said(allowing)


def test_a_manifest_that_cannot_be_read_is_held_where_it_looks_like_a_no() -> None:
    for use, flag in (("notAllowed", "malformed_reservation"), ("allowed", "unreadable")):
        data = signed(entries(ai_training=use)).replace(b"jumdc2cl", b"jumdc2c?").replace(b"c2pa.claim", b"c2pa.clxim")
        assert said(data) == [("train", "unknown", flag)]


@pytest.fixture
def listener() -> Iterator[tuple[str, list[str]]]:
    """A port that writes down who dials it, and hangs up."""
    dialled: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            while True:
                try:
                    connection, address = server.accept()
                except OSError:
                    return
                dialled.append(str(address))
                connection.close()

        threading.Thread(target=listen, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", dialled


def test_a_manifest_kept_elsewhere_is_noted_and_nobody_is_dialled(listener: tuple[str, list[str]]) -> None:
    url, dialled = listener
    data = signed(entries(ai_training="notAllowed"), remote=f"{url}/manifest.c2pa")
    found = rights.read(data, "jpeg")
    assert not found.c2pa
    (one,) = found.said
    assert (one.mechanism, one.statement.value, one.statement.flag) == ("c2pa", "unknown", "unreadable")
    assert one.statement.raw == f"remote manifest {url}/manifest.c2pa"
    (one,) = c2pa.statements(data, "jpeg")  # even where it is asked
    assert one.statement.flag == "unreadable"
    assert f"{url}/manifest.c2pa" in one.statement.raw
    c2pa.statements(signed(entries(ai_training="notAllowed"), ocsp=f"{url}/ocsp"), "jpeg")
    assert dialled == []


def test_the_library_is_not_even_loaded_for_pictures_without_a_manifest() -> None:
    program = """
import sys
from filters import rights
from tests import pictures
for name in ("jpeg", "png", "webp", "tiff", "gif", "avif"):
    assert not rights.read(pictures.saved(pictures.scene(60, 40), name.upper()), name).c2pa
print(sorted(name for name in sys.modules if name.split(".")[0] in ("c2pa", "torch")))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

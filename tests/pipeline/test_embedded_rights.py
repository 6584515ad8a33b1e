"""What pictures' own files say reaches the release: denied ones leave no pixels, makers' names arrive in the shards."""

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from filters.policy import ReleasePolicy
from pipeline.fetch import FetchOptions, FetchResult, fetch_rows
from pipeline.origin_policy import utc_now
from pipeline.picture import Fate, hear
from pipeline.rows import fetched
from pipeline.schema import FETCH, RIGHTS_TEXTS
from pipeline.stage import Draft, Outcome, Stage, run
from pipeline.store import Store
from pipeline.trouble import Trouble
from tests.crawl_files import HTML, response, write_warc
from tests.rights_pictures import VOCABULARY, carrying, mining, packet
from tests.signed_pictures import LABELS, entries, signed
from tests.tiny import config, picture, tamis

JPEG = [("Content-Type", "image/jpeg")]
TDM = {"tdm": "http://www.w3.org/ns/tdmrep/"}
CREATOR = "<dc:creator><rdf:Seq><rdf:li>Ada Byron</rdf:li></rdf:Seq></dc:creator>"
TERMS = 'xmpRights:WebStatement="https://a.example/terms" photoshop:Credit="Ada/Agency"'


def shown(number: int) -> Any:
    return Image.open(io.BytesIO(picture(number)[0]))


def makers(number: int) -> bytes:
    return carrying(packet(CREATOR, TERMS), picture=shown(number))


def told() -> dict[str, tuple[bytes, str | None]]:
    """Return name → (picture, reason) for every way in which a file speaks of its use."""

    def plus(number: int, value: str, spelling: str = "attribute", **options: Any) -> bytes:
        return carrying(mining(VOCABULARY + value, spelling), picture=shown(number), **options)

    tdm = packet("<tdm:reservation>1</tdm:reservation>", **TDM)
    denying = signed(entries(ai_training="notAllowed"), picture=picture(20)[0])
    tampered = bytearray(signed(entries(ai_generative_training="notAllowed"), picture=picture(21)[0]))
    tampered[tampered.rfind(b"\xff\xda") + 100] ^= 1
    constrained = entries(LABELS[1], data_mining={"use": "constrained", "constraint_info": "ask"})
    return {
        "prohibited": (plus(10, "DMI-PROHIBITED"), "rights_metadata"),
        "generative": (plus(11, "DMI-PROHIBITED-GENAIMLTRAINING", "resource"), "rights_metadata"),
        "constraint": (plus(12, "DMI-PROHIBITED-SEECONSTRAINT", "element"), "rights_metadata"),
        "reserved": (carrying(tdm, picture=shown(13)), "rights_metadata"),
        "denying": (denying, "c2pa_denied"),
        "tampered": (bytes(tampered), "c2pa_denied"),
        "inherited": (signed(parent=denying, picture=picture(22)[0]), "c2pa_denied"),
        "constrained": (signed(constrained, picture=picture(23)[0]), "c2pa_denied"),
        "broken": (carrying(mining("DMI-PROHIBITED")[:-260], picture=shown(14)), "signal_unclear"),
        "allowed": (plus(15, "DMI-ALLOWED"), None),
        "unspecified": (plus(16, "DMI-UNSPECIFIED"), None),
        "inference": (signed(entries(ai_inference="notAllowed"), picture=picture(24)[0]), None),
        "remote": (signed(entries(ai_training="notAllowed"), picture=picture(25)[0], remote="http://10.9.9.9/m"), None),
        "makers": (makers(17), None),
        **{f"plain{n}": (picture(n)[0], None) for n in range(6)},
    }


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, scheduler: str) -> tuple[Path, dict[str, str | None]]:
    """A data set made of a crawl that holds all of them, and the reason that each is to end by."""
    base = tmp_path_factory.mktemp("rights")
    found = told()
    tags = "".join(f'<img src="/p/{name}.jpg" alt="a picture that is {name} indeed">' for name in found)
    records = [response("http://a.example/", f"<html lang=en><body>{tags}</body></html>".encode(), HTML)]
    records += [response(f"http://a.example/p/{name}.jpg", data, JPEG) for name, (data, _) in found.items()]
    crawl = write_warc(base / "crawl.warc.gz", records)
    file = config(base / "run.toml", str(base / "set"), [crawl], copies={"enabled": False})
    tamis("ingest", file, "--quiet", "--scheduler", scheduler)
    return base / "set", {name: reason for name, (_, reason) in found.items()}


def test_denied_pictures_are_dropped_by_reason_and_every_one_is_counted(
    done: tuple[Path, dict[str, str | None]],
) -> None:
    dataset, reasons = done
    snapshot = json.loads((dataset / "snapshots/000001.json").read_text())
    assert snapshot["dropped"] == {"rights_metadata": 4, "c2pa_denied": 4, "signal_unclear": 1}
    kept = {
        row["url"] for path in (dataset / "shards/000001").glob("*.parquet") for row in pq.read_table(path).to_pylist()
    }
    assert kept == {f"http://a.example/p/{name}.jpg" for name, reason in reasons.items() if reason is None}
    assert json.loads(tamis("verify", dataset, "--json").stdout)["problems"] == []


def test_what_is_denied_leaves_no_pixels_but_its_words(done: tuple[Path, dict[str, str | None]]) -> None:
    dataset, reasons = done
    denied = {f"http://a.example/p/{name}.jpg" for name, reason in reasons.items() if reason is not None}
    heard: dict[str, set[str]] = {}
    for path in (dataset / "fetch").rglob("*.signals.parquet"):
        for row in pq.read_table(path).to_pylist():
            if row["scope"] == "asset" and row["mechanism"] in ("iptc-plus", "xmp-tdm", "c2pa"):
                heard.setdefault(row["url"], set()).add(row["value"])
                assert len(row["evidence_digest"]) == 32
    assert {url for url, values in heard.items() if "deny" in values} >= denied - {"http://a.example/p/broken.jpg"}
    assert heard["http://a.example/p/allowed.jpg"] == {"allow"}
    assert heard["http://a.example/p/remote.jpg"] == heard["http://a.example/p/broken.jpg"] == {"unknown"}
    tables = [pq.read_table(path) for path in (dataset / "fetch").rglob("*.parquet") if ".signals." not in path.name]
    rows = [row for table in tables for row in table.to_pylist()]
    assert {row["reason"] is None for row in rows if row["final_url"] in denied} == {False}
    assert all((row["tar_offset"] is None) == (row["reason"] is not None) for row in rows)


def test_makers_and_terms_arrive_in_the_sidecar_and_in_the_samples_json(
    done: tuple[Path, dict[str, str | None]],
) -> None:
    dataset, _ = done
    found = {}
    for path in sorted((dataset / "shards/000001").glob("*.parquet")):
        with tarfile.open(path.with_suffix(".tar")) as tar:
            for row in pq.read_table(path).to_pylist():
                member = tar.extractfile(f"{row['key']}.json")
                assert member is not None
                found[row["url"]] = row, json.loads(member.read())
    row, info = found["http://a.example/p/makers.jpg"]
    wanted = {"creator": "Ada Byron", "credit": "Ada/Agency", "web_statement": "https://a.example/terms"}
    assert {name: row[name] for name in RIGHTS_TEXTS} == {name: wanted.get(name) for name in RIGHTS_TEXTS}
    assert {name: info[name] for name in RIGHTS_TEXTS} == {name: wanted.get(name, "") for name in RIGHTS_TEXTS}
    plain, _ = found["http://a.example/p/plain0.jpg"]
    assert {plain[name] for name in RIGHTS_TEXTS} == {None}


def test_hugging_faces_reader_takes_a_name_that_comes_after_many_samples_without_one(
    done: tuple[Path, dict[str, str | None]], tmp_path: Path
) -> None:
    files = sorted(str(path) for path in (done[0] / "shards/000001").glob("*.tar"))
    read = datasets.load_dataset("webdataset", data_files={"train": files}, split="train", cache_dir=str(tmp_path))
    assert sorted({row["json"]["creator"] for row in read}) == ["", "Ada Byron"]


@pytest.fixture
def site() -> Iterator[str]:
    """A real server on loopback that shows the same pictures."""
    shown_here = {f"/{name}.jpg": data for name, (data, _) in told().items()}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = shown_here.get(self.path, b"")
            self.send_response(200 if body else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def fetch(urls: Sequence[str], folder: Path, **options: Any) -> FetchResult:
    uids = pa.array([number.to_bytes(16, "big") for number in range(len(urls))], pa.binary(16))
    rows = pa.table({"uid": uids, "url": urls})
    chosen = FetchOptions(allow_hosts=["127.0.0.1"], retries=0, **options)
    return fetch_rows(rows, options=chosen, policies={}, out_tar=folder / "part.tar")


@pytest.mark.parametrize("engine", ["tamis", "img2dataset"])
def test_both_downloaders_hear_the_same(engine: str, site: str, tmp_path: Path) -> None:
    if engine == "img2dataset":
        pytest.importorskip("img2dataset")
    names = {name: reason for name, (_, reason) in told().items()}
    result = fetch([f"{site}/{name}.jpg" for name in names], tmp_path, engine=engine)
    rows = dict(zip(names, result.table.to_pylist(), strict=True))
    assert {name: row["reason"] for name, row in rows.items()} == names
    assert rows["makers"]["creator"] == "Ada Byron"
    signals = [row for row in result.signals.to_pylist() if row["mechanism"] in ("iptc-plus", "xmp-tdm", "c2pa")]
    assert {row["subject_url"] == row["url"] for row in signals} == {True}
    assert {row["mechanism"] for row in signals if row["url"] == f"{site}/denying.jpg"} == {"c2pa"}
    assert {row["url"].rpartition("/")[2][:-4] for row in signals} == {
        name for name in names if not name.startswith(("plain", "makers"))
    }


def test_a_policy_that_does_not_mind_keeps_them_and_still_writes_down_what_they_say(site: str, tmp_path: Path) -> None:
    urls = [f"{site}/{name}.jpg" for name in ("generative", "denying")]
    policy = ReleasePolicy(deny=["crawl", "tdm", "train"], off=["c2pa"])
    result = fetch(urls, tmp_path, policy=policy)
    assert result.table["reason"].to_pylist() == [None, None]
    assert {row["value"] for row in result.signals.to_pylist() if row["mechanism"] in ("iptc-plus", "c2pa")} == {"deny"}


def test_of_a_listed_picture_nothing_that_was_heard_is_kept() -> None:
    fate = Fate(sha256=b"x")
    with suppress(Trouble):
        hear(told()["prohibited"][0], fate, FetchOptions(), utc_now)
    hear(makers(3), fate, FetchOptions(), utc_now)
    assert (fate.creator, len(fate.signals)) == ("Ada Byron", 4)
    fate.forget()
    assert fate == Fate()


def test_fetch_tables_of_an_earlier_version_are_still_read(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    old = pa.schema([field for field in FETCH if field.name not in RIGHTS_TEXTS])

    def write(draft: Draft, schema: pa.Schema, number: int) -> Outcome:
        row = {"uid": bytes([number]) * 16, "width_px": 9} | ({"creator": "Ada"} if "creator" in schema.names else {})
        draft.table(pa.Table.from_pylist([row], schema=schema))
        return Outcome(1, 1)

    parts = [
        run(store, Stage("fetch/a", partial(write, schema=schema, number=number), {"number": number}))
        for number, schema in enumerate((old, FETCH))
    ]
    rows = fetched(store, parts)
    assert rows["creator"].to_pylist() == [None, "Ada"]
    assert rows["width_px"].to_pylist() == [9, 9]

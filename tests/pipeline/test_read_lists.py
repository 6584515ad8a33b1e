import bz2
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import read_lists
from pipeline.errors import ConfigError, FormatError, InputError
from pipeline.sightings import ReadOptions
from tests.reading import collect

ROWS = [
    ("http://h.example/a b.png", ' A "red",\n boat '),
    ("HTTP://H.example:80/b.png", ""),
    ("ftp://h.example/c", "x"),
    ("", "y"),
]
WANTED = [
    ("http://h.example/a%20b.png", 'A "red", boat', None),
    ("http://h.example/b.png", "", "text_empty"),
    (None, "x", "scheme_unsupported"),
    (None, "y", "url_invalid"),
]


def csv_text() -> str:
    return "id,url,caption\n" + "".join(
        f'{i},{url},"{text.replace(chr(34), chr(34) * 2)}"\n' for i, (url, text) in enumerate(ROWS)
    )


def tsv_text() -> str:
    quoted = [text.replace("\n", "").replace('"', '""') for _, text in ROWS]
    return "\ufeffcaption\turl\n" + "".join(f'"{text}"\t{url}\n' for (url, _), text in zip(ROWS, quoted, strict=True))


def jsonl_text() -> str:
    return "".join(json.dumps({"url": url or None, "caption": text, "n": 1}) + "\n\n" for url, text in ROWS)


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as packed:
        packed.write(data)
    whole: bytes = sink.getvalue().to_pybytes()
    return whole


PACKERS: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".zst": zstd}


def facts(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(row["url"], row["text"], row["reason"]) for row in rows]


@pytest.mark.parametrize("packing", PACKERS)
@pytest.mark.parametrize(("ending", "text"), [("csv", csv_text()), ("tsv", tsv_text()), ("jsonl", jsonl_text())])
def test_a_list_of_any_form_and_packing_gives_the_same_rows(
    tmp_path: Path, ending: str, text: str, packing: str
) -> None:
    path = tmp_path / f"list.{ending}{packing}"
    path.write_bytes(PACKERS[packing](text.encode()))
    sightings, captures, counts = collect(read_lists.read, path)
    assert facts(sightings) == WANTED
    assert {(row["text_from"], row["source"], row["page_url"]) for row in sightings} == {("list", str(path), None)}
    assert (captures, counts.records, counts.bad_records) == ([], 4, 0)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary()])
def test_parquet_columns_of_any_string_type_are_read(tmp_path: Path, kind: pa.DataType) -> None:
    table = pa.table({"n": [1, 2, 3, 4], "caption": [t for _, t in ROWS], "url": [u for u, _ in ROWS]})
    path = tmp_path / "list.parquet"
    pq.write_table(
        pa.table({name: table[name].cast(kind) if name != "n" else table[name] for name in table.column_names}), path
    )
    assert facts(collect(read_lists.read, path)[0]) == WANTED


def test_parquet_is_split_at_row_groups_and_each_row_read_once(tmp_path: Path) -> None:
    path = tmp_path / "list.parquet"
    urls = [f"http://h.example/{i}.png" for i in range(23_000)]
    pq.write_table(pa.table({"url": urls, "caption": urls}), path, row_group_size=4000)
    units = read_lists.split(str(path), 10_000)
    assert units == [(0, 8000), (8000, 16_000), (16_000, 23_000)]
    found = [
        row["url"]
        for low, high in [*units[:1], (8000, 12_345), (12_345, 23_000)]
        for row in collect(read_lists.read, path, start=low, stop=high)[0]
    ]
    assert found == urls
    assert read_lists.split(str(path), 1) == [(i, min(i + 4000, 23_000)) for i in range(0, 23_000, 4000)]


def test_other_lists_are_one_unit_that_can_be_cut_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text(csv_text())
    assert read_lists.split(str(path), 1) == [(0, None)]
    assert facts(collect(read_lists.read, path, start=1, stop=3)[0]) == WANTED[1:3]


def test_an_empty_parquet_list_is_one_empty_unit(tmp_path: Path) -> None:
    path = tmp_path / "list.parquet"
    pq.write_table(pa.table({"url": pa.array([], pa.string()), "caption": pa.array([], pa.string())}), path)
    assert read_lists.split(str(path), 10) == [(0, 0)]
    assert collect(read_lists.read, path, start=0, stop=0)[0] == []


def test_txt_holds_urls_alone(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("http://h.example/a.png\r\n\n http://h.example/b.png ")
    sightings = collect(read_lists.read, tmp_path / "list.txt")[0]
    assert facts(sightings) == [
        ("http://h.example/a.png", "", "text_empty"),
        ("http://h.example/b.png", "", "text_empty"),
    ]


@pytest.mark.parametrize(
    ("ending", "text"), [("csv", "URL,TEXT\na,b\n"), ("jsonl", '{"URL": "a", "TEXT": "b"}\n'), ("parquet", "")]
)
def test_a_missing_column_is_explained_with_those_there_are(tmp_path: Path, ending: str, text: str) -> None:
    path = tmp_path / f"list.{ending}"
    if ending == "parquet":
        pq.write_table(pa.table({"URL": ["a"], "TEXT": ["b"]}), path)
    else:
        path.write_text(text)
    with pytest.raises(ConfigError, match=r"no column 'url' \(url_col\); there are: URL, TEXT"):
        collect(read_lists.read, path)
    with pytest.raises(ConfigError, match=r"no column 'caption' \(caption_col\)"):
        collect(read_lists.read, path, ReadOptions(url_col="URL"))
    assert len(collect(read_lists.read, path, ReadOptions(url_col="URL", caption_col="TEXT"))[0]) == 1


def test_bad_rows_are_counted_and_the_others_read(tmp_path: Path) -> None:
    jsonl = tmp_path / "list.jsonl"
    jsonl.write_bytes(
        b'{"url": "http://h.example/a", "caption": "\xff\\ud800 x"}\n[1]\nnonsense\n'
        + b"[" * 100_000
        + b'\n{"url": 5}\n'
    )
    sightings, _, counts = collect(read_lists.read, jsonl)
    assert facts(sightings) == [("http://h.example/a", "\ufffd\ufffd x", None), (None, "", "url_invalid")]
    assert counts.bad_records == 3
    table = tmp_path / "list.csv"
    table.write_bytes(
        b'url,caption\nhttp://h.example/a\n\nhttp://h.example/b,x\0y\nhttp://h.example/c,"' + b"z" * 3_000_000
    )
    sightings, _, counts = collect(read_lists.read, table)
    assert facts(sightings) == [("http://h.example/b", "xy", None)]
    assert counts.bad_records == 2


@pytest.mark.parametrize("packing", [".gz", ".bz2", ".zst"])
def test_a_packed_list_that_breaks_off_is_read_up_to_the_break_and_counted(tmp_path: Path, packing: str) -> None:
    lines = "".join(f"http://h.example/{i * 7919 % 1_000_003},text {i}\n" for i in range(150_000))
    path = tmp_path / f"list.csv{packing}"
    path.write_bytes(PACKERS[packing](b"url,caption\n" + lines.encode())[:-50_000])
    sightings, _, counts = collect(read_lists.read, path)
    assert counts.truncated_inputs == 1
    assert 50_000 < len(sightings) < 150_000


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    for name in ("list.parquet", "list.xyz"):
        (tmp_path / name).write_bytes(b"nonsense" * 100)
    with pytest.raises(FormatError, match="not a Parquet file"):
        collect(read_lists.read, tmp_path / "list.parquet")
    with pytest.raises(InputError, match="unknown kind of list"):
        collect(read_lists.read, tmp_path / "list.xyz")
    with pytest.raises(InputError, match="cannot be opened"):
        collect(read_lists.read, tmp_path / "no.csv")

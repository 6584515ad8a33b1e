"""Every form of list that circulates is read line by line; what is not understood is counted with its reason."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import InputError
from pipeline.registry.list_formats import Bad, Line, read

HASH = {"md5": "0a" * 16, "sha256": "1b" * 32, "pdq": "2c" * 32, "phash64": "3d" * 8}


def lines(path: Path, text: str | bytes, kind: str | None = None) -> list[Line | Bad]:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return list(read(path, kind))


def test_plain_lines_tell_themselves(tmp_path: Path) -> None:
    text = f"\ufeff# a comment\n\nhttps://a.example/1.jpg\r\n  b.example  \n{HASH['md5'].upper()}\n{HASH['sha256']}\n{HASH['phash64']}\n"
    assert lines(tmp_path / "list.txt", text) == [
        Line(3, "url", "https://a.example/1.jpg"), Line(4, "domain", "b.example"), Line(5, "md5", HASH["md5"].upper()),
        Line(6, "sha256", HASH["sha256"]), Line(7, "phash64", HASH["phash64"]),
    ]  # fmt: skip


def test_a_bare_line_means_no_more_than_it_says(tmp_path: Path) -> None:
    said = {
        "b.example": "domain", "www.b.example": "domain", "*.b.example": "domain", "b.example/": "domain",
        "pictures.b.example": "host", "b.example/anne/": "url", "b.example/anne/1.jpg": "url",
    }  # fmt: skip
    assert lines(tmp_path / "list.txt", "\n".join(said)) == [
        Line(number, kind, value) for number, (value, kind) in enumerate(said.items(), 1)
    ]


def test_plain_lines_are_what_they_are_said_to_be(tmp_path: Path) -> None:
    assert lines(tmp_path / "hosts", f"a.example\n{HASH['sha256']}\n", "pdq") == [
        Line(1, "pdq", "a.example"), Line(2, "pdq", HASH["sha256"]),
    ]  # fmt: skip
    assert lines(tmp_path / "names", "Url Andress\nText Doe\n", "text") == [
        Line(1, "text", "Url Andress"), Line(2, "text", "Text Doe"),
    ]  # fmt: skip


def test_threatexchange_lines_say_their_type(tmp_path: Path) -> None:
    text = f"pdq {HASH['pdq']}\nurl https://a.example/1.jpg\nHASH_MD5 {HASH['md5']}\nraw_text Jane Q. Doe\nvideo_md5 {HASH['md5']}\n"
    assert lines(tmp_path / "signals", text) == [
        Line(1, "pdq", HASH["pdq"]), Line(2, "url", "https://a.example/1.jpg"), Line(3, "md5", HASH["md5"]),
        Line(4, "text", "Jane Q. Doe"), Line(5, "domain", f"video_md5 {HASH['md5']}"),  # no domain either: bad in the import
    ]  # fmt: skip


RECORDS: list[tuple[dict[str, Any], Line | Bad]] = [
    ({"type": "url", "value": "https://a.example/1.jpg"}, Line(1, "url", "https://a.example/1.jpg")),
    ({"type": "URL", "value": "https://a.example/x/", "match": "prefix"}, Line(1, "url_prefix", "https://a.example/x/")),
    ({"type": "registrable_domain", "value": "a.example", "match": "suffix"}, Line(1, "domain", "a.example")),
    ({"type": "host", "value": "a.example", "match": "suffix"}, Line(1, "domain", "a.example")),
    ({"type": "host", "value": "b.a.example", "match": "suffix"}, Bad(1, "match 'suffix' of a host is not understood")),
    ({"type": "pdq", "value": HASH["pdq"], "match": "hamming<=63"}, Line(1, "pdq", HASH["pdq"], distance=63)),
    ({"type": "pdq", "value": HASH["pdq"], "match": "hamming<=64"}, Bad(1, "match 'hamming<=64' of a pdq is not understood")),
    ({"type": "pdq", "value": HASH["pdq"], "match": "hamming<=" + "9" * 30},
     Bad(1, f"match 'hamming<={'9' * 30}' of a pdq is not understood")),
    ({"type": "pdq", "value": HASH["pdq"], "match": "hamming<=٣"}, Bad(1, "match 'hamming<=٣' of a pdq is not understood")),
    ({"type": "pdq", "value": HASH["pdq"], "match": "hamming<=0"}, Line(1, "pdq", HASH["pdq"], distance=1)),
    ({"type": "phash64", "value": HASH["phash64"], "match": "hamming<=15"}, Line(1, "phash64", HASH["phash64"], distance=15)),
    ({"type": "phash64", "value": HASH["phash64"], "match": "hamming<=16"},
     Bad(1, "match 'hamming<=16' of a phash64 is not understood")),
    ({"type": "pdq", "value": HASH["pdq"], "match": "hamming <= 20"}, Line(1, "pdq", HASH["pdq"], distance=20)),
    ({"type": "md5", "value": HASH["md5"], "match": "hamming<=2"}, Bad(1, "match 'hamming<=2' of a md5 is not understood")),
    ({"type": "pdq", "value": HASH["pdq"], "match": "hamming<=x"}, Bad(1, "match 'hamming<=x' of a pdq is not understood")),
    ({"type": "url", "value": "x", "match": "regex"}, Bad(1, "match 'regex' of a url is not understood")),
    ({"type": "md5", "value": HASH["md5"], "status": "withdrawn"}, Line(1, "md5", HASH["md5"], withdrawn=True)),
    ({"type": "md5", "value": HASH["md5"], "status": "Deleted"}, Line(1, "md5", HASH["md5"], withdrawn=True)),
    ({"type": "md5", "value": HASH["md5"], "category": "csam", "action": "drop", "evidence": "x", "id": "7"},
     Line(1, "md5", HASH["md5"], "csam")),
    ({"type": "host", "value": "a.example", "expires_at": "2027-01-31"}, Line(1, "host", "a.example", None, 0, "2027-01-31T00:00:00Z")),
    ({"type": "host", "value": "a.example", "expires_at": "2027-01-31T01:30:00+02:00"},
     Line(1, "host", "a.example", None, 0, "2027-01-30T23:30:00Z")),
    ({"type": "host", "value": "a.example", "expires_at": "31/01/2027"},
     Bad(1, "expires_at '31/01/2027' is not a time; it is written as 2026-01-31T12:00:00Z")),
    ({"signalType": "ImagePDQ", "hashValue": HASH["pdq"], "hashStatus": "Withdrawn"}, Line(1, "pdq", HASH["pdq"], withdrawn=True)),
    ({"url": "https://a.example/1.jpg", "title": "x"}, Line(1, "url", "https://a.example/1.jpg")),
    ({"text_sha256": HASH["sha256"]}, Bad(1, "no value")),
    ({"type": "text_sha256", "value": HASH["sha256"]}, Bad(1, "type 'text_sha256' is not one that is matched")),
    ({"type": "person_ref", "value": "p-7"}, Bad(1, "type 'person_ref' is not one that is matched")),
    ({"type": "picture", "value": "x"}, Bad(1, "type 'picture' is not one that is matched")),
    ({"type": "url"}, Bad(1, "no value")),
    ({"type": "url", "value": "https://a.example/\ufffd.jpg"}, Bad(1, "not UTF-8")),
]  # fmt: skip


@pytest.mark.parametrize(("record", "line"), RECORDS)
def test_a_record_is_read_the_same_in_ndjson_csv_and_parquet(
    record: dict[str, Any], line: Line | Bad, tmp_path: Path
) -> None:
    assert lines(tmp_path / "list.ndjson", json.dumps(record) + "\n") == [line]
    pq.write_table(pa.Table.from_pylist([record]), tmp_path / "list.parquet")
    assert list(read(tmp_path / "list.parquet")) == [line]
    header, row = ",".join(record), ",".join(f'"{value}"' for value in record.values())
    later = type(line)(**{**{name: getattr(line, name) for name in line.__slots__}, "number": 2})
    assert lines(tmp_path / "list.csv", f"{header}\r\n{row}\r\n") == [later]
    assert lines(tmp_path / "list.TSV", f"{header}\n{row}\n".replace(",", "\t")) == [later]


def test_parquet_columns_may_be_typed(tmp_path: Path) -> None:
    columns = {
        "type": ["md5"],
        "value": [bytes.fromhex(HASH["md5"])],
        "expires_at": [datetime(2027, 1, 31, tzinfo=UTC)],
    }
    pq.write_table(pa.table(columns), tmp_path / "list.parquet")
    assert list(read(tmp_path / "list.parquet")) == [Line(1, "md5", HASH["md5"], None, 0, "2027-01-31T00:00:00Z")]


def test_lines_that_are_no_json_are_counted_with_their_numbers(tmp_path: Path) -> None:
    text = '{"type":"url","value":"https://a.example/"}\nnot json\n\n[1]\n' + "[" * 100_000 + "\n"
    found = lines(tmp_path / "list.jsonl", text)
    assert [line.number for line in found] == [1, 2, 4, 5]
    assert [type(line) for line in found] == [Line, Bad, Bad, Bad]
    assert found[2] == Bad(4, "not an object")


def test_a_csv_row_that_spans_lines_does_not_shift_the_numbers(tmp_path: Path) -> None:
    text = 'type,value,evidence\nurl,https://a.example/,"two\nlines"\nface,x,\n'
    assert [line.number for line in lines(tmp_path / "list.csv", text)] == [3, 4]


def test_a_column_named_by_its_kind_is_enough_and_kind_says_what_a_value_is(tmp_path: Path) -> None:
    assert lines(tmp_path / "a.csv", "rank,domain\n1,a.example\n2,\n") == [
        Line(2, "domain", "a.example"),
        Bad(3, "no value"),
    ]
    assert lines(tmp_path / "b.csv", "value\na.example\n", "host") == [Line(2, "host", "a.example")]
    assert lines(tmp_path / "c.csv", "value\na.example\n") == [Bad(2, "type '' is not one that is matched")]


@pytest.mark.parametrize("name", ["list.txt.gz", "list.csv.gz", "list.NDJSON.gz"])
def test_gz_is_read_as_what_it_holds(name: str, tmp_path: Path) -> None:
    text = {"txt": "https://a.example/\n", "csv": "type,value\nurl,https://a.example/\n"}
    body = text.get(name.split(".")[1], '{"type":"url","value":"https://a.example/"}\n')
    (line,) = lines(tmp_path / name, gzip.compress(body.encode()))
    assert isinstance(line, Line)
    assert (line.kind, line.value) == ("url", "https://a.example/")


def test_what_cannot_be_read_is_explained_with_the_last_line_that_could(tmp_path: Path) -> None:
    packed = gzip.compress(b"".join(b"https://a.example/%d\n" % n for n in range(50_000)))
    for name, data, says in (
        ("short.txt.gz", packed[:-9], r"cannot be read as a list after line \d+"),
        ("broken.txt.gz", packed[:5000] + b"\0" * 99 + packed[5099:], "cannot be read as a list after line"),
        ("none.gz", b"no gzip", r"after line 0 \(Not a gzipped file"),
        ("none.parquet", b"no parquet", "not a Parquet file that can be read"),
        (
            "endless.csv",
            b'type,value\nurl,a.example\nurl,"' + b"xxxxxxxxx\n" * 20_000,
            r"after line 2 \(field larger than field limit .* is a quotation mark left open\?",
        ),
    ):
        with pytest.raises(InputError, match=says):
            lines(tmp_path / name, data)
    with pytest.raises(InputError, match="No such file"):
        list(read(tmp_path / "absent.txt"))
    with pytest.raises(InputError, match="--kind 'face': one of url, "):
        list(read(tmp_path / "none.gz", "face"))
    with pytest.raises(InputError, match="--kind picture: a list names pictures by sha256"):
        list(read(tmp_path / "none.gz", "picture"))


def test_bytes_that_are_no_utf8_are_counted(tmp_path: Path) -> None:
    assert lines(tmp_path / "list.txt", b"caf\xe9.example\nb.example\n") == [
        Bad(1, "not UTF-8"),
        Line(2, "domain", "b.example"),
    ]


@pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be", "utf-8-sig"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.txt", "https://a.example/é.jpg\r\n"),
        ("list.csv", "type,value\r\nurl,https://a.example/é.jpg\r\n"),
        ("list.ndjson", '{"type":"url","value":"https://a.example/é.jpg"}\n'),
    ],
)
def test_what_windows_programs_save_is_read(name: str, text: str, order: str, tmp_path: Path) -> None:
    mark = "" if order == "utf-8-sig" else "\ufeff"
    (line,) = lines(tmp_path / name, (mark + text).encode(order))
    assert isinstance(line, Line)
    assert (line.kind, line.value) == ("url", "https://a.example/é.jpg")


def test_tables_of_spreadsheets_may_be_separated_by_semicolons(tmp_path: Path) -> None:
    text = 'type;value;evidence\nurl;https://a.example/1,2.jpg;"a;b"\n'
    assert lines(tmp_path / "list.csv", text) == [Line(2, "url", "https://a.example/1,2.jpg")]


def test_lines_longer_than_anything_named_are_counted_and_the_rest_is_read(tmp_path: Path) -> None:
    long = "x" * 300_000
    too_long = "longer than 131,072 characters"
    assert lines(tmp_path / "list.txt", f"https://a.example/{long}\nb.example\n") == [
        Bad(1, too_long), Line(2, "domain", "b.example"),
    ]  # fmt: skip
    text = f'{{"type":"url","value":"{long}"}}\n{{"type":"host","value":"b.example"}}\n'
    assert lines(tmp_path / "list.ndjson", text) == [Bad(1, too_long), Line(2, "host", "b.example")]
    text = f"type,value\nhost,a.example\nurl,{long}\nhost,b.example\nurl,{long}\n"
    assert lines(tmp_path / "list.csv", text) == [
        Line(2, "host", "a.example"), Bad(3, too_long), Line(4, "host", "b.example"), Bad(5, too_long),
    ]  # fmt: skip


def test_a_quotation_mark_left_open_is_named_where_it_swallows_lines(tmp_path: Path) -> None:
    text = 'type,value\nurl,"https://a.example/1.jpg\nurl,https://a.example/2.jpg\n'
    assert lines(tmp_path / "list.csv", text) == [Bad(3, "a value of several lines: is a quotation mark left open?")]


def test_bytes_of_a_parquet_column_are_hashes_or_the_text_that_they_are(tmp_path: Path) -> None:
    columns = {
        "type": ["url", "md5", "md5"],
        "value": [b"https://a.example/", bytes.fromhex(HASH["md5"]), HASH["md5"].encode()],
    }
    pq.write_table(pa.table(columns), tmp_path / "list.parquet")
    assert list(read(tmp_path / "list.parquet")) == [
        Line(1, "url", "https://a.example/"), Line(2, "md5", HASH["md5"]), Line(3, "md5", HASH["md5"]),
    ]  # fmt: skip


def test_a_file_without_an_ending_is_what_it_begins_like(tmp_path: Path) -> None:
    assert lines(tmp_path / "list", '{"type":"host","value":"a.example"}\n') == [Line(1, "host", "a.example")]
    pq.write_table(pa.table({"host": ["a.example"]}), tmp_path / "table")
    assert list(read(tmp_path / "table")) == [Line(1, "host", "a.example")]

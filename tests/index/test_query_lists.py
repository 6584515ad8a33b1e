"""A list of queries is answered as each query would be alone; a line that is no query is told by its number and stops no other."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from index import batch
from index.batch import answer_list, answers
from index.hits import as_json
from index.query import Query, Term
from index.query_lists import Asked, read
from index.search import Searcher
from pipeline.errors import InputError
from tests.index.made import facts, make, unit

ROWS = 60
USUAL = Query((), k=3)
Told = list[tuple[int, str]]


@pytest.fixture(scope="module")
def searcher(tmp_path_factory: pytest.TempPathFactory) -> Searcher:
    return Searcher(make(tmp_path_factory.mktemp("made") / "set", unit(ROWS)))


def told(into: Told) -> Callable[[int, str], None]:
    return lambda number, why: into.append((number, why))


def uid(number: int) -> str:
    return str(facts(number)["key"])


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def alone(searcher: Searcher, number: int, k: int = 3) -> list[dict[str, Any]]:
    return as_json(searcher.search(Query((Term(uid=uid(number)),), k=k), pictures=False))


def test_json_lines_are_answered_in_their_order_and_bad_ones_by_their_number(
    searcher: Searcher, tmp_path: Path
) -> None:
    asked = tmp_path / "asked.jsonl"
    asked.write_text(
        "\n".join(
            [
                json.dumps({"uid": uid(0)}),
                "{broken",
                "",
                json.dumps({"id": "second", "terms": [{"uid": uid(1)}, {"uid": uid(2), "weight": 0}], "k": 5}),
                json.dumps({"uid": "0" * 32}),
                json.dumps(["uid", uid(0)]),
                json.dumps({"uid": uid(3), "where": ["domain=shop.example", {"column": "width", "op": ">", "value": 1}]}),
                json.dumps({"uid": uid(3), "where": [{"column": "width"}]}),
                json.dumps({"nothing": 1}),
                json.dumps({"uid": uid(3), "k": 0}),
                json.dumps({"uid": uid(3), "modality": "sound"}),
                json.dumps({"embedding": [1, 2]}),
                json.dumps({"uid": uid(59), "least_cos": 0.9}),
            ]
        )
    )  # fmt: skip
    troubles: Told = []
    counts = answer_list(searcher, USUAL, asked, tmp_path / "out" / "found.jsonl", told(troubles))
    found = {line["query"]: line for line in lines(tmp_path / "out" / "found.jsonl")}
    assert counts == (12, 8)
    assert list(found) == [1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]
    assert [line["uid"] for line in found[1]["hits"]] == [line["uid"] for line in alone(searcher, 0)]
    assert found[4]["id"] == "second"
    assert [line["uid"] for line in found[4]["hits"]] == [line["uid"] for line in alone(searcher, 1, 5)]
    assert {line["domain"] for line in found[7]["hits"]} == {"shop.example"}
    assert [line["uid"] for line in found[13]["hits"]] == [uid(59)]
    assert [number for number, _ in troubles] == [2, 5, 6, 8, 9, 10, 11, 12]
    said = {number: found[number]["error"] for number, _ in troubles}
    expected = {2: "not JSON", 5: "no picture of this data set", 6: "not an object", 8: "is no condition", 9: "nothing is asked for",
                10: "k is 0", 11: "modality is 'sound'", 12: "the embedding has 2 numbers"}  # fmt: skip
    assert {number for number, words in expected.items() if words in said[number]} == set(expected)
    assert not list((tmp_path / "out").glob("*.part"))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"where": 5}, "where is 5, which is no list of conditions"),
        ({"where": {"column": "width"}}, "which is no list of conditions"),
        ({"where": "width>=1"}, "which is no list of conditions"),
        ({"where": [{"column": "width", "op": "=", "value": [1]}]}, "neither text nor number"),
        ({"where": [{"column": "width", "op": "=", "value": {}}]}, "neither text nor number"),
        ({"where": [7]}, "is no condition"),
        ({"deduplicate": "false"}, "it is true or false"),
        ({"k": [1]}, "which is no number"),
        ({"modality": ["image"]}, "modality is ['image']"),
    ],
)
def test_a_line_of_the_wrong_types_is_told_and_the_next_is_answered(
    searcher: Searcher, tmp_path: Path, more: dict[str, Any], said: str
) -> None:
    path = tmp_path / "asked.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in ({"uid": uid(0)} | more, {"uid": uid(1)})))
    bad, good = answers(searcher, read(path, USUAL))
    assert said in bad.error
    assert [hit.uid for hit in good.hits] == [hit["uid"] for hit in alone(searcher, 1)]


@pytest.mark.parametrize("ending", ["csv", "parquet", "npy"])
def test_tables_and_arrays_ask_the_same(searcher: Searcher, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"asked.{ending}"
    if ending == "csv":
        with path.open("w", newline="") as handle:
            writer = csv.writer(handle)
            writer.writerows([["id", "uid", "url", "where"], *[[f"q{n}", uid(n), "", "x"] for n in range(20)]])
    elif ending == "parquet":
        names = [f"q{n}" for n in range(20)]
        pq.write_table(pa.table({"id": names, "uid": [uid(n) for n in range(20)], "other": names}), path)
    else:
        np.save(path, unit(ROWS)[:20])
    found = list(answers(searcher, read(path, USUAL)))
    assert [one.number for one in found] == list(range(2, 22) if ending == "csv" else range(1, 21))
    assert [one.name for one in found] == [None if ending == "npy" else f"q{n}" for n in range(20)]
    assert [[hit.uid for hit in one.hits] for one in found] == [
        [h["uid"] for h in alone(searcher, n)] for n in range(20)
    ]


@pytest.mark.parametrize("line", ["[" * 100_000, '{"terms": ' + "[" * 100_000, "{", "\0"])
def test_a_line_that_is_no_json_however_deep_is_one_query_unanswered(
    searcher: Searcher, tmp_path: Path, line: str
) -> None:
    path = tmp_path / "asked.jsonl"
    path.write_text(f"{line}\n{json.dumps({'uid': uid(1), 'k': 2})}\n")
    bad, good = answers(searcher, read(path, USUAL))
    assert str(bad.error).startswith("not JSON")
    assert len(good.hits) == 2


@pytest.mark.parametrize("size", [1, 3, 256])
def test_answers_do_not_depend_on_the_size_of_a_block(
    searcher: Searcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(batch, "BLOCK", size)
    path = tmp_path / "asked.jsonl"
    path.write_text("".join(json.dumps({"uid": uid(n) if n != 5 else "1" * 32, "k": n + 1}) + "\n" for n in range(10)))
    found = list(answers(searcher, read(path, USUAL)))
    assert [len(one.hits) for one in found] == [1, 2, 3, 4, 5, 0, 7, 8, 9, 10]
    assert [bool(one.error) for one in found] == [n == 5 for n in range(10)]


def test_a_list_is_read_as_it_is_answered_so_that_its_length_is_no_matter(searcher: Searcher) -> None:
    taken = 0

    def endless() -> Any:
        nonlocal taken
        while True:
            taken += 1
            yield Asked(taken, None, Query((Term(uid=uid(taken % ROWS)),), k=10_000))

    found = answers(searcher, endless())
    assert [len(next(found).hits) for _ in range(25)] == [ROWS] * 25
    assert taken <= 40  # ten at a time, for each may have 10,000 hits


def test_parquet_answers_hold_a_row_for_each_hit_and_each_trouble(searcher: Searcher, tmp_path: Path) -> None:
    path, out = tmp_path / "asked.jsonl", tmp_path / "found.parquet"
    path.write_text(json.dumps({"uid": uid(4), "id": 7}) + "\n{\n")
    assert answer_list(searcher, USUAL, path, out, told([])) == (2, 1)
    rows = pq.read_table(out).to_pylist()
    assert [(row["query"], row["id"], row["rank"]) for row in rows] == [
        (1, "7", 1),
        (1, "7", 2),
        (1, "7", 3),
        (2, None, None),
    ]
    assert [row["uid"] for row in rows[:3]] == [hit["uid"] for hit in alone(searcher, 4)]
    assert rows[3]["error"].startswith("not JSON")


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("asked.txt", b"a", "one of .jsonl"),
        ("none.jsonl", None, "cannot be read"),
        ("asked.csv", b"title\nx\n", "has no column text"),
        ("asked.parquet", b"PAR1", "cannot be read"),
        ("asked.npy", b"text", "not a NumPy array"),
        ("asked.jsonl", b"\xff\xfe\xff", "cannot be read"),
    ],
)
def test_a_list_that_cannot_be_read_says_why(
    searcher: Searcher, tmp_path: Path, name: str, data: bytes | None, said: str
) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=said):
        list(answers(searcher, read(tmp_path / name, USUAL)))


def test_a_stopped_run_leaves_no_answers_under_their_name(searcher: Searcher, tmp_path: Path) -> None:
    path = tmp_path / "asked.csv"
    path.write_text("title\nx\n")
    with pytest.raises(InputError):
        answer_list(searcher, USUAL, path, tmp_path / "found.jsonl", told([]))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["asked.csv"]

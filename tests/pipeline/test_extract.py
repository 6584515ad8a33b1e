"""What extraction keeps of those who said no."""

from datetime import UTC, datetime
from pathlib import Path

from pipeline.extract import stage
from pipeline.inputs import Unit
from pipeline.schema import REFUSED
from pipeline.sightings import ReadOptions
from pipeline.stage import run
from pipeline.store import Store
from tests.crawl_files import HTML, response, write_warc

PAGE = b'<meta name=robots content=noai><img src=a.png alt="A red boat"><img src=b.png alt="A blue boat">'


def test_a_refusal_is_kept_with_its_words_and_the_time_it_was_read(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "set"))
    crawl = write_warc(tmp_path / "a.warc.gz", [response("http://h.example/", PAGE, HTML)])
    before = datetime.now(UTC)
    part = run(store, stage(Unit("warc", str(crawl)), ReadOptions()))
    after = datetime.now(UTC)
    refused = part.table(store, "refused.parquet")
    assert refused.schema.remove_metadata() == REFUSED
    rows = refused.to_pylist()
    assert [(row["url"], row["reason"], row["tags"]) for row in rows] == [
        ("http://h.example/a.png", "opted_out", 1),
        ("http://h.example/b.png", "opted_out", 1),
    ]
    assert all("noai" in row["evidence"] for row in rows)
    (observed,) = {row["observed_utc"] for row in rows}
    assert before <= observed <= after
    assert part.dropped == {"opted_out": 2}


def test_where_nobody_said_no_the_table_is_there_and_empty(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "set"))
    crawl = write_warc(tmp_path / "a.warc.gz", [response("http://h.example/", b"<img src=a.png alt=Boat>", HTML)])
    refused = run(store, stage(Unit("warc", str(crawl)), ReadOptions())).table(store, "refused.parquet")
    assert (refused.num_rows, refused.schema.remove_metadata()) == (0, REFUSED)

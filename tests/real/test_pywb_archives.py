"""pywb's sample archives, the bad ones too, run through; what is broken is counted."""

import os
from pathlib import Path

import pytest

from pipeline import read_warc, read_wat
from pipeline.capture import read_capture
from tests.reading import collect

CORPORA = Path(os.environ.get("TAMIS_CORPORA", Path(__file__).parents[2] / ".corpora"))

pytestmark = pytest.mark.real


def test_every_archive_runs_through() -> None:
    archives = sorted((CORPORA / "pywb").glob("*arc*"))
    if not archives:
        pytest.skip(f"no pywb archives below {CORPORA}; `make real` fetches them")
    seen = {}
    for path in archives:
        _, captures, counts = collect(read_warc.read, path)
        collect(read_wat.read, path)
        seen[path.name] = counts
        for found in captures:
            read_capture(found["kind"], found["uri"], found["offset"], found["bytes"])
    iana = seen["iana.warc.gz"]
    assert (iana.pages, iana.images, iana.captures, iana.revisits, iana.bad_records) == (16, 32, 5, 123, 0)
    assert seen["bad.arc"].truncated_inputs == 1  # ARC is not WARC
    assert seen["example.warc"].bad_records == 1  # two blank lines too many between records
    assert seen["example.warc"].records == 6

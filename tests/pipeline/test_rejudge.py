"""Statements that were stored are read again, and what an erasure blanked says nothing."""

from datetime import UTC, datetime

import pyarrow as pa

from filters.signal import Signal
from pipeline.rejudge import stored_signals
from pipeline.schema import SIGNAL


def test_stored_statements_come_back_by_url_and_blanked_rows_do_not() -> None:
    signal = Signal("http://a.example/", "asset", "x-robots-tag", "train", "deny", "*", "noai", datetime.now(UTC))
    row = {name: getattr(signal, name) for name in SIGNAL.names[1:]}
    blank = dict.fromkeys(SIGNAL.names)
    table = pa.Table.from_pylist([{"url": "http://a.example/1.jpg"} | row, blank], schema=SIGNAL)
    assert stored_signals(table) == {"http://a.example/1.jpg": [signal]}

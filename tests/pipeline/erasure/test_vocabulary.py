"""What tamis writes of its own accord is no trace of a person; an address never is tamis' own."""

from pipeline.erasure.needles import Needles
from pipeline.erasure.scan import Scan
from pipeline.erasure.vocabulary import is_own
from pipeline.store import Store


def test_a_word_of_a_column_is_tamis_own_and_a_persons_caption_is_not() -> None:
    assert is_own(b"registered", {"text"})
    assert not is_own(b"my grandmother in her garden", {"text"})
    assert not is_own(b"registered", {"text", "url"})


def test_a_caption_that_is_tamis_own_word_is_still_found_in_rows_and_not_in_records(tmp_path: object) -> None:
    store = Store.open_url(str(tmp_path))
    needles = Needles()
    needles.add("r-1", b"u" * 16, {"text": "registered", "url": "https://example.org/a-private-picture.jpg"})
    store.write("some.json", b'{"registered_utc": 1}')
    assert Scan(needles).run(store).findings == []
    store.write("other.json", b'{"note": "https://example.org/a-private-picture.jpg"}')
    found = Scan(needles).run(store).findings
    assert [(finding.file, finding.what) for finding in found] == [("other.json", "url")]

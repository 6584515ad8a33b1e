"""The report tells of every row, shows what it should, and is one file that runs nothing and asks nobody."""

import base64
import hashlib
from collections import Counter
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from selectolax.lexbor import LexborHTMLParser, LexborNode

from filters.boilerplate import boilerplate
from filters.clip import clip
from filters.language import language
from filters.size import size
from filters.text import text
from pipeline import card, figures
from pipeline.errors import FormatError, InputError
from pipeline.pages import share, thumbnail, weblink
from pipeline.reasons import MEANINGS, meaning
from pipeline.report import build
from pipeline.report_data import COS_EDGES, balance, gather
from pipeline.report_pictures import largest_groups
from pipeline.snapshot import Snapshot, publish
from pipeline.store import Store
from pipeline.tally import Nearest, Tally
from pipeline.trouble import REASONS
from tests.small_dataset import ADMIT, EARLY, FETCHED, KEPT, LATE, ROWS, SCRIPT, THRESHOLD_COS, Small
from tests.small_dataset import build as build_small


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return build_small(tmp_path_factory.mktemp("sets") / "little-web")


@pytest.fixture(scope="module")
def page(small: Small, tmp_path_factory: pytest.TempPathFactory) -> str:
    return build(small.store, tmp_path_factory.mktemp("out") / "report.html").read_text(encoding="utf-8")


def _one(tree: LexborHTMLParser | LexborNode, selector: str) -> LexborNode:
    node = tree.css_first(selector)
    assert node is not None, selector
    return node


def test_the_funnel_counts_every_row_once_and_every_reason_at_its_step(small: Small) -> None:
    steps = gather(small.store, small.snapshot).steps()
    late = {reason: n for reason, n in LATE.items() if reason != "embed_nonfinite"}
    lost: list[dict[str, int]] = [{}, EARLY, ADMIT, FETCHED, {"embed_nonfinite": 1}, late]
    assert [dict(step.lost) for step in steps] == [small.count(planned) for planned in lost]
    left = [ROWS + sum(EARLY.values()), ROWS, ROWS - 25, ROWS - 45, ROWS - 46, KEPT]
    assert [step.rows for step in steps] == [small.parts * n for n in left]
    assert balance(steps) == []


def test_counts_of_cosines_sizes_answers_and_groups_are_those_of_the_rows(small: Small) -> None:
    facts = gather(small.store, small.snapshot)
    parts = small.parts
    assert facts.cosines.sum(axis=1).tolist() == [parts * KEPT, parts * 14, parts * LATE["clip_low"]]
    assert facts.sizes.sum(axis=(1, 2)).tolist() == [parts * (ROWS - 46), parts * KEPT]
    assert facts.statuses == Counter({200: parts * (ROWS - 45 + 2), 404: parts * 10})
    assert facts.fetches == Counter(small.count(FETCHED)) + Counter(fetched=parts * (ROWS - 45))
    assert facts.groups.totals == [parts * LATE["duplicate_of"]]
    assert [n for _, (n,) in facts.groups.top(4)] == [5, 5, 1, 1]
    assert facts.domains.totals == facts.languages.totals == [parts * ROWS, parts * KEPT]
    assert facts.work["embed"].rows == parts * (ROWS - 45)
    assert facts.read["images"] == small.snapshot.rows_in


def test_pictures_around_the_threshold_are_the_nearest_on_their_side(small: Small) -> None:
    galleries = gather(small.store, small.snapshot).galleries
    below, above, best = (galleries.rows(kind) for kind in ("below", "above", "best"))
    assert [row.cos for row in below] == sorted((row.cos for row in below), reverse=True)
    assert [row.cos for row in above] == sorted(row.cos for row in above)
    assert max(row.cos for row in below) < THRESHOLD_COS <= min(row.cos for row in above)
    assert best[0].cos == max(row.cos for row in best) > above[-1].cos
    assert len({row.sha256 for row in below}) == len({row.text for row in below}) == len(below) == 12


def test_what_is_shown_does_not_depend_on_the_order_of_the_parts(small: Small) -> None:
    turned = replace(small.snapshot, parts=list(small.snapshot.parts)[::-1])
    one, other = gather(small.store, small.snapshot).galleries, gather(small.store, turned).galleries
    for kind in one.kinds:
        assert [row.uid for row in one.rows(kind)] == [row.uid for row in other.rows(kind)]


def test_the_largest_groups_come_first_with_their_kept_member(small: Small) -> None:
    groups = largest_groups(small.store, gather(small.store, small.snapshot))
    assert [group.size for group in groups] == [6, 6, 2, 2, 2, 2]
    for group in groups:
        assert group.keeper is not None
        assert {row.sha256 for row in group.copies} == {group.keeper.sha256}
        assert group.unseen == 0


def test_the_page_names_every_reason_with_its_count_and_meaning(small: Small, page: str) -> None:
    rows = LexborHTMLParser(page).css("#reasons tbody tr:not(.step)")
    told = {row.css("td")[0].text(): (int(row.css("td")[1].text()), row.css("td")[4].text()) for row in rows}
    assert {reason: n for reason, (n, _) in told.items()} == dict(small.snapshot.dropped)
    assert all(says == MEANINGS[reason] for reason, (_, says) in told.items())
    assert "It adds up: 388 found = 76 kept + 312 let go" in page


def test_the_page_loads_nothing_and_runs_nothing(page: str) -> None:
    tree = LexborHTMLParser(page)
    assert not tree.css("script, link, iframe, object, embed, form, base, [style], [onload], [onerror]")
    sources = [node.attributes.get("src") or node.attributes.get("srcset") for node in tree.css("img, source")]
    assert len(sources) > 50
    assert all(source is not None and source.startswith("data:image/") for source in sources)
    style = _one(tree, "style")
    digest = base64.b64encode(hashlib.sha256(style.text().encode()).digest()).decode()
    policy = _one(tree, "meta[http-equiv]").attributes["content"] or ""
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert f"style-src 'sha256-{digest}'" in policy
    assert "url(" not in style.text()
    assert "@import" not in style.text()


def test_every_picture_and_figure_has_words(page: str) -> None:
    pictures = LexborHTMLParser(page).css("img")
    assert all((node.attributes.get("alt") or "").strip() for node in pictures)
    drawn = [node.attributes["alt"] or "" for node in pictures if "svg" in (node.attributes["src"] or "")]
    assert [alt.split()[0] for alt in drawn] == ["Histogram", "Groups", "Sizes"]
    assert "44 let go below it, 76 kept, 28 dropped for another reason" in drawn[0]


def test_texts_of_strangers_stay_texts(page: str) -> None:
    assert SCRIPT not in page
    assert "&lt;script&gt;alert(&#39;alt text&#39;)&lt;/script&gt; &amp; &#34;quoted&#34;" in page
    assert "photo$club.example" in page


def test_thumbnails_are_small_jpegs(page: str) -> None:
    uris = [node.attributes["src"] or "" for node in LexborHTMLParser(page).css(".pane img, .mosaic img")]
    for uri in set(uris):
        with Image.open(BytesIO(base64.b64decode(uri.removeprefix("data:image/jpeg;base64,")))) as picture:
            assert picture.format == "JPEG"
            assert max(picture.size) <= 160


def test_the_same_snapshot_gives_the_same_bytes(small: Small, page: str, tmp_path: Path) -> None:
    assert build(small.store, tmp_path / "deep" / "again.html", number=1).read_text(encoding="utf-8") == page


def test_a_number_that_is_not_there_is_explained(small: Small, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no snapshot 7; there are 1"):
        build(small.store, tmp_path / "report.html", number=7)


def test_a_missing_record_is_named(tmp_path: Path) -> None:
    small = build_small(tmp_path / "set", parts=1)
    key = small.snapshot.parts[0].stages["scores"][0]
    small.store.delete(f"scores/{key}.json")
    with pytest.raises(FormatError, match=f"scores/{key}.json: missing"):
        build(small.store, tmp_path / "report.html")


def test_damaged_pictures_are_left_out_and_the_rest_is_shown(tmp_path: Path) -> None:
    small = build_small(tmp_path / "set", parts=1)
    (tar,) = (tmp_path / "set" / "fetch").rglob("*.tar")
    data = bytearray(tar.read_bytes())
    data[: len(data) // 2] = bytes(len(data) // 2)
    tar.write_bytes(data)
    page = build(small.store, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "no picture" in page
    assert "data:image/jpeg" in page


def test_numbers_that_do_not_add_up_are_announced(tmp_path: Path) -> None:
    small = build_small(tmp_path / "set", parts=1)
    wrong = replace(small.snapshot, number=2, parent=1, rows_in=small.snapshot.rows_in + 1)
    publish(small.store, wrong)
    page = build(small.store, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "These numbers do not add up" in page
    assert "Pairs: 195 before, 120 after, 74 dropped with a reason" in page


def test_an_empty_data_set_has_a_report_and_a_card_too(small: Small, tmp_path: Path) -> None:
    store = Store.open_url(str(tmp_path / "set"))
    config, model = small.snapshot.config, small.snapshot.clip
    empty = Snapshot(1, None, config, "0" * 24, 0, 0, {}, [], [], [], [], clip=model)
    publish(store, empty)
    page = build(store, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "It adds up: 0 found = 0 kept + 0 let go" in page
    assert "0 pictures with their texts" in card.text(store, empty)


def test_every_reason_of_the_pipeline_has_a_meaning() -> None:
    filters = [text(), language(), boilerplate(), size(), clip(threshold=0.1)]
    reasons = {reason for filter_ in filters for reason in filter_.reasons} | REASONS
    assert sorted(reasons - MEANINGS.keys()) == []
    assert meaning("gore_high") == "The filter “gore” scored above its limit."
    assert meaning("other") == "Left out by the filter “other”."


@pytest.mark.parametrize(("threshold", "pairs"), [(0.1, 10), (0.283, 100_000), (-1.0, 0), (1.0, 5)])
def test_a_bar_begins_at_the_threshold_and_no_pair_is_left_out(threshold: float, pairs: int) -> None:
    counts = np.histogram(np.random.default_rng(0).normal(0.2, 0.1, pairs), COS_EDGES)[0]
    low, high, step = figures._bins(COS_EDGES, counts, threshold)
    at = int(np.abs(COS_EDGES - threshold).argmin())
    assert (at - low) % step == 0
    assert 0 <= low < high <= len(counts)
    assert counts[max(low, 0) : high].sum() == counts.sum()


def test_a_tally_forgets_rare_names_but_no_numbers() -> None:
    tally = Tally[str](2, limit=100)
    for i in range(1000):
        tally.add(f"rare-{i}", 1, 0)
        tally.add("common", 1, 1)
    assert tally.top(1) == [("common", [1000, 1000])]
    assert tally.totals == [2000, 1000]
    assert not tally.exact
    assert len(tally.rows) <= 100


def test_the_nearest_rows_are_kept_whatever_their_order() -> None:
    items = [(abs(i - 50) / 10, f"{i:03d}", i) for i in range(100)]
    there, back = Nearest[int](5), Nearest[int](5)
    there.add(items)
    for item in reversed(items):
        back.add([item])
    assert there.values() == back.values() == [50, 49, 51, 48, 52]


def test_shares_never_round_something_to_nothing() -> None:
    assert [share(n, 100_000) for n in (0, 1, 12_345, 99_999, 100_000)] == [
        "0.0 %", "< 0.1 %", "12.3 %", "> 99.9 %", "100.0 %",
    ]  # fmt: skip


def test_only_web_addresses_become_links() -> None:
    assert weblink("https://pictures.example/1.jpg") == "https://pictures.example/1.jpg"
    assert [weblink(url) for url in ("javascript:alert(1)", "data:text/html,x", "//x", None)] == [""] * 4


def test_a_thumbnail_lies_on_white_and_is_turned_upright() -> None:
    out = BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # the row 0 is the right side
    Image.new("RGBA", (400, 200), (0, 0, 0, 0)).save(out, "PNG", exif=exif)
    uri = thumbnail(out.getvalue())
    with Image.open(BytesIO(base64.b64decode(uri.split(",")[1]))) as picture:
        assert picture.size == (80, 160)
        assert picture.getpixel((40, 80)) == (255, 255, 255)

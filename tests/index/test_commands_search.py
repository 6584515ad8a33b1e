"""`tamis search` and `tamis caption` as a user types them, with the bundled CLIP on a data set of drawings."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from selectolax.lexbor import LexborHTMLParser
from typer.testing import CliRunner, Result

from index.search import Searcher
from pipeline.errors import InputError
from pipeline.store import Store
from tamis import app
from tests.index.conftest import DRAWN
from tests.index.made import facts
from tests.small_dataset import draw, jpeg

Run = Callable[..., Result]


@pytest.fixture
def run(drawn: Store) -> Run:
    def ask(*arguments: object, verb: str = "search") -> Result:
        result = CliRunner().invoke(app, [verb, str(drawn.root), *map(str, arguments)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return ask


def hits(run: Run, *arguments: object) -> list[dict[str, Any]]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


def test_a_picture_file_finds_itself_in_the_data_set(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.jpg").write_bytes(jpeg(17))
    found = hits(run, "--image", tmp_path / "mine.jpg", "-k", 3)
    assert found[0]["uid"] == facts(17)["key"]
    assert found[0]["cos"] > 0.9
    assert sorted(found[0]) == ["caption", "clip_cos", "cos", "domain", "height", "page_url", "uid", "url", "width"]


def test_a_text_finds_its_own_caption_among_the_texts(run: Run) -> None:
    assert hits(run, "--text", draw(30)[1], "--modality", "text", "-k", 1)[0]["caption"] == draw(30)[1]


def test_an_embedding_from_a_file_asks_as_the_sample_it_is_of(
    run: Run, drawn_searcher: Searcher, tmp_path: Path
) -> None:
    opened = drawn_searcher.opened
    np.save(tmp_path / "one.npy", opened.vectors(opened.matching([])[:1])[0])
    by_uid = hits(run, "--uid", opened.facts(opened.matching([])[:1], ["key"])["key"][0].as_py())
    assert [h["uid"] for h in hits(run, "--embedding", tmp_path / "one.npy")] == [h["uid"] for h in by_uid]


def test_plus_and_minus_move_what_is_asked(run: Run, drawn_searcher: Searcher, tmp_path: Path) -> None:
    """Towards the text: its cosine to what is shown rises; away from it: it falls."""
    (tmp_path / "mine.jpg").write_bytes(jpeg(3))
    word = drawn_searcher.texts(["a blue star"])[0]

    def nearness(*more: object) -> float:
        found = hits(run, "--image", tmp_path / "mine.jpg", "-k", 20, *more)
        queries = drawn_searcher.opened
        ids = queries.matching([])
        uids = queries.facts(ids, ["key"])["key"].to_pylist()
        chosen = [uids.index(hit["uid"]) for hit in found]
        return float((queries.vectors(ids)[chosen] @ word).mean())

    assert nearness("--plus", "a blue star") > nearness() > nearness("--minus", "2*a blue star")


def test_conditions_limit_the_answer_which_is_still_full(run: Run) -> None:
    found = hits(run, "--text", "a red circle", "--where", "domain=shop.example", "--where", "clip_cos>=0.2", "-k", 500)
    fitting = [
        n
        for n in range(DRAWN)
        if facts(n)["domain"] == "shop.example" and np.float32(facts(n)["clip_cos"]) >= np.float32(0.2)
    ]
    assert sorted(hit["uid"] for hit in found) == sorted(facts(n)["key"] for n in fitting)


def test_a_page_shows_pictures_conditions_and_what_was_asked_with(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.jpg").write_bytes(jpeg(17))
    page = tmp_path / "found.html"
    asked = (
        "--image",
        tmp_path / "mine.jpg",
        "--plus",
        "in <winter>",
        "--where",
        "width>=200",
        "--least-cos",
        "0.1",
        "--deduplicate",
    )
    result = run(*asked, "--html", page, "-k", 6)
    assert result.exit_code == 0, result.output
    tree = LexborHTMLParser(page.read_text(encoding="utf-8"))
    heading = tree.css_first("h1")
    assert heading is not None
    assert heading.text() == "mine.jpg + 2\u00a0×\u00a0“in <winter>”"
    assert [chip.text() for chip in tree.css(".chips li")] == ["width ≥ 200", "cosine ≥ 0.1", "copies once"]
    assert len(tree.css(".hits figure")) == 6
    assert len(tree.css(".sent img")) == 1


def test_neighbours_both_ways_are_some_of_the_neighbours(run: Run) -> None:
    uid = facts(9)["key"]
    near = [hit["uid"] for hit in hits(run, "--uid", uid, "-k", 8)]
    mutual = [hit["uid"] for hit in hits(run, "--uid", uid, "-k", 8, "--mutual")]
    assert mutual[0] == uid
    assert 0 < len(mutual) < 8
    assert [one for one in near if one in mutual] == mutual


def test_a_list_of_queries_ends_with_1_when_one_was_bad(run: Run, tmp_path: Path) -> None:
    asked = tmp_path / "asked.jsonl"
    asked.write_text('{"text": "a red circle"}\n{"text": 3}\n')
    result = run("--queries", asked, "--out", tmp_path / "found.jsonl", "-k", 2, "--where", "lang=de")
    assert result.exit_code == 1
    assert f"{asked}, 2: text is 3" in result.stderr
    assert "1 of 2 queries answered" in result.stderr
    first, second = (json.loads(line) for line in (tmp_path / "found.jsonl").read_text().splitlines())
    assert [len(first["hits"]), second["query"]] == [2, 2]
    asked.write_text('{"text": "a red circle"}\n')
    result = run("--queries", asked)
    assert result.exit_code == 0
    assert len(json.loads(result.stdout)["hits"]) == 10


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give at least one of --text"),
        (("--text", "a", "--modality", "sound"), "it is `image` or `text`"),
        (("--text", "a", "--out", "x.jsonl"), "--out goes with --queries"),
        (("--queries", "x.jsonl", "--mutual"), "--queries goes with neither"),
        (("--text", "a", "-k", "0"), "Invalid value"),
    ],
)
def test_wrong_usage_ends_with_2(run: Run, arguments: tuple[str, ...], said: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in " ".join(result.output.replace("│", " ").split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--image", "none.jpg"), "none.jpg: no such file"),
        (("--text", "a", "--where", "widht>3"), "did you mean 'width'"),
        (("--text", "a", "--where", "width"), "is no condition"),
        (("--text", "a", "--text", "-1*a"), "cancel out"),
    ],
)
def test_what_cannot_be_asked_says_why(run: Run, arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(InputError, match=said):
        run(*arguments)


def test_a_picture_is_put_into_words(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.jpg").write_bytes(jpeg(17))
    result = run("--image", tmp_path / "mine.jpg", "-k", 4, "--json", verb="caption")
    found = json.loads(result.stdout)
    assert len(found["captions"]) == len(found["phrases"]) == 4
    said = run("--image", tmp_path / "mine.jpg", "-k", 4, verb="caption").stdout
    assert found["prompt"] in said
    assert found["captions"][3]["caption"] in said


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys, tamis; print([name for name in ('torch', 'faiss', 'pyarrow', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    for verb in ("search", "caption"):
        assert "tamis " + verb in CliRunner().invoke(app, [verb, "--help"]).output

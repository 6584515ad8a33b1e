"""`tamis search` and `tamis caption`: ask a data set from the command line."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.options import Dataset, Json

if TYPE_CHECKING:
    from index.query import Query, Term
    from index.search import Searcher

Texts = Annotated[list[str] | None, typer.Option("--text", help="What the pictures show")]
Images = Annotated[list[str] | None, typer.Option("--image", metavar="FILE", help="A picture like those to be found")]
Urls = Annotated[list[str] | None, typer.Option("--url", help="URL of a picture of the data set")]
Uids = Annotated[list[str] | None, typer.Option("--uid", help="A sample of the data set")]
Embeddings = Annotated[
    list[str] | None, typer.Option("--embedding", metavar="FILE.npy", help="A vector of the data set's own CLIP")
]
Plus = Annotated[list[str] | None, typer.Option("--plus", metavar="TEXT", help="Move what is asked towards this text")]
Minus = Annotated[list[str] | None, typer.Option("--minus", metavar="TEXT", help="Move it away from this text")]
Where = Annotated[
    list[str] | None,
    typer.Option("--where", metavar="CONDITION", help="COLUMN and one of = != < <= > >= ~ (contains) and a VALUE"),
]


def mount(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.command()(search)
    app.command()(caption)


def search(
    dataset: Dataset,
    text: Texts = None,
    image: Images = None,
    url: Urls = None,
    uid: Uids = None,
    embedding: Embeddings = None,
    plus: Plus = None,
    minus: Minus = None,
    where: Where = None,
    k: Annotated[int, typer.Option("-k", min=1, max=10_000, help="How many at most")] = 10,
    least_cos: Annotated[
        float | None, typer.Option(min=-1, max=1, help="Everything at least this near, -k at most")
    ] = None,
    modality: Annotated[str, typer.Option(help="Compare with pictures (image) or with their texts (text)")] = "image",
    deduplicate: Annotated[bool, typer.Option("--deduplicate", help="Of copies, show the nearest only")] = False,
    mutual: Annotated[
        bool, typer.Option("--mutual", help="Only those that have what is asked among their own -k nearest")
    ] = False,
    queries: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Many queries: .jsonl, .csv, .parquet, .npy")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Answers to --queries: .jsonl or .parquet; stdout when absent")
    ] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page with the pictures")] = None,
    as_json: Json = False,
) -> None:
    """Find the nearest pictures by text, picture, URL, uid, embedding, or sums of them.

    What is given is added up, each with weight 1 or as written: --text "0.5*a dog". --plus counts 2 and --minus -0.5.

    \b
      tamis search SET --text "a red fruit" --where "width>=256" --where "domain=example.org"
      tamis search SET --image cat.jpg --plus "in winter" --minus "in summer" --html found.html
      tamis search SET --image logo.png --least-cos 0.9 -k 1000 --json
      tamis search SET --text "ein Hund" --modality text --where lang=de
      tamis search SET --queries asked.jsonl --out found.parquet
    """
    from index.search import Searcher
    from pipeline.store import Store

    given = {"text": text, "image": image, "url": url, "uid": uid, "embedding": embedding, "plus": plus, "minus": minus}
    query = _query(_terms(given), where, k=k, least_cos=least_cos, modality=modality, deduplicate=deduplicate)
    if queries is not None:
        if mutual or html is not None:
            raise typer.BadParameter("--queries goes with neither --mutual nor --html")
        raise typer.Exit(_many(Searcher(Store.open_url(dataset)), query, queries, out))
    if not query.terms:
        raise typer.BadParameter("give at least one of --text, --image, --url, --uid, --embedding, --queries")
    if out is not None:
        raise typer.BadParameter("--out goes with --queries; --json and --html show one answer")
    searcher = Searcher(Store.open_url(dataset))
    _show(searcher, query, mutual, dataset, html, as_json)


def caption(
    dataset: Dataset,
    text: Texts = None,
    image: Images = None,
    url: Urls = None,
    uid: Uids = None,
    embedding: Embeddings = None,
    where: Where = None,
    k: Annotated[int, typer.Option("-k", min=1, max=100, help="How many captions and phrases")] = 10,
    as_json: Json = False,
) -> None:
    """Say what a picture looks like to CLIP: the nearest captions, ranked phrases, and a prompt made of them.

    \b
      tamis caption SET --image cat.jpg
    """
    from index.interrogate import interrogate
    from index.search import Searcher
    from pipeline.store import Store

    query = _query(_terms({"text": text, "image": image, "url": url, "uid": uid, "embedding": embedding}), where, k=k)
    if not query.terms:
        raise typer.BadParameter("give at least one of --image, --url, --uid, --text, --embedding")
    found = interrogate(Searcher(Store.open_url(dataset)), query)
    if as_json:
        print(json.dumps(found.to_json(), ensure_ascii=False, indent=1))
        return
    print(f"prompt  {found.prompt.cos:6.3f}  {found.prompt.text}")
    for title, said in (("captions", found.captions), ("phrases", found.phrases)):
        print(f"\n{title}")
        for one in said:
            print(f"{one.cos:6.3f}  {one.text}")


def _terms(given: dict[str, list[str] | None]) -> "tuple[Term, ...]":
    from index.term_words import term

    return tuple(term(kind, value) for kind, values in given.items() for value in values or ())


def _query(terms: "tuple[Term, ...]", where: list[str] | None, modality: str = "image", **settings: object) -> "Query":
    from index.conditions import parse
    from index.query import Query

    if modality not in ("image", "text"):
        raise typer.BadParameter("it is `image` or `text`", param_hint="--modality")
    conditions = tuple(parse(one) for one in where or ())
    return Query(terms, modality=modality, where=conditions, **settings)  # type: ignore[arg-type]


def _show(searcher: "Searcher", query: "Query", mutual: bool, dataset: str, html: Path | None, as_json: bool) -> None:
    from index.hits import as_json as plain
    from index.query import worded

    pictures = html is not None
    hits = searcher.reciprocal(query, pictures=pictures) if mutual else searcher.search(query, pictures=pictures)
    if html is not None:
        from index.page import write_page

        name = dataset.rstrip("/").rsplit("/", 1)[-1]
        write_page(html, worded(query.terms), hits, f"{name} · snapshot {searcher.snapshot.folder}", query)
        print(f"wrote {html}", file=sys.stderr)
    if as_json:
        print(json.dumps(plain(hits), ensure_ascii=False, indent=1))
    elif html is None:
        for hit in hits:
            print(f"{hit.cos:6.3f}  {hit.uid}  {hit.caption[:70]!r}  {hit.url}")


def _many(searcher: "Searcher", usual: "Query", queries: Path, out: Path | None) -> int:
    """Answer a list of queries; returns the exit code: 1 when some could not be answered."""
    from index.batch import answer_list

    def trouble(number: int, why: str) -> None:
        print(f"{queries}, {number}: {why}", file=sys.stderr)

    asked, bad = answer_list(searcher, usual, queries, out, trouble)
    where = f" in {out}" if out is not None else ""
    print(f"{asked - bad:,} of {asked:,} queries answered{where}", file=sys.stderr)
    return 1 if bad else 0

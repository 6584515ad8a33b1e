"""The command `tamis`: from a crawl to a training set that people can stand behind."""

import errno
import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from index import commands, commands_search, commands_serve
from pipeline.commands import dedup, optout, recheck, release
from pipeline.commands.options import Dataset, Json
from train import commands as training
from train import commands_clip, commands_sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pipeline.config import Config
    from pipeline.report import Search
    from pipeline.run import Run
    from pipeline.snapshot import Snapshot
    from pipeline.store import Store
    from train.copy_check import Neighbour, Neighbours, Removed

app = typer.Typer(
    name="tamis",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Turns web crawls into image/text training sets that people can stand behind.",
)


def _erase_from_index(store: "Store", uids: frozenset[bytes]) -> list[str]:
    from index.erase import erase

    return erase(store, uids)


def _checkpoints(store: "Store", uids: "Sequence[bytes]") -> "dict[bytes, list[dict[str, Any]]]":
    from train.lineage import checkpoints

    return checkpoints(store, uids)


def _neighbours(dataset: str) -> "tuple[Neighbours, Removed | None]":
    """Return what finds the rows of a data set that are nearest to a vector, with their pictures, and what knows removed ones."""
    from index.query import Query, Term
    from index.search import Searcher
    from pipeline.refusals import looks_removed
    from pipeline.store import Store

    store = Store.open_url(dataset)
    searcher = Searcher(store)

    def nearest(vector: "NDArray[Any]", k: int) -> "list[Neighbour]":
        asked = Query((Term(embedding=tuple(vector.tolist())),), k)
        return [(hit.uid, hit.cos, hit.picture) for hit in searcher.search(asked)]

    return nearest, looks_removed(store)


_USAGE_ERROR: Any = typer.BadParameter.mro()[2]  # typer's own ClickException, which it does not export


@app.command()
def ingest(
    config_file: Annotated[
        Path, typer.Argument(metavar="CRAWL.TOML", help="The run's configuration; `tamis config` explains its keys")
    ],
    scheduler: Annotated[str | None, typer.Option(help="Address of a running dask scheduler, tcp://…")] = None,
    retry: Annotated[
        str | None, typer.Option(help="`transient`: fetch again what failed for a passing reason, and nothing else")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress on stderr")] = False,
    as_json: Json = False,
) -> None:
    """Bring a data set to the state its configuration asks for; run it again after any interruption."""
    from pipeline.config import load

    if retry not in (None, "transient"):
        raise typer.BadParameter("the only kind is `transient`", param_hint="--retry")
    config = load(config_file)
    if scheduler is not None:
        config = config.model_copy(update={"cluster": config.cluster.model_copy(update={"scheduler": scheduler})})
    snapshot = run_ingest(config, retry_transient=retry == "transient", quiet=quiet)
    if as_json:
        print(
            json.dumps(
                {
                    "snapshot": snapshot.number,
                    "rows_in": snapshot.rows_in,
                    "rows": snapshot.rows,
                    "dropped": dict(snapshot.dropped),
                }
            )
        )
        return
    _print_outcome(config.dataset, snapshot)


def run_ingest(config: "Config", *, retry_transient: bool = False, quiet: bool = False) -> "Snapshot":
    """Ingest, then build the index on the same cluster: the one place where both packages meet."""
    from pipeline.ingest import ingest as run

    return run(config, retry_transient=retry_transient, quiet=quiet, after=_build_index)


def _build_index(run: "Run", snapshot: "Snapshot") -> None:
    from index.sync import sync

    if snapshot.rows == 0:
        return
    with run.progress.step("index"):
        sync(run.store, snapshot, engine=run.engine)


def _print_outcome(dataset: str, snapshot: "Snapshot") -> None:
    from rich.console import Console

    from pipeline.outcome import outcome_table

    console = Console()
    console.print(outcome_table(snapshot))
    folder = f"{dataset}/shards/{snapshot.folder}"
    console.print(f"shards   {folder}/", soft_wrap=True)
    console.print(f"report   tamis report {dataset} --out report.html", soft_wrap=True)
    console.print(f'search   tamis search {dataset} --text "…" --html found.html', soft_wrap=True)


@app.command()
def status(dataset: Dataset, as_json: Json = False) -> None:
    """Show what a data set holds and how far its run is; ask from any terminal at any time."""
    from pipeline.status import status as read_status
    from pipeline.store import Store

    found = read_status(Store.open_url(dataset))
    if as_json:
        print(json.dumps(found, indent=1))
        return
    from pipeline.outcome import print_status

    print_status(found)


@app.command()
def verify(dataset: Dataset, as_json: Json = False) -> None:
    """Re-read a data set and check all digests, counts and conservation; exit code 3 when something is wrong."""
    from pipeline.errors import InputError
    from pipeline.store import Store
    from pipeline.verify import verify as check

    store = Store.open_url(dataset)
    if not store.walk():
        raise InputError(f"{dataset}: no data set here")
    note = (
        (lambda _: None)
        if as_json or not sys.stderr.isatty()
        else (lambda what: print(f"checking {what}", file=sys.stderr))
    )
    findings = check(store, note)
    if as_json:
        print(json.dumps({name: value for name, value in vars(findings).items() if name != "broken"}, indent=1))
    else:
        print(
            f"{findings.parts:,} parts, {findings.files:,} files, {findings.samples:,} samples, {findings.bytes / 1e6:,.1f} MB read"
        )
        for problem in findings.problems:
            print(f"WRONG  {problem}")
        print("everything is as promised" if not findings.problems else f"{len(findings.problems)} problems")
    if findings.problems:
        raise typer.Exit(3)


@app.command()
def report(
    dataset: Dataset,
    out: Annotated[Path, typer.Option(help="File to write")] = Path("report.html"),
    snapshot: Annotated[int | None, typer.Option(help="Number of the snapshot; the newest when absent")] = None,
) -> None:
    """Write one self-contained page of what was kept, what was not, and why."""
    from pipeline.report import build
    from pipeline.store import Store

    print(build(Store.open_url(dataset), out, snapshot))


@app.command()
def config(as_json: Json = False) -> None:
    """Print every key of the configuration with its meaning, type and default."""
    from pipeline.config import keys

    found = list(keys())
    if as_json:
        print(
            json.dumps(
                [dict(zip(("key", "type", "default", "meaning"), row, strict=True)) for row in found],
                indent=1,
                default=str,
            )
        )
        return
    section = ""
    for key, kind, default, meaning in found:
        head, _, leaf = key.rpartition(".")
        if head != section:
            print(f"\n[{head}]")
            section = head
        print(f"# {meaning} ({kind})")
        print(
            f"{leaf} = {_toml(default)}"
            if default is not None and default != "required"
            else f"# {leaf} =  ({'required' if default else 'absent'})"
        )


def _toml(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the little web and its data set go")] = Path(
        "demo"
    ),
    pictures: Annotated[int | None, typer.Option(min=160, help="A smaller web, of so many pictures")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress on stderr")] = False,
) -> None:
    """Crawl and ingest a little web in which every picture has a known fate, forget who asks for it, and compare."""
    from index.erase import erase
    from pipeline.demo.run import run_demo

    if not run_demo(folder, run_ingest, _demo_search, [erase], pictures=pictures, quiet=quiet):
        raise typer.Exit(1)


def _demo_search(dataset: str, queries: "Sequence[str]", k: int) -> "list[Search]":
    from index.search import Searcher
    from pipeline.report import Search
    from pipeline.store import Store

    searcher = Searcher(Store.open_url(dataset))
    asked = ((query, searcher.by_text(query, k)) for query in queries)
    return [Search(query, [(hit.cos, hit.caption, hit.picture) for hit in hits]) for query, hits in asked]


commands_search.mount(app)
commands_serve.mount(app, checkpoints=_checkpoints)
app.add_typer(commands.group(), name="index")
dedup.mount(app)
app.add_typer(optout.group(derived=[_erase_from_index], checkpoints=_checkpoints), name="optout")
recheck.mount(app)
release.mount(app, checkpoints=_checkpoints)
commands_clip.mount(training.app)
app.add_typer(training.app, name="train")
commands_sample.mount(app, _neighbours)


def _go_on() -> str:
    """Return how to go on with the command that was given."""
    ways = {
        "train": "What the newest checkpoint holds is kept; the same command with --resume goes on from it.",
        "sample": "The pictures that are written are kept; the same command with a new --out draws them all again.",
        "export": "Nothing was published; run the same command again.",
    }
    given = sys.argv[1] if len(sys.argv) > 1 else ""
    return ways.get(given, "What is finished is kept; run the same command again to go on.")


def run() -> int:
    """Run the command line and return its exit code: 0 done, 1 our error, 2 usage, 3 invariant broken, 130 stopped."""
    from pipeline.interrupt import heard

    try:
        with heard() as interrupt:
            try:
                code = _answered()
            except Exception:
                interrupt.check()  # an import that was cut short by Ctrl-C fails in words of its own
                raise
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    if code == 130:  # typer's own answer to Ctrl-C
        print(f"\ntamis: stopped. {_go_on()}", file=sys.stderr)
    return code


def _answered() -> int:
    """Run the command that was given and return its exit code; errors that have an explanation are told."""
    from pipeline.errors import TamisError

    try:
        code = app(standalone_mode=False)
    except TamisError as error:
        print(f"tamis: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        advice = "free some room" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "see to it"
        print(f"tamis: {error}; {advice}. {_go_on()}", file=sys.stderr)
        return 1
    except _USAGE_ERROR as error:
        error.show()
        return int(error.exit_code)
    return code if isinstance(code, int) else 0


def main() -> None:
    """Run the command line and leave at once.

    Everything is closed by then. The interpreter's own way out destroys Arrow's threads while they may still run, which
    now and then ends a command that has done its work with SIGABRT.
    """
    code = run()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # a reader that has gone away, as in `tamis … | head`
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()

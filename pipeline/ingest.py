"""The run: from inputs to a published snapshot. Every step finds what is done already and does the rest."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from distributed import Future

from pipeline import batches, curate, permits, tasks
from pipeline.config import Config
from pipeline.engine import chunks, connect
from pipeline.errors import InputError
from pipeline.inputs import expand
from pipeline.lock import hold
from pipeline.progress import Progress
from pipeline.refusals import current
from pipeline.rows import PartFiles
from pipeline.run import Run
from pipeline.snapshot import Snapshot, stage_counts
from pipeline.stage import Part
from pipeline.store import Store


def ingest(
    config: Config,
    *,
    retry_transient: bool = False,
    quiet: bool = False,
    after: Callable[[Run, Snapshot], None] | None = None,
) -> Snapshot:
    """Bring the data set to the state the configuration asks for, and return the published snapshot.

    `after` runs on the same cluster once the snapshot is published (the command line builds the index there).
    Errors: ConfigError, InputError, DatasetBusy, StorageError; whatever was finished before stays finished.
    """
    store = Store.open_url(config.dataset)
    units = expand(config)
    if not units:
        raise InputError("no input matches: " + ", ".join(config.inputs))
    with hold(store):
        store.sweep()
        cluster = config.cluster
        with (
            Progress(store, quiet) as progress,
            connect(
                cluster.scheduler, cluster.workers, cluster.in_flight, cluster.retries, config.clip.device
            ) as engine,
        ):
            run = Run(store, config, engine, progress, retry_transient, current(store, config))
            plan = batches.lay_out(run, units)
            parts = list(gather(run, plan))
            parts.sort(key=lambda part: plan.order[part.candidates.key])
            snapshot = curate.publish(run, plan, parts)
            if after is not None:
                after(run, snapshot)
            return snapshot


def gather(run: Run, plan: batches.Plan) -> Iterator[PartFiles]:
    """Yield every part once its pictures are fetched, embedded and scored; parts go through the stages side by side."""
    common = curate.boilerplate(run, plan.parts)
    for name in ("fetch", "embed", "score"):
        run.progress.expect(name, len(plan.parts))
    yield from run.engine.pump(_chains(run, plan, common))


def _chains(run: Run, plan: batches.Plan, common: Part) -> Iterator[Callable[[], Future]]:
    """Yield one chain a part, in waves: a wave's texts are judged and its hosts asked while earlier parts are fetched."""
    permit_book = permits.Book(run)
    for wave in chunks(plan.parts, max(1, 2 * run.engine.in_flight)):
        run.progress.expect("admit", len(wave))
        jobs = [(run.store, run.config, part, common, run.refusals) for part in wave]
        admitted = run.engine.map(tasks.admit, jobs, lambda item: run.progress.finished("admit", item.part))
        permit_book.ask(admitted, plan.policy_captures)
        for item in admitted:
            yield _chain(run, item, permit_book.for_part(item))


def _chain(run: Run, item: tasks.Admitted, policies: Sequence[Part]) -> Callable[[], Future]:
    """Return the function that submits the three tasks of a part, each fed by the one before."""

    def submit() -> Future:
        engine, args = run.engine, (run.store, run.config)
        fetched = engine.submit(tasks.fetch, *args, item, policies, run.refusals, run.retry_transient)
        fetched.add_done_callback(lambda future: _report(run, "fetch", future))
        embedded = engine.submit(tasks.embed, *args, item, fetched, model=True)
        embedded.add_done_callback(lambda future: _report(run, "embed", future))
        scored = engine.submit(tasks.score, *args, item, fetched, embedded, model=bool(run.config.filters.zero_shot))
        scored.add_done_callback(lambda future: _report(run, "score", future))
        return scored

    return submit


def _report(run: Run, stage: str, future: Future) -> None:
    if future.status != "finished":
        return
    found: Any = future.result()
    parts: list[Part] = found if isinstance(found, list) else [found.scores]
    dropped = stage_counts(parts) if stage != "score" else {}
    run.progress.done(stage, sum(part.rows for part in parts), dropped, sum(part.seconds for part in parts))

"""After the pictures are in: global tables, decisions, shards, and the snapshot that makes them the data set."""

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import card, copies_choice, copies_reduce, judging
from pipeline.batches import Plan
from pipeline.clip_spec import ModelSpec
from pipeline.config import Config
from pipeline.errors import InvariantError
from pipeline.ids import stable_hash, uid_digest
from pipeline.pack import KeptPart, Slice, carry_over, pack, plan_shards, remove_strangers, shard_key
from pipeline.pins import pinned
from pipeline.refusals import Refusals, barred, current, digest, joined, listed
from pipeline.rows import PartFiles
from pipeline.run import Run
from pipeline.snapshot import PartEntry, ShardEntry, Snapshot, latest, numbers, stage_counts
from pipeline.snapshot import publish as publish_snapshot
from pipeline.stage import Draft, Outcome, Part, Stage, count_reasons, run
from pipeline.store import Store


def boilerplate(run_: Run, candidates: Sequence[Part]) -> Part:
    """Return the global table of how many pictures and domains each repeated text stands on."""
    with run_.progress.step("texts"):
        return run(run_.store, judging.boilerplate_stage(), candidates)


def publish(run_: Run, plan: Plan, parts: Sequence[PartFiles]) -> Snapshot:
    """Decide every row, write the shards, publish the snapshot, and return it. Nothing new is written when nothing changed."""
    # who said no while pictures were fetched, perhaps for days, is obeyed too
    run_ = replace(run_, refusals=current(run_.store, run_.config))
    decided, copies = _decide(run_, parts)
    number = max(numbers(run_.store), default=0) + 1
    before = latest(run_.store)
    shards = plan_shards(
        [_kept(part) for part in decided], run_.config.pack.shard_samples, run_.config.pack.shard_bytes
    )
    same = before is not None and [shard_key(s) for s in shards] == [entry.key for entry in before.shards]
    if before is not None and same:
        snapshot = _snapshot(run_.config, plan, decided, copies, before.shards, before.number, before.parent)
        if snapshot.same_content(before):
            run_.progress.event("unchanged", snapshot=before.number)
            _settle(run_, before)  # a run killed just after publishing left this undone
            return before
    entries = _write_shards(run_, shards, number, before)
    parent = before.number if before else None
    snapshot = _snapshot(run_.config, plan, decided, copies, entries, number, parent, run_.refusals)
    _check_books(snapshot)
    remove_strangers(run_.store, snapshot.folder, entries)
    publish_snapshot(run_.store, snapshot)
    run_.progress.event("published", snapshot=number, rows=snapshot.rows)
    _settle(run_, snapshot)
    return snapshot


def _settle(run_: Run, snapshot: Snapshot) -> None:
    card.write(run_.store, snapshot)
    _expire(run_.store, run_.config.pack.keep_snapshots)


def _check_books(snapshot: Snapshot) -> None:
    dropped = sum(snapshot.dropped.values())
    if snapshot.rows_in != snapshot.rows + dropped:
        raise InvariantError(
            f"snapshot {snapshot.folder}: {snapshot.rows_in} rows in, but {snapshot.rows} kept and {dropped} dropped; not published. "
            "Please report this with the configuration"
        )


def _decide(run_: Run, parts: Sequence[PartFiles]) -> tuple[list[PartFiles], Part | None]:
    config, engine, progress = run_.config, run_.engine, run_.progress
    copies = None
    if config.copies.enabled:
        with progress.step("copies"):
            copies = _copies(run_, parts)
    for name in ("judge", "decide"):
        progress.expect(name, len(parts))
    judged = engine.map(
        _judge,
        [(run_.store, config, part, copies, run_.refusals) for part in parts],
        lambda p: progress.done("judge", p.rows),
    )
    with progress.step("keepers"):
        keepers = engine.one(_keepers, run_.store, copies, judged, config.optout.replace_lost)
    jobs = [(run_.store, part, j, keepers) for part, j in zip(parts, judged, strict=True)]
    return engine.map(_decide_part, jobs, lambda p: progress.finished("decide", p.decide)), copies  # type: ignore[arg-type]


def _copies(run_: Run, parts: Sequence[PartFiles]) -> Part:
    """Find the groups of copies; this process leads, the cluster does the work."""
    inputs = [key for part in parts for key in (*part.fetches, *part.embeds)]
    config = run_.config.copies

    def group(draft: Draft) -> Outcome:
        return copies_reduce.group(draft, parts, config, run_.engine.map)

    return run(run_.store, Stage("copies", group, config.model_dump(mode="json"), version=2), inputs)


def _judge(store: Store, config: Config, part: PartFiles, copies: Part | None, refusals: Refusals) -> Part:
    """Decide every candidate row of a part by all filters but the copies."""
    assert part.scores is not None
    decisions = judging.picture_decisions(config)
    out = joined(barred(store, part.candidates, refusals), listed(store, part.candidates, part.fetches, refusals))
    identity = decisions.config | ({"listed": said} if (said := digest(out)) else {})
    stage = Stage("judge", lambda draft: judging.judge(draft, part, decisions, copies, out), identity, version=2)
    inputs = [part.candidates, part.admit, *part.fetches, *part.embeds, part.scores, *([copies] if copies else [])]
    return run(store, stage, inputs)


def _keepers(store: Store, copies: Part | None, judged: Sequence[Part], replace_lost: bool) -> Part:
    """Choose the kept member of every group of copies, and list the others with it, per part."""
    inputs = [*([copies] if copies else []), *judged]
    config = {"replace_lost": replace_lost}
    stage = Stage("keepers", lambda draft: copies_choice.choose(draft, judged, replace_lost, copies), config)
    return run(store, stage, inputs)


def _decide_part(store: Store, part: PartFiles, judged: Part, keepers: Part) -> PartFiles:
    """Return the part with its final decisions; the key depends on this part's own losers, not on everybody's."""
    losers = keepers.table(store)
    uids = judged.table(store, columns=["uid"])["uid"].combine_chunks()
    losers = losers.filter(pc.is_in(losers["uid"], value_set=uids)).sort_by("uid").combine_chunks()
    reasons = {"duplicate_of": "duplicate_of", "semantic_of": "semantic_near"}
    found = {column: reason for column, reason in reasons.items() if column in losers.column_names}
    digest = [uid_digest(losers["uid"]), *(uid_digest(pc.fill_null(losers[column], bytes(16))) for column in found)]

    def decide(draft: Draft) -> Outcome:
        rows = judged.table(draft.store, columns=["uid", "reason", "tar_bytes", "fetch_key"])
        at = pc.index_in(rows["uid"].combine_chunks(), losers["uid"].combine_chunks())
        stands_for = {column: losers[column].combine_chunks().take(at) for column in found}
        lost = [pc.if_else(pc.is_valid(kept), found[column], None) for column, kept in stands_for.items()]
        reason = pc.coalesce(rows["reason"].combine_chunks(), *lost)
        draft.table(pa.table({"uid": rows["uid"], "reason": reason, **stands_for}))
        kept = rows.filter(pc.is_null(reason))
        dropped = count_reasons(reason)
        facts = {
            "kept_digest": uid_digest(kept["uid"]),
            "kept_bytes": int(pc.sum(kept["tar_bytes"]).as_py() or 0),
            "fetches": sorted(pc.unique(kept["fetch_key"]).to_pylist()),
        }
        return Outcome(rows.num_rows, kept.num_rows, dropped, facts)

    decided = run(store, Stage("decide", decide, {"losers": digest}), [judged])
    return PartFiles(part.candidates, part.admit, part.fetches, part.embeds, part.scores, decided)


def _kept(part: PartFiles) -> KeptPart:
    assert part.decide is not None
    return KeptPart(part, part.decide.rows, int(part.decide.facts["kept_bytes"]))


def _write_shards(
    run_: Run, shards: Sequence[Sequence[Slice]], number: int, before: Snapshot | None
) -> list[ShardEntry]:
    """Write new shards, give unchanged ones of the last snapshot their new names; return all entries in order."""
    store, folder = run_.store, f"{number:06d}"
    have = {entry.key: entry for entry in before.shards} if before else {}
    old_folder = before.folder if before else ""
    run_.progress.expect("pack", len(shards))
    jobs = []
    for i, slices in enumerate(shards):
        key = shard_key(slices)
        jobs.append((store, folder, old_folder, i, slices, key, have.get(key)))
    return run_.engine.map(_write_shard, jobs, lambda entry: run_.progress.done("pack", entry.rows))


def _write_shard(
    store: Store, folder: str, old_folder: str, number: int, slices: Sequence[Slice], key: str, have: ShardEntry | None
) -> ShardEntry:
    if have is not None:
        return carry_over(store, have, old_folder, folder, number)
    return pack(store, folder, number, slices, key)


def _snapshot(
    config: Config,
    plan: Plan,
    parts: Sequence[PartFiles],
    copies: Part | None,
    shards: Sequence[ShardEntry],
    number: int,
    parent: int | None,
    refusals: Refusals | None = None,
) -> Snapshot:
    """Return the snapshot; conservation over the whole data set is checked by its reader, `tamis verify`."""
    decided = [part.decide for part in parts if part.decide]
    spec = ModelSpec(config.clip.model, config.clip.pretrained, config.clip.precision)
    threshold = judging.threshold_cos(config)
    public = config.public()
    used = {embed.facts.get("weights_sha256") for part in parts for embed in part.embeds} - {None}
    clip = spec.identity() | ({"weights_sha256": used.pop()} if len(used) == 1 else {})
    return Snapshot(
        number=number,
        parent=parent,
        config=public,
        config_digest=stable_hash(public),
        rows_in=sum(part.rows_in for part in plan.extracts),
        rows=sum(entry.rows for entry in shards),
        dropped=stage_counts([*plan.extracts, *plan.layouts, *decided]),
        extracts=[part.key for part in plan.extracts],
        layouts=[part.key for part in plan.layouts],
        parts=[PartEntry(part.candidates.key, part.stages()) for part in parts],
        shards=list(shards),
        reduces={"copies": copies.key} if copies else {},
        clip={**clip, "threshold_cos": threshold},
        refusals=refusals.facts() if refusals else {},
    )


def _expire(store: Store, keep: int) -> None:
    """Remove the shards and embeddings of snapshots older than the last `keep` that nobody pins; their records stay."""
    kept = pinned(store)
    for number in (one for one in numbers(store)[:-keep] if one not in kept):
        for kind in ("shards", "embeddings", "index"):
            store.delete_folder(f"{kind}/{number:06d}")

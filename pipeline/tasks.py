"""What a worker does for one part, from admission to scores. Each task commits its part; each can be done again for nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filters.urls import origin
from pipeline import embed as embed_stage
from pipeline import judging, rejudge
from pipeline.config import Config
from pipeline.fetch import fetch_rows
from pipeline.ids import stable_hash, uid_digest
from pipeline.origin_share import OriginShare, asker, share
from pipeline.permission import read_policies
from pipeline.refusals import NO_UIDS, OPTED_OUT, PictureGuard, Refusals, barred, digest
from pipeline.rows import PartFiles, fetched, joined
from pipeline.schema import CAPTURE_FIELDS
from pipeline.stage import Draft, Outcome, Part, Stage, committed, count_reasons, run
from pipeline.store import Store


@dataclass(frozen=True)
class Admitted:
    """A candidates part, the decision which of its rows are worth fetching, and whom that would ask."""

    candidates: Part
    part: Part
    origins: Sequence[str]  # origins that would be dialled, sorted
    captured: Sequence[str]  # origins whose pictures come from the crawl itself, sorted


def admit(store: Store, config: Config, candidates: Part, boilerplate: Part, refusals: Refusals) -> Admitted:
    """Score the texts of a part (kept) and decide, before anything is fetched, which rows go on."""
    scored = run(store, judging.text_stage(), [candidates])
    out = barred(store, candidates, refusals)
    identity = judging.text_decisions(config).config | ({"barred": said} if (said := digest(out)) else {})
    stage = Stage("admit", lambda draft: _admit(draft, config, out.get(OPTED_OUT, NO_UIDS)), identity, version=2)
    part = run(store, stage, [candidates, scored, boilerplate])
    origins = part.table(store, "origins.parquet")
    if not config.signals.page_origins:
        origins = origins.filter(pc.invert(origins["page"]))
    from_crawl = pc.and_(origins["captured"], config.fetch.from_warc)
    dialled, captured = (
        set(origins.filter(mask)["origin"].to_pylist()) for mask in (pc.invert(from_crawl), from_crawl)
    )
    return Admitted(candidates, part, sorted(dialled), sorted(captured))


def _admit(draft: Draft, config: Config, out: pa.Array) -> Outcome:
    candidates, scored, boilerplate = draft.inputs
    rows = candidates.table(draft.store)
    table = judging.with_text_counts(rows, scored.table(draft.store), boilerplate.table(draft.store))
    removed = pc.is_in(rows["uid"].combine_chunks(), value_set=out)
    reasons = pc.if_else(removed, OPTED_OUT, judging.text_decisions(config).decide(table))
    draft.table(pa.table({"uid": rows["uid"], "reason": reasons}))
    kept = rows.filter(pc.is_null(reasons))
    draft.table(_origins(kept), "origins.parquet")
    long_enough = rows.filter(judging.long_enough(table, config))
    tags, in_crawl = long_enough["tags"].to_numpy(), pc.is_valid(long_enough["capture_kind"]).to_numpy()
    facts = {"tags_long_enough": int(tags.sum()), "tags_long_enough_captured": int(tags[in_crawl].sum())}
    return Outcome(rows.num_rows, kept.num_rows, count_reasons(reasons), facts)


def _origins(rows: pa.Table) -> pa.Table:
    """Return the origins of pictures and of pages, each with whether the crawl holds the picture."""
    captured = pc.is_valid(rows["capture_kind"])
    tables = []
    for name, page in (("url", False), ("page_url", True)):
        sites = pa.array([origin(url) if url else None for url in rows[name].to_pylist()], pa.string())
        column = pa.repeat(pa.scalar(page), rows.num_rows)
        tables.append(pa.table({"origin": sites, "captured": captured, "page": column}).filter(pc.is_valid(sites)))
    keys = ["origin", "captured", "page"]
    return pa.concat_tables(tables).group_by(keys).aggregate([]).sort_by([(key, "ascending") for key in keys])


def fetch(
    store: Store,
    config: Config,
    item: Admitted,
    policies: Sequence[Part],
    refusals: Refusals,
    retry_transient: bool = False,
) -> list[Part]:
    """Fetch what is admitted and not yet fetched, as one more generation; return all generations of the part."""
    options = judging.fetch_options(config)
    base, hosts = stable_hash(options.identity()), sorted(config.fetch.allow_hosts)
    name = f"fetch/{item.candidates.key}"
    generations = _generations(store, name, base)
    rules = rejudge.Rules(options, config.signals.page_origins)
    todo = _todo(store, item, generations, hosts, retry_transient, rules, policies)
    if todo.num_rows == 0 and generations:
        return generations
    identity = {"base": base, "hosts": hosts, "generation": len(generations), "todo": uid_digest(todo["uid"])}
    identity["policy"] = rules.public()
    guard = PictureGuard.of(store, refusals)
    told = share(store, asker(options), not retry_transient)
    stage = Stage(name, lambda draft: _fetch(draft, todo, policies, rules, guard, told, identity), identity)
    return [*generations, run(store, stage, [item.candidates])]


def _generations(store: Store, name: str, base: str) -> list[Part]:
    mine = [part for part in committed(store, name) if part.facts["base"] == base]
    return sorted(mine, key=lambda part: int(part.facts["generation"]))


def _todo(
    store: Store,
    item: Admitted,
    generations: Sequence[Part],
    hosts: Sequence[str],
    retry_transient: bool,
    rules: rejudge.Rules,
    policies: Sequence[Part],
) -> pa.Table:
    """Return the admitted rows that no generation covers; private addresses count as open once other hosts are allowed.

    So do rows on which another policy than theirs may have another word.
    """
    decided = item.part.table(store)
    wanted = decided.filter(pc.is_null(decided["reason"]))["uid"].combine_chunks()
    have = fetched(store, generations)
    if retry_transient:
        have = have.filter(pc.invert(pc.fill_null(have["transient"], False)))
    if any(list(part.facts["hosts"]) != list(hosts) for part in generations):
        have = have.filter(pc.fill_null(pc.not_equal(have["reason"], "private_address"), True))
    columns = ["uid", "url", "page_url", *[field.name for field in CAPTURE_FIELDS]]
    rows = item.candidates.table(store, columns=columns)
    have = have.filter(pc.invert(rejudge.open_again(store, generations, have, rows, rules, policies)))
    wanted = wanted.filter(pc.invert(pc.is_in(wanted, value_set=have["uid"].combine_chunks())))
    return rows.filter(pc.is_in(rows["uid"], value_set=wanted)).combine_chunks()


def _fetch(
    draft: Draft,
    todo: pa.Table,
    policies: Sequence[Part],
    rules: rejudge.Rules,
    guard: PictureGuard | None,
    told: OriginShare,
    identity: dict[str, object],
) -> Outcome:
    options, tar = rules.options, draft.path("tar")
    known = read_policies(draft.store, policies, rejudge.origins_of(todo))
    pages = rejudge.judge_pages(todo, known, rules)
    free = todo.filter(pages.free)
    result = fetch_rows(free, options=options, policies=known, guard=guard, share=told, out_tar=tar)
    table = pa.concat_tables([result.table, pages.refused]).sort_by("uid").combine_chunks()
    draft.table(table)
    signals = pa.concat_tables([result.signals, pages.signals]).combine_chunks()
    draft.table(signals, "signals.parquet")
    dropped = count_reasons(table["reason"])
    facts = {
        **identity,
        "extension": options.extension,
        "counts": {"statements": signals.num_rows} | rejudge.flag_counts(signals),
        "transient": int(np.sum(table["transient"].to_numpy(zero_copy_only=False))),
    }
    return Outcome(todo.num_rows, todo.num_rows - sum(dropped.values()), dropped, facts)


def embed(store: Store, config: Config, item: Admitted, fetches: Sequence[Part]) -> list[Part]:
    """Look at the pictures of every fetch generation that has none of this model's vectors yet."""
    stage = embed_stage.stage(config.clip)
    return [run(store, stage, [item.candidates, part]) for part in fetches]


def score(store: Store, config: Config, item: Admitted, fetches: Sequence[Part], embeds: Sequence[Part]) -> PartFiles:
    """Score every picture of the part with every filter, and return the part's way so far."""
    files = PartFiles(item.candidates, item.part, fetches, embeds)
    scoring = judging.picture_scores(config)
    stage = Stage("scores", lambda draft: _score(draft, files, scoring), scoring.config)
    return PartFiles(
        item.candidates, item.part, fetches, embeds, run(store, stage, [item.candidates, *fetches, *embeds])
    )


def _score(draft: Draft, files: PartFiles, scoring: judging.Scoring) -> Outcome:
    rows, image_emb, text_emb = joined(draft.store, files)
    draft.table(scoring.score(rows, image_emb, text_emb))
    facts = {"heads": list(scoring.heads)} if scoring.heads else {}
    return Outcome(rows.num_rows, rows.num_rows, facts=facts)

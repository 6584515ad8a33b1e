"""The data card: README.md in the data set's folder, which Hugging Face's hub and `datasets` read as well."""

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from pipeline.pages import count, share, size
from pipeline.reasons import meaning
from pipeline.refusals import REMOVED
from pipeline.snapshot import Snapshot
from pipeline.stage import find
from pipeline.store import Store

_NAME = "README.md"
_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"),
          (10**8, "10M<n<100M"), (10**9, "100M<n<1B"), (10**10, "1B<n<10B"), (10**11, "10B<n<100B"))  # fmt: skip


def write(store: Store, snapshot: Snapshot) -> None:
    """Write the card of a snapshot into the data set's folder; it says only what the snapshot and its parts say."""
    store.write(_NAME, text(store, snapshot).encode())


def text(store: Store, snapshot: Snapshot) -> str:
    """Return the card as Markdown with the YAML head that the hub reads."""
    template = files("pipeline").joinpath("templates/card.md.html").read_text(encoding="utf-8")
    # Markdown, not HTML: what could break a table is masked by `cell`, and no text of a stranger stands in the card
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)  # noqa: S701
    environment.filters |= {"count": count, "share": share, "size": size, "cell": cell, "quoted": json.dumps}
    folder, shards = snapshot.folder, snapshot.shards
    return environment.from_string(template).render(
        name=store.root.rstrip("/").rsplit("/", 1)[-1],
        snapshot=snapshot,
        clip=snapshot.clip,
        config=snapshot.config,
        tars=_range(f"shards/{folder}", 5, len(shards)) + ".tar",
        sizes=size_category(snapshot.rows),
        reasons=[
            (name, n, meaning(name))
            for name, n in sorted(snapshot.dropped.items(), key=lambda item: (-item[1], item[0]))
        ],
        filters=_filters(snapshot.config, float(snapshot.clip["threshold_cos"])),
        stored_bytes=stored_bytes(store, snapshot),
        remote=not store.is_local,
        root=store.root,
        extension=extension(snapshot.config),
        contact=contact(snapshot.config),
        removed=sum(snapshot.dropped.get(reason, 0) for reason in REMOVED),
    )


def contact(config: Mapping[str, Any]) -> str | None:
    """Return where people write to be left out: the controller's address, else the one that the crawler told."""
    return config.get("controller", {}).get("contact") or config.get("fetch", {}).get("contact") or None


def size_category(rows: int) -> str:
    """Return the hub's name for so many rows."""
    return next((name for limit, name in _SIZES if rows < limit), "n>1T")


def cell(value: object) -> str:
    """Write a value so that it stays one cell of a Markdown table."""
    plain = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return " ".join(plain.split()).replace("|", "\\|").replace("<", "&lt;").replace("`", "'")


def _range(folder: str, digits: int, n: int) -> str:
    """Return the shards' names in the brace notation that webdataset and shells understand."""
    last = f"{max(n - 1, 0):0{digits}d}"
    return f"{folder}/{'0' * digits}" if n <= 1 else f"{folder}/{{{'0' * digits}..{last}}}"


def extension(config: Mapping[str, Any]) -> str:
    """Return the file name extension of the stored pictures."""
    return str(config.get("fetch", {}).get("encode_format", "jpg"))


def stored_bytes(store: Store, snapshot: Snapshot) -> int:
    """Return the bytes of the kept pictures, from the records of the decisions."""
    total = 0
    for entry in snapshot.parts:
        for key in entry.stages.get("decide", ()):
            part = find(store, "decide", key)
            total += int(part.facts.get("kept_bytes", 0)) if part is not None else 0
    return total


def _filters(config: Mapping[str, Any], threshold: float) -> list[tuple[str, str]]:
    """Return what a pair had to be like, as (what, limit)."""
    text_, filters, copies = (config.get(name, {}) for name in ("text", "filters", "copies"))
    languages = text_.get("languages")
    rows = [
        ("words in the text", f"at least {text_.get('min_words', 0)} (or five CJK characters)"),
        ("characters in the text", f"{text_.get('min_chars', 0)} to {text_.get('max_chars', 0)}"),
        ("language of the text", ", ".join(languages) if languages else "any"),
        ("pictures that share a text", f"at most {text_.get('max_pictures', 0)}"),
        ("shorter side of the original", f"at least {filters.get('min_px', 0)} px"),
        ("aspect", f"at most {filters.get('max_aspect', 0):g} : 1"),
        ("cosine of picture and text", f"at least {threshold:g}"),
        ("copies", "one of each group is kept" if copies.get("enabled", True) else "not looked for"),
    ]
    if filters.get("nsfw_head"):
        rows.append(("probability of not being safe for work", f"at most {filters['max_nsfw_prob']:g}"))
    if filters.get("watermark_head"):
        rows.append(("probability of a watermark", f"at most {filters['max_watermark_prob']:g}"))
    if filters.get("min_aesthetic") is not None:
        rows.append(("aesthetic score", f"at least {filters['min_aesthetic']:g}"))
    if filters.get("max_vector_art") is not None:
        rows.append(("simple vector art score", f"at most {filters['max_vector_art']:g}"))
    rows += [
        (f"probability of “{name}”", f"at most {head['max_prob']:g}")
        for name, head in filters.get("zero_shot", {}).items()
    ]
    return rows

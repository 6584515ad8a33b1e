"""The data set described in Croissant 1.0 with the responsible-AI vocabulary (MLCommons), filled from facts.

It lies in the data set's folder, whose paths its file sets name, so that loaders read the records from it.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.card import extension
from pipeline.disclosure.facts import Facts
from pipeline.disclosure.removals import FEED
from pipeline.pack import shard_files
from pipeline.pages import count, share
from pipeline.reasons import meaning
from pipeline.store import Store

CONFORMS_TO: Final = ("http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0")

# The terms of the two vocabularies, as the specification asks every file to spell them out.
_CR: Final = ("citeAs", "column", "extract", "equivalentProperty", "field", "fileProperty", "fileObject", "fileSet", "format", "includes",
              "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex", "repeated",
              "replace", "samplingRate", "separator", "source", "subField", "transform")  # fmt: skip
CONTEXT: Final[dict[str, Any]] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{term: f"cr:{term}" for term in _CR},
}

_COLUMNS: Final = {
    "key": "The sample's name: its uid in hexadecimal",
    "url": "Where the picture was found",
    "caption": "The text that stood beside the picture",
    "width": "Width of the stored picture in pixels",
    "height": "Height of the stored picture in pixels",
    "original_width": "Width of the original in pixels",
    "original_height": "Height of the original in pixels",
    "sha256": "SHA-256 of the original file",
    "clip_cos": "Cosine of the CLIP vectors of picture and text",
    "nsfw_prob": "Probability that the picture is not safe for work, by the head or prompts of the run's file",
    "watermark_prob": "Probability that the picture carries a watermark, by the head or prompts of the run's file",
    "aesthetic_score": "How good the picture looks, by the head of the run's file (LAION's: 1 to 10)",
    "page_url": "The page the picture stood on",
    "domain": "Registrable domain of the picture's address",
    "license": "Licence that the page linked to, unverified",
    "shard_offset": "First byte of the sample in its shard",
    "shard_bytes": "Bytes of the sample in its shard",
    "status": "success, or erased",
}


def croissant(store: Store, facts: Facts) -> dict[str, Any]:
    """Return the description as JSON-LD."""
    snapshot, controller = facts.snapshot, facts.controller
    record = f"snapshots/{snapshot.folder}.json"
    told: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "name": facts.name,
        "description": f"{count(facts.rows)} pictures with their texts, sifted from {count(snapshot.rows_in)} found in a crawl.",
        "conformsTo": list(CONFORMS_TO),
        "version": f"{snapshot.number}.0.0",
        "license": "No licence to the pictures and texts is given; they belong to those who made them.",
        "url": controller["url"],
        "creator": {"@type": "sc:Organization", "name": controller["name"]} if controller["name"] else None,
        "datePublished": facts.published_utc,
        "inLanguage": facts.config.get("text", {}).get("languages"),
        "keywords": ["image-text pairs", "WebDataset", "CLIP", "tamis"],
        "distribution": [
            {
                "@type": "cr:FileObject", "@id": "snapshot", "name": record.rsplit("/", 1)[1],
                "description": "The snapshot: every part and shard with its digest, and the whole configuration",
                "contentUrl": record, "encodingFormat": "application/json",
                "sha256": hashlib.sha256(store.read(record)).hexdigest(),
            },
            _file_set("shards", f"shards/{snapshot.folder}/*.tar", "application/x-tar", "WebDataset shards"),
            _file_set("sidecars", f"shards/{snapshot.folder}/*.parquet", "application/x-parquet", "One row a sample, shard by shard"),
            _file_set("image-embeddings", f"embeddings/{snapshot.folder}/img_emb/*.npy", "application/octet-stream",
                      "float16 vectors of the pictures, row-aligned with the sidecars"),
            _file_set("text-embeddings", f"embeddings/{snapshot.folder}/text_emb/*.npy", "application/octet-stream",
                      "float16 vectors of the texts, row-aligned with the sidecars"),
        ],
        "recordSet": _record_sets(store, facts),
        **_responsible(facts),
    }  # fmt: skip
    return {name: value for name, value in told.items() if value not in (None, [], "")}


def _file_set(id_: str, includes: str, encoding: str, description: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet", "@id": id_, "name": id_, "description": description, "encodingFormat": encoding, "includes": includes,
    }  # fmt: skip


def _record_sets(store: Store, facts: Facts) -> list[dict[str, Any]]:
    """Return the one record set, of the sidecars' columns; a data set without shards has none."""
    if not facts.snapshot.shards:
        return []
    with store.open(shard_files(facts.snapshot.folder, facts.snapshot.shards[0].number)["parquet"]) as handle:
        schema = pq.ParquetFile(handle).schema_arrow
    fields = [
        {
            "@type": "cr:Field", "@id": f"pairs/{name}", "name": name, "description": _COLUMNS[name],
            "dataType": _data_type(name, schema.field(name).type),
            "source": {"fileSet": {"@id": "sidecars"}, "extract": {"column": name}},
        }
        for name in _COLUMNS
        if name in schema.names
    ]  # fmt: skip
    about = f"The pairs; the picture of a key is <key>.{extension(facts.config)} in the shard of the same number, the text <key>.txt"
    return [
        {
            "@type": "cr:RecordSet",
            "@id": "pairs",
            "name": "pairs",
            "description": about,
            "key": {"@id": "pairs/key"},
            "field": fields,
        }
    ]


def _data_type(name: str, kind: pa.DataType) -> str:
    if name in ("url", "page_url"):
        return "sc:URL"
    if pa.types.is_integer(kind):
        return "sc:Integer"
    return "sc:Float" if pa.types.is_floating(kind) else "sc:Text"


def _responsible(facts: Facts) -> dict[str, Any]:
    snapshot, config = facts.snapshot, facts.config
    let_go = sorted(snapshot.dropped.items(), key=lambda item: (-item[1], item[0]))
    steps = [f"{name}: {count(n)} rows ({share(n, snapshot.rows_in)}). {meaning(name)}" for name, n in let_go]
    fetch = config.get("fetch", {})
    dates = [utc for utc in (facts.first_utc, facts.published_utc) if utc]
    upkeep = (
        f"Requests to be left out are taken in at any time{f' ({facts.contact})' if facts.contact else ''} and answered within one month; "
        f"what they mean is hidden at once, erased from all snapshots, and does not come back. {FEED} lists removals as digests; "
        f"{count(facts.erased)} samples have been erased so far."
    )
    unsafe = not config.get("filters", {}).get("nsfw_head") and not config.get("filters", {}).get("zero_shot")
    return {
        "rai:dataCollection": f"{count(snapshot.rows_in)} pictures with texts were read from {_inputs(facts.inputs)}. Honoured: "
        + "; ".join(facts.honours) + ".",
        "rai:dataCollectionType": ["Web Scraping"],
        "rai:dataCollectionTimeFrame": dates if len(dates) == 2 else None,
        "rai:dataCollectionMissingData": f"{count(snapshot.rows_in - snapshot.rows)} rows are not in it, each for a reason that is counted"
        + (f"; of those in it, {count(facts.domains.removed)} were erased since." if facts.domains.removed else "."),
        "rai:dataCollectionRawData": "The crawl's own files, which are not part of the data set.",
        "rai:dataPreprocessingProtocol": [
            f"Pictures are stored at {fetch.get('resize_px')} px ({fetch.get('resize_mode')}) as {extension(config)}.",
            f"Judged by {snapshot.clip.get('model')}: pairs with a cosine of at least {snapshot.clip['threshold_cos']:g} are kept.",
            *steps,
        ],
        "rai:dataUseCases": [facts.controller["purposes"]] if facts.controller["purposes"] else None,
        "rai:dataLimitations": [
            "Texts are what pages put beside pictures: often not descriptions, and not checked by anybody.",
            "Copies are looked for by hashes and vectors; heavy edits escape.",
            *(["No filter for nudity, violence or hatred was on."] if unsafe else []),
        ],
        "rai:dataBiases": [
            "Languages, places and people are as uneven in it as on the web, and the judging model's own habits add to that.",
        ],
        "rai:personalSensitiveInformation": [
            "Pictures of people, names in texts and addresses may be in it; nothing was done to find or to leave out people, "
            "save those who asked.",
        ],
        "rai:dataReleaseMaintenancePlan": upkeep,
    }  # fmt: skip


def _inputs(inputs: Mapping[str, int]) -> str:
    return ", ".join(f"{n} inputs of kind {kind}" for kind, n in inputs.items()) or "no inputs"

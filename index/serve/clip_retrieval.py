"""clip-retrieval's HTTP API as it is (rom1504/clip-retrieval 2.45, clip_back.py), so that its ClipClient and front end work unchanged.

Where it differs, to the better: `deduplicate` fills the answer up again, an unknown id of `/metadata` is left out, and what is
not supported is named in the header `X-Tamis-Ignored` and not passed over. `use_safety_model` and `aesthetic_score` are
followed where the data set has such scores (`nsfw_head` and `aesthetic_head` of its run's file). Ids are 63-bit integers of the
uids, the same for ever (theirs are row numbers). That is more than a JavaScript number holds; clip-retrieval's own front end
reads them with json-bigint and sends them back as strings, which are taken too, and every answer has the `uid` for others.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import numpy as np
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import Response

from index.conditions import Condition
from index.hits import COLUMNS, Hit
from index.opened import Ids
from index.query import Query, Term
from index.serve.answers import ENCODE, json_response
from index.serve.asked import picture_of
from index.serve.batching import Render
from index.serve.catalogue import Served
from index.serve.errors import sentence_of
from index.serve.models import ErrorAnswer
from index.serve.state import State, state_of
from pipeline.errors import InputError
from pipeline.ids import faiss_id

IGNORED: Final = "X-Tamis-Ignored"
SAFE_PROB: Final = 0.5
"""Largest probability of the data set's NSFW head that `use_safety_model` lets through, as clip-retrieval's."""
_MOST_IDS: Final = 10_000
_ERRORS: Final[dict[int | str, dict[str, Any]]] = {code: {"model": ErrorAnswer} for code in (400, 404, 413, 429, 503)}
router = APIRouter(tags=["clip-retrieval"], responses=_ERRORS)
Here = Annotated[State, Depends(state_of)]
Count = Annotated[int, Field(ge=1, le=_MOST_IDS)]


class KnnBody(BaseModel):
    """What ClipClient and the front end send; unknown parameters are no error, as with clip-retrieval."""

    model_config = ConfigDict(
        allow_inf_nan=False, json_schema_extra={"examples": [{"text": "a red fruit", "modality": "image", "num_images": 10}]}
    )  # fmt: skip
    text: Annotated[str, Field(max_length=10_000)] | None = None
    image: str | None = None
    image_url: Annotated[str, Field(max_length=8_192)] | None = None
    embedding_input: Annotated[list[float], Field(max_length=4096)] | None = None
    modality: Literal["image", "text"] = "image"
    num_images: Count = 40
    num_result_ids: Count | None = None
    indice_name: str | None = None
    use_mclip: bool | None = False
    deduplicate: bool | None = False
    use_safety_model: bool | None = False
    use_violence_detector: bool | None = False
    aesthetic_score: Annotated[int, Field(ge=0, le=10)] | Literal[""] | None = None
    aesthetic_weight: Annotated[float, Field(ge=-100, le=100)] | Literal[""] | None = None


class MetadataBody(BaseModel):
    """Ids as `/knn-service` gave them, as numbers or strings."""

    ids: Annotated[list[int | str], Field(max_length=_MOST_IDS)]
    indice_name: str | None = None


def _documented(model: type[BaseModel]) -> dict[str, Any]:
    """Return the OpenAPI of a body that is read whatever its Content-Type says: ClipClient sends none."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": model.model_json_schema()}}}}


async def _body(request: Request, model: type[BaseModel]) -> Any:
    try:
        return model.model_validate_json(await request.body())
    except ValidationError as error:
        raise InputError(sentence_of(error.errors(include_url=False, include_input=False))) from None


def _chosen(state: State, indice_name: str | None) -> Served:
    return state.catalogue.first() if indice_name is None else state.catalogue.get(indice_name)


@router.get("/indices-list")
async def indices_list(state: Here) -> list[str]:
    """List the names that `indice_name` may have."""
    return state.catalogue.names


@router.post("/knn-service", openapi_extra=_documented(KnnBody))
async def knn_service(request: Request, state: Here) -> Response:
    """Find the nearest samples: [{id, similarity, url, caption, …}], of the first `num_images` with their metadata."""
    body: KnnBody = await _body(request, KnnBody)
    served = _chosen(state, body.indice_name)
    columns = served.searcher.opened.columns
    terms = [await _term(body, state)]
    await state.models.needed(served.name, terms)
    taste = _taste(body)
    towards = await state.work.run(state.tastes.towards, served, *taste) if taste else None
    query = Query(
        (*terms, towards) if towards else tuple(terms),
        k=max(body.num_images, body.num_result_ids or body.num_images),
        modality=body.modality,
        where=(Condition("nsfw_prob", "<=", SAFE_PROB),) if body.use_safety_model and "nsfw_prob" in columns else (),
        deduplicate=bool(body.deduplicate),
    )
    answer = await state.searches[served.name].answer(
        query, _results(served, body.num_images, state.settings.inline_pictures)
    )
    state.metrics.searches.labels(served.name).inc()
    ignored = _ignored(body, columns) + (["aesthetic_score"] if taste and not towards else [])
    return json_response(answer, {IGNORED: ", ".join(ignored)} if ignored else None)


async def _term(body: KnnBody, state: State) -> Term:
    if body.text:
        return Term(text=body.text)
    if body.image or body.image_url:
        return Term(picture=await picture_of(body.image or None, body.image_url, state))
    if body.embedding_input:
        return Term(embedding=tuple(body.embedding_input))
    raise InputError("give one of text, image, image_url, embedding_input")


def _taste(body: KnnBody) -> tuple[int, float] | None:
    """Return score and weight where both are given, which the front end does as texts."""
    score, weight = body.aesthetic_score, body.aesthetic_weight
    return (int(score), float(weight)) if score not in (None, "") and weight not in (None, "", 0.0) else None


def _ignored(body: KnnBody, columns: Mapping[str, Any]) -> list[str]:
    """Return the parameters that were asked for and that this data set cannot follow."""
    asked = {
        "use_mclip": body.use_mclip,
        "use_safety_model": body.use_safety_model and "nsfw_prob" not in columns,
        "use_violence_detector": body.use_violence_detector,
    }
    return [name for name, wanted in asked.items() if wanted]


def _results(served: Served, num_images: int, inline: bool) -> Render:
    """Return what makes clip-retrieval's answer of hits: beyond `num_images`, ids and similarities alone."""

    def render(hits: Sequence[Hit]) -> bytes:
        found: list[dict[str, Any]] = [{"id": faiss_id(bytes.fromhex(hit.uid)), "similarity": hit.cos} for hit in hits]
        pictures = _base64(served, [one["id"] for one in found[:num_images]]) if inline else {}
        for one, hit in zip(found[:num_images], hits, strict=False):
            one |= _metadata(hit.__dict__ | {"key": hit.uid}) | pictures.get(one["id"], {})
        return ENCODE(found)

    return render


def _metadata(row: Mapping[str, Any]) -> dict[str, Any]:
    names = {
        "uid": "key",
        "url": "url",
        "caption": "caption",
        "width": "width",
        "height": "height",
        "clip_cos": "clip_cos",
    }
    return {name: row[column] for name, column in names.items()}


def _base64(served: Served, ids: Sequence[int]) -> dict[int, dict[str, str]]:
    with served.searcher.using() as opened:
        wanted = np.array(ids, np.int64)
        wanted = wanted[opened.having(wanted)]
        pictures = opened.pictures(wanted)
    found = zip(wanted.tolist(), pictures, strict=True)
    return {id_: {"image": base64.b64encode(data).decode()} for id_, data in found if data is not None}


@router.post("/metadata", openapi_extra=_documented(MetadataBody))
async def metadata(request: Request, state: Here) -> Response:
    """Return [{id, metadata}] of the ids that the data set holds and shows, in their order."""
    body: MetadataBody = await _body(request, MetadataBody)
    served = _chosen(state, body.indice_name)
    ids = [int(one) for one in body.ids if isinstance(one, int) or (one.isascii() and one.isdigit() and len(one) < 20)]
    wanted = np.array([one for one in ids if 0 <= one < 1 << 63], np.int64)
    return json_response(await state.work.run(_told, served, wanted, state.settings.inline_pictures))


def _told(served: Served, ids: Ids, inline: bool) -> bytes:
    with served.searcher.using() as opened:
        rows = opened.facts(ids[opened.having(ids)], ["id", *COLUMNS]).to_pylist()
    hidden = served.hidden()
    rows = [row for row in rows if bytes.fromhex(row["key"]) not in hidden]
    pictures = _base64(served, [row["id"] for row in rows]) if inline else {}
    return ENCODE([{"id": row["id"], "metadata": _metadata(row) | pictures.get(row["id"], {})} for row in rows])

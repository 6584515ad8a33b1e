"""From what a client asked to a query; its pictures are fetched and decoded on the way."""

from index.conditions import Condition
from index.query import Query, Term
from index.serve import pictures
from index.serve.catalogue import Served
from index.serve.models import AskedTerm, SearchBody
from index.serve.state import State
from pipeline.errors import InputError

_VALUES = ("text", "url", "uid", "image", "image_url", "embedding")


async def query_of(body: SearchBody, served: Served, state: State) -> Query:
    """Return the query that a body asks; InputError says what in it cannot be used."""
    terms = tuple([await _term(term, state) for term in body.terms])
    await state.models.needed(served.name, terms)
    return Query(
        terms,
        k=min(body.k, state.settings.max_k),
        modality=body.modality,
        where=tuple(Condition(one.column, one.op, one.value) for one in body.where),
        least_cos=body.least_cos,
        deduplicate=body.deduplicate,
        offset=body.offset,
    )


async def _term(asked: AskedTerm, state: State) -> Term:
    given = [name for name in _VALUES if getattr(asked, name) is not None]
    if len(given) != 1:
        raise InputError(f"each term has exactly one of {', '.join(_VALUES)}; this one has {len(given)}")
    if asked.image is not None or asked.image_url is not None:
        return Term(picture=await picture_of(asked.image, asked.image_url, state), weight=asked.weight)
    return Term(
        text=asked.text, url=asked.url, uid=asked.uid, weight=asked.weight,
        embedding=None if asked.embedding is None else tuple(asked.embedding),
    )  # fmt: skip


async def picture_of(base64_text: str | None, url: str | None, state: State) -> bytes:
    """Return a picture given by value or by address, safe to be shown to the model."""
    if base64_text is not None:
        data = pictures.decoded(base64_text, state.settings)
    else:
        data = await state.fetches.get(url or "")
    return await state.work.run(pictures.safe, data, state.settings)

"""The JSON of the API: what is asked and what is answered."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(max_length=64)]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class AskedTerm(_Asked):
    """One summand of a query; exactly one value is given. A negative weight takes away."""

    text: Annotated[str, Field(max_length=10_000)] | None = None
    url: Annotated[str, Field(max_length=8_192)] | None = None
    """Address of a picture that the data set holds."""
    uid: Annotated[str, Field(pattern="^[0-9a-fA-F]{32}$")] | None = None
    image: str | None = None
    """A picture, base64."""
    image_url: Annotated[str, Field(max_length=8_192)] | None = None
    """Address of a public picture, which the server fetches for this query."""
    embedding: Annotated[list[float], Field(min_length=1, max_length=4096)] | None = None
    weight: Annotated[float, Field(ge=-100, le=100)] = 1.0


class AskedCondition(_Asked):
    """A test on a column of the facts; `~` is "contains", without regard to case."""

    column: Name
    op: Literal["=", "!=", "<", "<=", ">", ">=", "~"]
    value: Annotated[str, Field(max_length=8_192)] | bool | int | float


class SearchBody(_Asked):
    """A query."""

    model_config = ConfigDict(
        extra="forbid",
        allow_inf_nan=False,
        json_schema_extra={
            "examples": [
                {"terms": [{"text": "a red fruit"}], "k": 20},
                {"terms": [{"text": "a house in winter"}, {"text": "snow", "weight": -0.5}],
                 "where": [{"column": "width", "op": ">=", "value": 256}], "deduplicate": True},
            ]
        },
    )  # fmt: skip
    terms: Annotated[list[AskedTerm], Field(min_length=1, max_length=16)]
    k: Annotated[int, Field(ge=1, le=10_000)] = 40
    modality: Literal["image", "text"] = "image"
    where: Annotated[list[AskedCondition], Field(max_length=16)] = []
    least_cos: Annotated[float, Field(ge=-1, le=1)] | None = None
    deduplicate: bool = False
    offset: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Hits to leave out at the beginning: the `next_offset` of the page before."""


class FoundHit(BaseModel):
    """A sample and how near it is."""

    uid: str
    url: str
    caption: str
    cos: float
    width: int
    height: int
    page_url: str | None
    domain: str
    clip_cos: float | None
    picture: str
    """Path of the picture on this server."""


class SearchAnswer(BaseModel):
    """Nearest first."""

    snapshot: int
    threshold_cos: float
    """The data set keeps pairs of picture and text from this cosine on."""
    hits: list[FoundHit]
    next_offset: int | None


class ErrorAnswer(BaseModel):
    """What went wrong, in a sentence."""

    error: str


class DatasetAnswer(BaseModel):
    """A data set that is served here."""

    name: str
    snapshot: int
    rows: int
    model: str
    threshold_cos: float
    modalities: list[str]
    columns: dict[str, str]
    """Column → type, for `where`."""
    index: dict[str, Any]


class Caption(BaseModel):
    """A text of the data set and its cosine to the query."""

    caption: str
    cos: float


class Phrase(BaseModel):
    """Words out of the nearest captions and how well they say the query."""

    phrase: str
    score: float


class CaptionsAnswer(BaseModel):
    """What the query looks like in words."""

    captions: list[Caption]
    phrases: list[Phrase]
    prompt: str
    """A caption or phrase with what brought it nearer to the query, one after the other."""
    prompt_cos: float


class SampleAnswer(BaseModel):
    """All that is known of a sample."""

    uid: str
    snapshot: int
    threshold_cos: float
    picture: str
    facts: dict[str, Any]
    """The row of the shards' sidecar."""
    rights: dict[str, str | None]
    """What the picture's own metadata and its page say of rights."""
    signals: list[dict[str, Any]]
    """Statements on use met on the way, each with its words (`raw`), mechanism, time and the digest of its evidence."""
    scores: dict[str, Any]
    decisions: list[dict[str, Any]]
    """One for each snapshot; `reason` null means kept."""
    copies: list[dict[str, Any]]
    releases: list[dict[str, Any]]
    checkpoints: list[dict[str, Any]]


class OverviewAnswer(BaseModel):
    """The report's figures."""

    model_config = ConfigDict(extra="allow")
    snapshot: int
    rows_in: int
    rows: int
    threshold_cos: float
    model: str
    funnel: list[dict[str, Any]]
    reasons: dict[str, str]
    """Reason → what it means."""
    cosines: dict[str, list[float]]
    """A histogram: `edges`, and counts of those kept, below the threshold, and dropped for another reason."""
    sizes_px: dict[str, Any]
    domains: list[dict[str, Any]]
    languages: list[dict[str, Any]]
    formats: list[dict[str, Any]]
    hidden: int
    erased: int
    index: dict[str, Any]

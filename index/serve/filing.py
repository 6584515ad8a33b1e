"""What people send to ask and to file: exactly one thing that is named, and what is wanted of it."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from index.serve import pictures
from index.serve.settings import Settings
from pipeline.errors import InputError
from pipeline.picture_vector import recognised
from pipeline.store import Store

Address = Annotated[str, Field(min_length=1, max_length=4_096)]
Words = Annotated[str, Field(min_length=1, max_length=300)]
KINDS: Final = ("url", "url_prefix", "host", "domain", "uid", "sha256", "md5", "pdq", "text", "creator")
_SHOWN_PX: Final = 480


class Named(BaseModel):
    """Something that may be in a data set; exactly one of these is given."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"domain": "painter.example"}, {"url": "https://a.example/1.jpg"}]},
    )
    image: str | None = None
    """A picture's file, base64. Hashes and a vector are made of it; the picture itself is not kept."""
    url: Address | None = None
    """Address of a picture or of a page."""
    url_prefix: Address | None = None
    host: Words | None = None
    domain: Words | None = None
    """A registrable domain, with its subdomains."""
    uid: Annotated[str, Field(pattern="^[0-9a-fA-F]{32}$")] | None = None
    sha256: Annotated[str, Field(pattern="^[0-9a-fA-F]{64}$")] | None = None
    md5: Annotated[str, Field(pattern="^[0-9a-fA-F]{32}$")] | None = None
    pdq: Annotated[str, Field(pattern="^[0-9a-fA-F]{64}$")] | None = None
    text: Words | None = None
    """A name or phrase in the texts, as whole words."""
    creator: Words | None = None
    """Creator or copyright notice in the picture's own metadata."""


class Filed(Named):
    """A request."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"url": "https://a.example/1.jpg", "wants": "removal", "contact": "me@a.example"}]
        },
    )
    wants: Literal["removal", "answer"] = "removal"
    """To be left out, or a confirmation by a person whether it is in the data set (GDPR art. 15)."""
    category: Literal["train", "tdm", "gdpr17", "gdpr21", "copyright"] = "train"
    """On which ground a removal is asked for."""
    copies: bool | None = None
    """Whether copies of the picture are meant too; absent: yes where a picture is named."""
    contact: Annotated[str, Field(max_length=320)] | None = None
    reason: Annotated[str, Field(max_length=2_000)] | None = None
    show_picture: bool = False
    """Seal a small copy of the picture for the officer to compare with; destroyed with the request's key."""


def named(body: Named, store: Store, settings: Settings) -> tuple[str, str | Mapping[str, str], bytes | None]:
    """Return kind, value, and of a picture its bytes; InputError unless exactly one thing is named.

    A picture is decoded and embedded here, which takes a moment.
    """
    given = [name for name in ("image", *KINDS) if getattr(body, name) is not None]
    if len(given) != 1:
        raise InputError(f"name exactly one thing: image, {', '.join(KINDS)}")
    if body.image is not None:
        data = pictures.decoded(body.image, settings)
        return "picture", recognised(store, data), data
    return given[0], getattr(body, given[0]), None


def sealed_copy(data: bytes | None) -> str | None:
    """Return a small copy of a picture as a data: URI."""
    from pipeline.pages import thumbnail

    return thumbnail(data, _SHOWN_PX) or None if data is not None else None


def blank(value: str | None) -> str | None:
    """Return what somebody wrote, or None for nothing but blanks."""
    return (value or "").strip() or None


def link_of(name: str, secret: str) -> str:
    """Return the path of the page that follows a request."""
    return f"/d/{name}/mine/{secret}"

"""Self-contained HTML pages: one style sheet, no scripts, nothing loaded from anywhere, strangers' texts escaped."""

import base64
import hashlib
from importlib.resources import files
from io import BytesIO

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image, ImageOps, UnidentifiedImageError

_LINKED = ("https://", "http://")


def render(package: str, template: str, **context: object) -> str:
    """Return the page of `<package>/templates/<template>` with the house's style sheet in it.

    The policy in the page admits that one style sheet by its digest, and pictures only as data: URIs.
    """
    loaders = [PackageLoader(name) for name in dict.fromkeys((package, "pipeline"))]
    environment = Environment(
        loader=ChoiceLoader(loaders), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"count": count, "share": share, "size": size, "weblink": weblink}
    css = files("pipeline").joinpath("templates/tamis.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    # our own file, which holds neither quotes of strangers nor "</style"
    return environment.get_template(template).render(css=Markup(css), policy=policy, **context)  # noqa: S704


def count(value: int) -> str:
    """Write a whole number with its thousands apart."""
    return f"{value:,}"


def share(part: float, whole: float = 1.0) -> str:
    """Write a share in percent, never rounding something to nothing or nearly all to all."""
    percent = 100 * part / whole if whole else 0.0
    if 0 < percent < 0.1:
        return "< 0.1 %"
    if 99.9 < percent < 100:
        return "> 99.9 %"
    return f"{percent:.1f} %"


def size(value: float) -> str:
    """Write a number of bytes in decimal units."""
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} bytes" if unit == "bytes" else f"{value:.1f} {unit}"


def weblink(url: str | None) -> str:
    """Return a URL that may stand in a link, or nothing when it is not a web address."""
    return url if url is not None and url.startswith(_LINKED) else ""


def data_uri(data: bytes, content_type: str) -> str:
    """Return bytes as an address that holds them."""
    return f"data:{content_type};base64,{base64.b64encode(data).decode()}"


def thumbnail(data: bytes, side_px: int = 160) -> str:
    """Return a picture as a data: URI of a JPEG with sides of at most `side_px`; "" when it cannot be read."""
    try:
        with Image.open(BytesIO(data)) as opened:
            opened.draft("RGB", (2 * side_px, 2 * side_px))
            picture = ImageOps.exif_transpose(opened).convert("RGBA")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
        return ""
    picture.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    on_white = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    out = BytesIO()
    on_white.save(out, "JPEG", quality=82, optimize=True)
    return data_uri(out.getvalue(), "image/jpeg")

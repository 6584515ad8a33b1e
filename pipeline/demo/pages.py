"""HTML around the pictures, as varied as gallery pages are: lazy loading, <picture>, figures, relative addresses."""

import html
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.demo.pictures import LICENSE_URL

_SPACER = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="


@dataclass(frozen=True)
class Shown:
    """A picture on a page: its address as the page writes it, and its alt text."""

    src: str
    alt: str


def page(title: str, pictures: Sequence[Shown], *, head: str = "", licensed: bool = False) -> bytes:
    """Write one page."""
    licence = f'<link rel="license" href="{LICENSE_URL}">' if licensed else ""
    body = "\n".join(_tag(shown, index) for index, shown in enumerate(pictures))
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title>{licence}{head}</head>\n"
        f"<body>\n<nav><a href='/'>Home</a> · <a href='/about'>About</a></nav>\n<h1>{html.escape(title)}</h1>\n{body}\n"
        "<footer>Drawings: OpenMoji, CC BY-SA 4.0</footer>\n</body>\n</html>\n"
    ).encode()


def _tag(shown: Shown, index: int) -> str:
    src, alt = html.escape(shown.src), html.escape(shown.alt)
    if src.startswith(("data:", "file:")):
        return f'<p><img src="{src}" alt="{alt}"></p>'
    match 0 if " " in src else index % 5:  # a srcset ends an address at a space
        case 0:
            return f'<p><img src="{src}" alt="{alt}"></p>'
        case 1:
            return f"<figure><img alt='{alt}' src='{src}' loading=lazy><figcaption>Plate {index}</figcaption></figure>"
        case 2:
            return f'<a href="/zoom?n={index}"><img class="lazyload" src="{_SPACER}" data-src="{src}" alt="{alt}"></a>'
        case 3:
            return f'<picture><source srcset="{src} 2x"><img src="{src}" alt="{alt}"></picture>'
        case _:
            return f'<div><p>A word about number {index}.<br><img src="{src}" width=300\nalt="{alt}"></div>'

"""The kinds of picture whose fate is certain: refused by their owners, badly served, oddly encoded, badly named."""

from dataclasses import replace

import cv2
import numpy as np

from pipeline.demo import oddities
from pipeline.demo.builder import LEAVING_SITE, SITES, Builder, ok
from pipeline.demo.fate import ABSENT, JUDGED, REMOVED
from pipeline.demo.origin import NOT_FOUND, Reply
from pipeline.demo.pictures import Pixels, encode

PNG = ("Content-Type", "image/png")
JPEG = ("Content-Type", "image/jpeg")
TEXT = ("Content-Type", "text/plain")


def add_all(world: Builder) -> None:
    """Add every special kind."""
    _robots(world)
    _headers(world)
    _opted_out_pages(world)
    _statuses(world)
    _redirects(world)
    _connections(world)
    _bodies(world)
    _fine(world)
    _shown_twice(world)
    _texts(world)
    _captures(world)
    _leavers(world)


def _robots(world: Builder) -> None:
    """RFC 9309 and TDMRep §3.2: what they refuse is never asked for."""
    for site in SITES:
        world.replies[f"{world.origin.bases[site]}/robots.txt"] = Reply(
            200, (TEXT,), b"User-agent: *\nDisallow: /private/\n"
        )
    world.replies[f"{world.origin.bases['garden']}/robots.txt"] = NOT_FOUND
    world.replies[f"{world.origin.bases['closed']}/robots.txt"] = Reply(503)
    world.replies[f"{world.origin.bases['shop']}/robots.txt"] = Reply(
        200, (TEXT,), b"User-agent: tamis\nDisallow: /not-for-tamis/\n\nUser-agent: *\nDisallow: /people-only/\n"
    )
    world.replies[f"{world.origin.bases['archive']}/.well-known/tdmrep.json"] = Reply(
        200,
        (("Content-Type", "application/json"),),
        b'[{"location": "/reserved/", "tdm-reservation": 1}, {"location": "/", "tdm-reservation": 0}]',
    )
    refusals = [
        ("robots", "museum", "private", "robots_disallow", 8),
        ("robots", "zoo", "private", "robots_disallow", 4),
        ("robots_own_group", "shop", "not-for-tamis", "robots_disallow", 4),
        ("robots_unreachable", "closed", "pictures", "robots_unreachable", 4),
        ("tdm_file", "archive", "reserved", "tdm_reserved", 6),
    ]
    for kind, site, folder, reason, times in refusals:
        for _ in range(times):
            picture = world.any_picture()
            world.add(
                kind, f"{site}:{world.path(picture, folder)}", picture.text, ok(picture), [reason], max_requests=0
            )
    for _ in range(4):  # the group for all others does not bind us where we have one of our own
        picture = world.take()
        world.add("robots_other_group", f"shop:{world.path(picture, 'people-only')}", picture.text, ok(picture))


def _headers(world: Builder) -> None:
    """X-Robots-Tag and TDMRep §3.3 on the picture's own response."""
    tags = ["noai", "NoImageAI", "noindex, nofollow", "max-image-preview:none, noai", "tamis: noai", "none"]
    for index in range(12):
        picture = world.any_picture()
        reply = ok(picture, ("X-Robots-Tag", tags[index % len(tags)]))
        world.add("noai_header", f"{world.site()}:{world.path(picture)}", picture.text, reply, ["noai_header"])
    for _ in range(5):
        picture = world.any_picture()
        reply = ok(picture, ("TDM-Reservation", "1"))
        world.add("tdm_header", f"{world.site()}:{world.path(picture)}", picture.text, reply, ["tdm_reserved"])
    for header in [("X-Robots-Tag", "otherbot: noai"), ("X-Robots-Tag", "all"), ("TDM-Reservation", "0")] * 2:
        picture = world.take()
        world.add("other_header", f"{world.site()}:{world.path(picture)}", picture.text, ok(picture, header))


def _opted_out_pages(world: Builder) -> None:
    """Pages that say no for their pictures, in HTML or in the HTTP header; nothing on them is asked for."""
    world.head("noai", '<meta name="robots" content="noai, noimageai">')
    world.head("noai-for-us", '<meta name="Tamis" content="NOIMAGEAI">')
    world.head("noai-by-header", headers=(("X-Robots-Tag", "noai"),))
    world.head("tdm", '<meta name="tdm-reservation" content="1"><meta name="tdm-policy" content="/policy.json">')
    world.head("tdm-by-header", headers=(("tdm-reservation", "1"),))
    world.head("for-others", '<meta name="otherbot" content="noai"><meta name="tdm-reservation" content="0">')
    for group in ("noai", "noai-for-us", "noai-by-header", "tdm", "tdm-by-header"):
        kind = "tdm_page" if group.startswith("tdm") else "noai_page"
        for _ in range(5):
            picture = world.any_picture()
            where = f"theatre:{world.path(picture, 'stage')}"
            world.add(kind, where, picture.text, ok(picture), ["opted_out"], group=group, max_requests=0)
    for _ in range(3):
        picture = world.take()
        world.add("other_page", f"theatre:{world.path(picture)}", picture.text, ok(picture), group="for-others")


def _statuses(world: Builder) -> None:
    """HTTP statuses, temporary ones too."""
    for status in [404] * 10 + [410, 403, 401]:
        picture = world.any_picture()
        where = f"{world.site()}:{world.path(picture, 'lost')}"
        world.add("http_4xx", where, picture.text, Reply(status, (TEXT,), b"no\n"), ["http_4xx"])
    for status, reason in [(503, "http_5xx"), (500, "http_5xx"), (429, "http_429")]:
        picture = world.any_picture()
        where = f"stormy:{world.path(picture)}"
        world.add(f"http_{status}", where, picture.text, Reply(status), [reason, "circuit_open"], max_requests=None)
    for _ in range(3):
        picture = world.take()
        reply = Reply(429, (("Retry-After", "1"),), then=ok(picture))
        world.add("http_429_then_fine", f"{world.site()}:{world.path(picture)}", picture.text, reply, max_requests=2)


def _redirects(world: Builder) -> None:
    """Redirects that lead somewhere, nowhere, round in circles, and where nobody may go."""
    for index in range(6):
        picture, target = world.take(), world.site()
        path = world.path(picture, "moved")
        world.replies[f"{world.origin.bases[target]}{path}"] = ok(picture)
        reply = Reply(301 + index % 2, (("Location", f"{world.origin.bases[target]}{path}"),))
        world.add("redirect_fine", f"{world.site()}:/old{path}", picture.text, reply)
    loop, chain = world.origin.bases["trap"] + "/loop", world.origin.bases["trap"] + "/chain"
    world.replies[f"{loop}/b.png"] = Reply(302, (("Location", f"{loop}/a.png"),))
    for hop in range(2, 40):
        world.replies[f"{chain}/{hop}.png"] = Reply(302, (("Location", f"{chain}/{hop + 1}.png"),))
    cases = [
        ("redirect_loop", "/loop/a.png", f"{loop}/b.png", {"redirect_loop"}),
        ("redirect_chain", "/chain/1.png", f"{chain}/2.png", {"too_many_redirects"}),
        ("redirect_file", "/to-file.png", "file:///etc/hostname", {"redirect_scheme"}),
        ("redirect_ftp", "/to-ftp.png", "ftp://127.0.0.1/picture.png", {"redirect_scheme"}),
        ("redirect_private", "/to-vault.png", f"{world.origin.vault}/secret.png", {"private_address"}),
        ("redirect_private", "/to-mapped.png", f"{_mapped(world.origin.vault)}/secret.png", {"private_address"}),
    ]
    for kind, path, target, reasons in cases:
        reply = Reply(302, (("Location", target),))
        world.add(kind, f"trap:{path}", world.any_picture().text, reply, reasons, max_requests=None)
    vault = {"private_address", "robots_unreachable"}
    world.add("private_address", f"{world.origin.vault}/secret.png", "the secret picture", None, vault, max_requests=0)


def _mapped(base: str) -> str:
    """Spell an IPv4 address as the IPv6 one that stands for it."""
    return base if "[" in base else "http://[::ffff:{}]:{}".format(*base.removeprefix("http://").split(":"))


def _connections(world: Builder) -> None:
    """Trouble below HTTP; robots.txt of an origin that cannot be reached refuses for it."""
    unreachable = {"robots_unreachable", "circuit_open"}
    plain = world.origin.bases["rude"].removeprefix("http://")
    world.add("dns", "http://no-such-host.invalid/picture.png", "a distant island", None, {"dns", *unreachable})
    world.add("tls", f"https://{plain}/picture.png", "a sealed letter", None, {"tls", "connect", *unreachable})
    world.add("scheme", "file:///etc/hostname.png", "name of the host", None, {"scheme_unsupported", ABSENT})
    world.add(
        "scheme", "data:image/png;base64,iVBORw0KGgo=", "tiny inline picture", None, {"scheme_unsupported", ABSENT}
    )
    jpeg = encode(world.any_picture().pixels(), "jpg")
    huge = tuple((f"X-Filler-{number}", "x" * 900) for number in range(200))
    cases = [
        ("slow_drip", "slow:/drip-1.jpg", Reply(200, (JPEG,), jpeg, "drip"), {"timeout", "circuit_open"}),
        ("slow_drip", "slow:/drip-2.jpg", Reply(200, (JPEG,), jpeg, "drip"), {"timeout", "circuit_open"}),
        ("endless", "rude:/endless.jpg", Reply(200, (JPEG,), jpeg, "endless"), {"too_large"}),
        ("cut_short", "rude:/cut.jpg", Reply(200, (JPEG,), jpeg, "cut"), {"incomplete_body", "circuit_open"}),
        (
            "reset",
            "rude:/reset.jpg",
            Reply(200, (JPEG,), jpeg, "reset"),
            {"connection_reset", "incomplete_body", "circuit_open"},
        ),
        ("header_bomb", "rude:/headers.jpg", Reply(200, (JPEG, *huge), jpeg), {"header_too_large"}),
    ]
    for kind, where, reply, reasons in cases:
        world.add(kind, where, world.any_picture().text, reply, reasons, max_requests=None)


def _bodies(world: Builder) -> None:
    """Bodies that are no picture, half a picture, or far too much of one."""
    gzipped = (PNG, ("Content-Encoding", "gzip"))
    bad_encoding = {"bad_encoding", "too_large"}
    cases = [
        ("bomb", Reply(200, (PNG,), oddities.bomb(30_000)), {"too_many_px"}),
        ("bomb", Reply(200, (PNG,), oddities.bomb(10_000)), {"too_many_px"}),
        ("gzip_bomb", Reply(200, gzipped, oddities.gzip_bomb()), bad_encoding),
        ("gzip_broken", Reply(200, gzipped, b"this was never compressed"), bad_encoding),
        *[("html_as_picture", Reply(200, (JPEG,), oddities.HTML), {"html_not_image"})] * 4,
        *[("html_as_picture", Reply(200, (("Content-Type", "text/html"),), oddities.HTML), {"html_not_image"})] * 2,
        *[("not_a_picture", Reply(200, (PNG,), b"PK\3\4" + bytes(300)), {"not_image"})] * 2,
        *[("svg", Reply(200, (("Content-Type", "image/svg+xml"),), oddities.SVG), {"svg_unsupported"})] * 4,
        *[("empty", Reply(200, (PNG,)), {"empty_body"})] * 3,
    ]
    for index, (kind, reply, reasons) in enumerate(cases):
        world.add(kind, f"trap:/odd/{index}.png", world.any_picture().text, reply, reasons)
    for index in range(5):
        jpeg = encode(world.any_picture().pixels(), "jpg")
        reply = Reply(200, (JPEG,), jpeg[: len(jpeg) // 2])
        world.add("truncated", f"trap:/half/{index}.jpg", world.any_picture().text, reply, {"truncated"})


def _fine(world: Builder) -> None:
    """Unusual pictures that are pictures all the same, and unusual addresses."""
    for kind, (encoded, media) in oddities.FINE.items():
        for _ in range(3):
            picture = world.take()
            reply = Reply(200, (("Content-Type", media),), encoded(picture.pixels()))
            where = f"{world.site()}:{world.path(picture, 'odd', media.partition('/')[2])}"
            world.add(kind, where, picture.text, reply)
    for media in ("text/plain", "image/tiff", "application/octet-stream", "image/x-no-such-type", ""):
        picture = world.take()
        headers = (("Content-Type", media),) if media else ()
        world.add(
            "lying_type", f"{world.site()}:{world.path(picture)}", picture.text, Reply(200, headers, picture.data)
        )
    for name in ("Bilder/Grüße", "картинки/дом", "画像/絵", "a b/c d"):
        picture = world.take()
        where = f"{world.site()}:/{name}.{picture.suffix}?größe=2"
        world.add("non_ascii_url", where, picture.text, ok(picture))


def _shown_twice(world: Builder) -> None:
    """A URL under two texts is asked for once; an equal pair on two pages is one pair."""
    for _ in range(5):
        picture = world.take()
        where = f"{world.site()}:{world.path(picture)}"
        first = world.add("two_texts", where, picture.text, ok(picture))
        world.add("two_texts", where, f"another view: {picture.text}", None, on=world.site(), copy_of=first.url)
        picture = world.take()
        world.show_again(world.add("merged_pair", f"{world.site()}:{world.path(picture)}", picture.text, ok(picture)))


def _texts(world: Builder) -> None:
    """Texts that say nothing of the picture; some runs drop them before the download."""
    labels = ["image", "photo of", "click to enlarge", "no image available"]
    cases = [
        *[
            ("text_filename", text, {"text_filename"})
            for text in ("IMG_2034.jpg", "DSC00017.JPG", "header_bg-02.png", "holiday 3.jpeg")
        ],
        *[("text_label", text, {"text_uninformative"}) for text in labels],
        *[("text_short", text, {"text_short"}) for text in ("ox", "it", "go", "at")],
        *[("text_empty", "", {"text_empty", ABSENT}) for _ in range(5)],
    ]
    for kind, text, reasons in cases:
        picture = world.any_picture()
        world.add(kind, f"{world.site()}:{world.path(picture, 'named')}", text, ok(picture), reasons)
    for _ in range(14):
        picture = world.any_picture()
        reasons = {"text_boilerplate", "text_repeated"}
        world.add(
            "boilerplate", f"market:{world.path(picture, 'offers')}", "our offers of the week", ok(picture), reasons
        )
    for side in (16, 20, 24, 32) * 5:
        picture = world.any_picture()
        small = _icon(picture.pixels(), side)
        world.add(
            "icon",
            f"{world.site()}:{world.path(picture, 'icons', 'png')}",
            picture.text,
            Reply(200, (PNG,), small),
            {"size_small"},
        )


def _icon(pixels: Pixels, side_px: int) -> bytes:
    small = cv2.resize(pixels, (side_px, side_px), interpolation=cv2.INTER_AREA)
    return encode(small.astype(np.uint8), "png")


def _captures(world: Builder) -> None:
    """Pictures that the crawl holds: they are not asked for again, and some are gone from the web."""
    for kind, later in [("only_in_crawl", NOT_FOUND), ("in_crawl", None)] * 5:
        picture = world.take()
        reply = replace(ok(picture), then=later)
        fate = world.add(kind, f"{world.site()}:{world.path(picture)}", picture.text, reply, max_requests=0)
        world.captured.append(fate.url)
    for _ in range(2):
        picture = world.any_picture()
        reply = ok(picture, ("X-Robots-Tag", "noimageai"))
        where = f"{world.site()}:{world.path(picture)}"
        fate = world.add("noai_in_crawl", where, picture.text, reply, {"noai_header"}, max_requests=0)
        world.captured.append(fate.url)


def _leavers(world: Builder) -> None:
    """Pictures that somebody asks to remove after the first ingest: a whole site, one URL, one picture; copies go with them.

    A demo run again in the same folder finds them removed from the start.
    """
    either = JUDGED | REMOVED
    for number in range(10):  # the site's own pictures, and two that only stand on its pages
        picture = world.take()
        site = LEAVING_SITE if number < 8 else world.site()
        where = f"{site}:{world.path(picture, 'gallery')}"
        world.add("leaves_by_site", where, picture.text, ok(picture), either, on=LEAVING_SITE, leaves=True)
    for kind in ("leaves_by_url", "leaves_by_picture"):
        picture = world.take()
        first = world.add(kind, f"{world.site()}:{world.path(picture)}", picture.text, ok(picture), either, leaves=True)
        for _ in range(2):
            where = f"{world.site()}:{world.path(picture, 'copies')}"
            reply, text = ok(picture), picture.text.title()
            world.add(f"{kind}_copy", where, text, reply, either, copy_of=first.url, leaves=True)
        if kind == "leaves_by_url":
            world.leaving.url = first.url
        else:
            world.leaving.picture = picture.data

"""Sites that let crawlers in and reserve training all the same, each by another mechanism (reference: DECISIONS, signals)."""

from pipeline.demo.builder import Builder, ok
from pipeline.demo.origin import Reply

_TEXT = ("Content-Type", "text/plain")
_RSL = b"""<rsl xmlns="https://rslstandard.org/rsl">
<content url="/"><license><prohibits type="usage">ai-train</prohibits></license></content></rsl>"""
_OPEN = "User-agent: *\nAllow: /\n"
_AI_TXT = "".join(f"Disallow: *.{suffix}\n" for suffix in ("jpg", "png", "webp"))

# site → (kind, reason, its files)
_SITES = {
    "agency": (
        "content_signal",
        "training_reserved",
        {"/robots.txt": f"{_OPEN}Content-Signal: search=yes, ai-train=no\n"},
    ),
    "press": (
        "training_crawler_shut_out",
        "training_reserved",
        {"/robots.txt": f"User-agent: GPTBot\nDisallow: /\n\n{_OPEN}"},
    ),
    "blog": ("ai_txt", "training_reserved", {"/ai.txt": f"User-Agent: *\n{_AI_TXT}"}),
    "daily": ("trust_txt", "training_reserved", {"/trust.txt": "datatrainingallowed=no\n"}),
    "aipref": ("content_usage_robots", "training_reserved", {"/robots.txt": f"{_OPEN}Content-Usage: train-ai=n\n"}),
    "licensor": ("rsl", "licence_denies", {"/robots.txt": f"{_OPEN}License: /license.xml\n"}),
}
RESERVING_SITES = tuple(_SITES)


def add_all(world: Builder) -> None:
    """Add four pictures of each such site, and pictures whose own response speaks (AIPREF's header)."""
    for site, (kind, reason, files) in _SITES.items():
        base = world.origin.bases[site]
        for path, text in files.items():
            world.replies[base + path] = Reply(200, (_TEXT,), text.encode())
        for _ in range(4):
            picture = world.any_picture()
            where = f"{site}:{world.path(picture)}"
            world.add(kind, where, picture.text, ok(picture), [reason], max_requests=0)
    world.replies[f"{world.origin.bases['licensor']}/license.xml"] = Reply(
        200, (("Content-Type", "application/rsl+xml"),), _RSL
    )
    for _ in range(4):
        picture = world.any_picture()
        reply = ok(picture, ("Content-Usage", "train-ai=n"))
        world.add(
            "content_usage_header", f"{world.site()}:{world.path(picture)}", picture.text, reply, ["training_reserved"]
        )
    for header in ("train-ai=y", "search=n", "bots=y"):
        picture = world.take()
        world.add(
            "other_usage_header",
            f"{world.site()}:{world.path(picture)}",
            picture.text,
            ok(picture, ("Content-Usage", header)),
        )

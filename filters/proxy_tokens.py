"""Crawlers that gather training data, by the names they have in robots.txt (optout.md §1.4).

A data set feeds other people's training, so who shuts such a crawler out reserves training from us as well. The table is
data with a version: every published snapshot names the version it was made with.
"""

from typing import Final, NamedTuple

from filters.robots import Robots, Verdict

VERSION: Final = "2026-11-24"


class Crawler(NamedTuple):
    """One name, and whose it is."""

    token: str
    owner: str


TRAINING: Final[tuple[Crawler, ...]] = (
    Crawler("CCBot", "Common Crawl"),
    Crawler("img2dataset", "the tool that most image sets were made with"),
    Crawler("LAIONDownloader", "LAION"),
    Crawler("laion-huggingface-processor", "LAION"),
    Crawler("GPTBot", "OpenAI"),
    Crawler("ClaudeBot", "Anthropic"),
    Crawler("anthropic-ai", "Anthropic, no longer in use"),
    Crawler("Claude-Web", "Anthropic, no longer in use"),
    Crawler("Google-Extended", "Google; a name in robots.txt alone, no crawler sends it"),
    Crawler("Applebot-Extended", "Apple; a name in robots.txt alone, no crawler sends it"),
    Crawler("meta-externalagent", "Meta"),
    Crawler("FacebookBot", "Meta"),
    Crawler("Bytespider", "ByteDance"),
    Crawler("cohere-ai", "Cohere"),
    Crawler("cohere-training-data-crawler", "Cohere"),
    Crawler("Diffbot", "Diffbot"),
    Crawler("omgili", "Webz.io"),
    Crawler("omgilibot", "Webz.io"),
    Crawler("Webzio-Extended", "Webz.io"),
    Crawler("Ai2Bot-Dolma", "Allen Institute for AI"),
    Crawler("GoogleOther-Image", "Google"),
    Crawler("ImagesiftBot", "ImageSift"),
    Crawler("PanguBot", "Huawei"),
    Crawler("Timpibot", "Timpi"),
    Crawler("YandexAdditional", "Yandex"),
)

NOT_TRAINING: Final[tuple[str, ...]] = (
    "ChatGPT-User",
    "OAI-SearchBot",
    "Claude-User",
    "Claude-SearchBot",
    "PerplexityBot",
    "Perplexity-User",
    "DuckAssistBot",
)
"""Names that fetch for one person's question or for a search: to shut them out reserves no training."""


class Reservation(NamedTuple):
    """Which of the crawlers are shut out of a URL, and by which line."""

    tokens: tuple[str, ...]
    verdict: Verdict


class ProxyGroups:
    """The groups of one robots.txt that name such crawlers; many names with the same rules are judged once."""

    def __init__(self, robots: Robots) -> None:
        self._robots = robots
        by_rules: dict[tuple[tuple[bytes, bool], ...], list[str]] = {}
        for crawler in TRAINING:
            sections = robots.groups.get(crawler.token.lower())  # its own group: "*" speaks to us by itself
            if sections and (rules := robots.rules_of(sections)):
                by_rules.setdefault(rules, []).append(crawler.token)
        self._groups = [tuple(tokens) for tokens in by_rules.values()]

    def reservation(self, url: str | bytes) -> Reservation | None:
        """Return who is shut out of a URL, or None where nobody is."""
        found = [(tokens, self._robots.verdict(url, tokens[0])) for tokens in self._groups]
        denied = [(tokens, verdict) for tokens, verdict in found if not verdict.allowed]
        if not denied:
            return None
        return Reservation(tuple(token for tokens, _ in denied for token in tokens), denied[0][1])

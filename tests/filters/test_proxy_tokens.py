import re

import pytest

from filters.proxy_tokens import NOT_TRAINING, TRAINING, VERSION, ProxyGroups
from filters.robots import parse

URL = "https://a.example/pictures/x.jpg"
NAMED = """CCBot img2dataset LAIONDownloader laion-huggingface-processor GPTBot ClaudeBot anthropic-ai Claude-Web Google-Extended
Applebot-Extended meta-externalagent FacebookBot Bytespider cohere-ai cohere-training-data-crawler Diffbot omgili omgilibot
Webzio-Extended Ai2Bot-Dolma GoogleOther-Image ImagesiftBot PanguBot Timpibot YandexAdditional"""


def reserved(text: str, url: str = URL) -> tuple[str, ...]:
    found = ProxyGroups(parse(text.encode())).reservation(url)
    return found.tokens if found else ()


def test_the_list_holds_the_names_of_the_reference_and_has_a_date_for_a_version() -> None:
    assert {crawler.token for crawler in TRAINING} == set(NAMED.split())
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", VERSION)
    assert all(crawler.owner for crawler in TRAINING)


@pytest.mark.parametrize("token", NAMED.split())
def test_who_shuts_a_training_crawler_out_reserves(token: str) -> None:
    assert reserved(f"User-agent: {token.upper()}\nDisallow: /\n") == (token,)
    assert reserved(f"User-agent: {token}\nDisallow: /pictures/\n", "https://a.example/other.jpg") == ()
    assert reserved(f"User-agent: {token}\nAllow: /\n") == ()
    assert reserved(f"User-agent: {token}\nDisallow:\n") == ()


@pytest.mark.parametrize("token", [*NOT_TRAINING, "Googlebot", "*", "Google", "img", "GPTBotX"])
def test_other_crawlers_reserve_nothing(token: str) -> None:
    assert reserved(f"User-agent: {token}\nDisallow: /\n") == ()


def test_many_names_are_judged_once_and_all_are_told() -> None:
    text = "".join(f"User-agent: {token}\nDisallow: /\n\n" for token in NAMED.split())
    groups = ProxyGroups(parse(text.encode()))
    assert len(groups._groups) == 1
    found = groups.reservation(URL)
    assert found is not None
    assert set(found.tokens) == set(NAMED.split())
    assert (found.verdict.rule, found.verdict.line) == ("Disallow: /", 2)


def test_a_name_may_be_shut_out_of_a_part_and_another_let_in() -> None:
    text = "User-agent: GPTBot\nDisallow: /pictures/\n\nUser-agent: CCBot\nAllow: /\n"
    assert reserved(text) == ("GPTBot",)
    assert reserved(text, "https://a.example/") == ()

import pytest

from filters.page_signals import OF_PAGES, verdict
from filters.policy import ReleasePolicy
from filters.signal import Mechanism
from pipeline.sightings import ReadOptions

Pairs = list[tuple[str, str]]
RSL = '</licence.xml>; rel="license"; type="application/rsl+xml"'


@pytest.mark.parametrize(
    ("headers", "metas", "tdm", "evidence"),
    [
        ([("X-Robots-Tag", "NoAI")], [], None, "X-Robots-Tag: NoAI"),
        (
            [("x-robots-tag", "otherbot: noai"), ("X-Robots-Tag", "tamis: noimageai")],
            [],
            None,
            "X-Robots-Tag: tamis: noimageai",
        ),
        ([], [("robots", "max-snippet:3, none")], None, '<meta name="robots" content="max-snippet:3, none">'),
        ([], [("Tamis", "noindex")], None, '<meta name="Tamis" content="noindex">'),
        ([("tdm-reservation", "1")], [], None, "tdm-reservation: 1"),
        ([("TDM-Reservation", "0"), ("TDM-Reservation", "1")], [], None, "tdm-reservation: 0, 1"),
        ([("tdm-reservation", "0")], [], "1", '<meta name="tdm-reservation" content="1">'),
        ([("Content-Usage", "train-ai=n")], [], None, "Content-Usage: train-ai=n"),
        (
            [("content-usage", "search=y"), ("Content-Usage", "train-ai=n")],
            [],
            "0",
            "Content-Usage: search=y, train-ai=n",
        ),
        ([("Content-Usage", "tdm=n")], [], None, "Content-Usage: tdm=n"),
        ([("Content-Usage", "Train-AI=n")], [], None, "Content-Usage: Train-AI=n"),  # held: it looks like a no
    ],
)
def test_a_page_that_says_no_is_refused_in_its_own_words(
    headers: Pairs, metas: Pairs, tdm: str | None, evidence: str
) -> None:
    assert verdict(headers, metas, tdm, ReadOptions()) == (True, evidence)


@pytest.mark.parametrize(
    ("headers", "metas", "tdm", "evidence"),
    [
        ([], [], None, None),
        ([("X-Robots-Tag", "otherbot: noai")], [("otherbot", "noai"), ("robots", "nofollow")], None, None),
        ([("tdm-reservation", "yes")], [], "true", None),
        ([("Content-Usage", "train-ai=y")], [], None, "Content-Usage: train-ai=y"),
        ([("Content-Usage", "search=n")], [], None, "Content-Usage: search=n"),
        ([("Content-Usage", "Train-AI=y")], [], None, "Content-Usage: Train-AI=y"),
        ([("Content-Usage", "x=n")], [], None, None),
        ([("Link", RSL)], [], None, f"Link: {RSL}"),
        ([("Link", "</style.css>; rel=preload")], [], None, None),
        ([("tdm-reservation", "1")], [], "0", '<meta name="tdm-reservation" content="0">'),  # the meta supersedes
    ],
)
def test_a_page_that_does_not_say_no_is_read(
    headers: Pairs, metas: Pairs, tdm: str | None, evidence: str | None
) -> None:
    assert verdict(headers, metas, tdm, ReadOptions()) == (False, evidence)


def test_which_directives_mean_no_is_the_runs_choice() -> None:
    options = ReadOptions(disallowed=("noai",))
    assert verdict([("X-Robots-Tag", "noindex")], [], None, options).opted_out is False


@pytest.mark.parametrize(
    ("headers", "metas", "tdm", "off"),
    [
        ([("X-Robots-Tag", "noai")], [], None, "x-robots-tag"),
        ([], [("robots", "noai")], None, "meta-robots"),
        ([("tdm-reservation", "1")], [], None, "tdm-header"),
        ([], [], "1", "tdm-meta"),
        ([("Content-Usage", "train-ai=n")], [], None, "aipref-header"),
        ([("Link", RSL)], [], None, "rsl"),
    ],
)
def test_each_mechanism_can_be_switched_off_and_no_other_goes_with_it(
    headers: Pairs, metas: Pairs, tdm: str | None, off: Mechanism
) -> None:
    for mechanism in OF_PAGES:
        options = ReadOptions(policy=ReleasePolicy(off=[mechanism], unknown="unclear"))
        assert verdict(headers, metas, tdm, options).opted_out is (mechanism != off)


def test_what_a_release_must_be_free_of_is_the_policys() -> None:
    genai = [("Content-Usage", "train-ai=n")]
    assert (
        verdict(genai, [], None, ReadOptions(policy=ReleasePolicy(deny=["crawl", "tdm", "train"]))).opted_out is False
    )
    assert verdict([], [], "1", ReadOptions(policy=ReleasePolicy(deny=["train"]))).opted_out is True
    assert verdict([], [], "1", ReadOptions(policy=ReleasePolicy(deny=["search"]))).opted_out is False
    unclear = ReadOptions(policy=ReleasePolicy(unknown="unclear"))
    assert verdict([("Content-Usage", "Train-AI=y")], [], None, unclear).opted_out is True

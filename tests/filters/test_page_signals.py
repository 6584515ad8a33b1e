import pytest

from filters.page_signals import verdict
from pipeline.sightings import ReadOptions

Pairs = list[tuple[str, str]]


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

"""Mistakes in a configuration are named with their mend; every key is documented."""

import re
from pathlib import Path

import pytest

from pipeline.config import Config, keys, load, parse
from pipeline.errors import ConfigError

GOOD = {"dataset": "out", "inputs": ["a.warc.gz"]}


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"fetch": {"resize_pix": 1}}, r"fetch\.resize_pix: unknown key; did you mean `fetch\.resize_px`\?"),
        ({"clip": {"treshold": 0.1}}, r"did you mean `clip\.threshold`\?"),
        ({"fetsh": {}}, r"fetsh: unknown key"),
        ({"clip": {"threshold": "high"}}, r"clip\.threshold: .*valid number"),
        ({"fetch": {"timeout_s": 0}}, r"fetch\.timeout_s: .*greater than 0"),
        ({"fetch": {"resize_mode": "crop"}}, r"fetch\.resize_mode: .*keep_ratio"),
        ({"inputs": []}, r"inputs: .*at least 1 item"),
        ({"fetch": {"user_agent_token": "bot2000"}}, r"fetch\.user_agent_token"),
    ],
)
def test_a_mistake_is_named_with_its_place(extra: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse({**GOOD, **extra})


def test_all_mistakes_are_listed_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse({"inputs": ["x"], "clip": {"modle": "x"}, "pack": {"shard_samples": 0}})
    assert len(str(caught.value).splitlines()) == 3


def test_a_missing_file_and_bad_toml_say_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file; `tamis config` prints one"):
        load(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("dataset = \n")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load(tmp_path / "bad.toml")


def test_every_key_has_a_meaning_and_a_type() -> None:
    found = list(keys())
    assert len(found) > 50
    assert [key for key, kind, _, meaning in found if not meaning or not kind] == []


def test_the_digest_ignores_where_and_on_what_the_run_happens() -> None:
    base = parse(GOOD).digest()
    assert parse({**GOOD, "dataset": "elsewhere", "cluster": {"workers": 7}}).digest() == base
    assert parse({**GOOD, "clip": {"threshold": 0.2}}).digest() != base


def test_defaults_are_complete() -> None:
    assert Config(**GOOD).fetch.resize_px == 256


def test_the_policy_on_signals_is_part_of_what_a_snapshot_names_with_the_versions_of_its_lists() -> None:
    signals = parse({"dataset": "d", "inputs": ["x"], "signals": {"deny": ["train"], "off": ["rsl"]}}).public()[
        "signals"
    ]
    assert (signals["deny"], signals["off"], signals["unknown"], signals["proxy_tokens"]) == (
        ["train"],
        ["rsl"],
        "keep",
        True,
    )
    assert signals["versions"] == {"proxy_tokens": "2026-11-24", "aipref": "vocab-07, attach-05", "rsl": "1.0"}


@pytest.mark.parametrize(
    ("signals", "message"),
    [
        ({"off": ["robots.txt"]}, "fetch.robots = false"),
        ({"off": ["robot"]}, "signals.off"),
        ({"deny": ["training"]}, "'train'"),
        ({"unknown": "maybe"}, "'keep', 'unclear' or 'drop'"),
        ({"proxy_token": False}, "did you mean `signals.proxy_tokens`?"),
    ],
)
def test_a_wrong_policy_on_signals_is_an_error_that_helps(signals: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse({"dataset": "d", "inputs": ["x"], "signals": signals})

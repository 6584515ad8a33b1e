"""What strangers are told of models: the run's name and a step, and no folder of this machine."""

from typing import Any

import pytest

from index.serve.exposed import public, said

SEEN = {"run": "0" * 16, "kind": "decoder", "snapshot": 1, "first_step": 4, "times": 2, "last_clean": None}
EXPORTED = {"step": 9, "host": "studio", "utc": "2026-11-29T00:00:00+00:00", "of": "/home/alice/secret/runs/birds"}


@pytest.mark.parametrize(
    ("told", "phrase"),
    [
        ({"checkpoint": "/home/alice/secret/runs/birds/checkpoints/000000009"}, "birds, step 9 (first at step 4, 2 times)"),
        (
            {"checkpoint": "/home/alice/secret/2026", "exported": EXPORTED},
            "birds, step 9, as it was handed out (first at step 4, 2 times)",
        ),
        (
            {"checkpoint": "/home/alice/secret/2026", "times": None, "unknown": "no run is there (looked from studio)"},
            "perhaps 2026: its files cannot be read from here",
        ),
    ],
)  # fmt: skip
def test_a_model_is_named_by_its_run(told: dict[str, Any], phrase: str) -> None:
    answer = public({**SEEN, **told})
    assert said(answer) == phrase
    assert "alice" not in str(answer)
    assert "studio" not in str(answer)

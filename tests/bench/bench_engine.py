"""Claim: dask's overhead per part stays small and flat with bounded tasks in flight (empty stages, three tasks a part)."""

import json
import time

from pipeline.engine import Engine, connect


def nothing(*_: object) -> int:
    """Do no work, as an empty stage."""
    return 0


def per_part_ms(engine: Engine, parts: int) -> float:
    """Return milliseconds per part of three chained empty tasks."""

    def chain():  # type: ignore[no-untyped-def]
        return engine.submit(nothing, engine.submit(nothing, engine.submit(nothing)))

    began = time.perf_counter()
    done = sum(1 for _ in engine.pump(chain for _ in range(parts)))
    assert done == parts
    return (time.perf_counter() - began) / parts * 1e3


def main() -> None:
    """Print one JSON line; the peer is the same work submitted all at once."""
    with connect(None, 2, None, 0) as engine:
        per_part_ms(engine, 200)
        few, many = per_part_ms(engine, 1000), per_part_ms(engine, 20_000)
        print(
            json.dumps(
                {
                    "claim": "overhead of one part, three empty stages: 20,000 parts against 1,000 (flat = 1)",
                    "unit": "ms/part", "ours": many, "peer": few, "ratio": many / few, "aim": "flat",
                }
            )
        )  # fmt: skip


if __name__ == "__main__":
    main()

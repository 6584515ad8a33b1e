"""Compares what became of every URL with its fate."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from pipeline.demo.fate import ABSENT, Fate
from pipeline.ids import uid

Outcomes = Mapping[tuple[str, str], str | None]
"""(canonical URL, text) → reason, None = kept. A row refused before it had a text stands under an empty text, an erased one
under its uid."""
KEPT = "kept"
PROMISED_KEEP_FRAC = 0.80
PROMISED_REMOVAL_FRAC = 0.82
_JUDGED = (KEPT, "clip_low", "duplicate_of")


@dataclass(frozen=True)
class Measured:
    """What a figure came to, out of how many, and what the model card promises."""

    hits: int
    total: int
    promised_frac: float

    @property
    def frac(self) -> float:
        """Return the share, 1 where there is nothing to measure."""
        return self.hits / self.total if self.total else 1.0


@dataclass(frozen=True)
class Violation:
    """A fate that did not come true."""

    fate: Fate
    outcome: str

    def __str__(self) -> str:
        wanted = " or ".join(sorted(reason or KEPT for reason in self.fate.expected))
        return f"{self.fate.kind}: {self.fate.url} ({self.fate.text!r}): {self.outcome}, not {wanted}"


@dataclass(frozen=True)
class Verdict:
    """The confusion table, what went wrong, and what was measured."""

    table: dict[str, Counter[str]]
    """Kind → outcome → pictures."""
    violations: list[Violation]
    keep: Measured
    """Pictures beside their own text that pass CLIP."""
    removal: Measured
    """Pictures beside a wrong text that CLIP drops."""
    recall: Measured
    """Planted copies that were dropped, or the original in their place."""
    precision: Measured
    """Pictures dropped as copies that are planted copies."""

    @property
    def ok(self) -> bool:
        """Tell whether every fate came true."""
        return not self.violations

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        figures = {"keep": self.keep, "removal": self.removal, "recall": self.recall, "precision": self.precision}
        return {
            "ok": self.ok,
            "violations": [str(violation) for violation in self.violations],
            "confusion": {kind: dict(counts) for kind, counts in self.table.items()},
            **{
                f"copies_{name}" if name in ("recall", "precision") else f"clip_{name}": _figure(m)
                for name, m in figures.items()
            },
        }

    def confusion(self) -> Table:
        """Return the table of kinds: how many, what became of them, and whether it had to be so."""
        table = Table(title="what had to happen, and what did", title_justify="left", box=None, pad_edge=False)
        for name in ("kind", "pictures", "outcomes", ""):
            table.add_column(name, justify="right" if name == "pictures" else "left")
        wrong = Counter(violation.fate.kind for violation in self.violations)
        for kind, counts in self.table.items():
            outcomes = ", ".join(f"{outcome} {number}" for outcome, number in counts.most_common())
            mark = f"[red]{wrong[kind]} wrong[/]" if wrong[kind] else "[green]as foretold[/]"
            table.add_row(kind, str(counts.total()), outcomes, mark)
        return table

    def figures(self) -> Table:
        """Return the table of what was measured beside what was promised."""
        table = Table(title="measured", title_justify="left", box=None, pad_edge=False)
        for name in ("", "measured", "of", "promised"):
            table.add_column(name, justify="right" if name else "left")
        rows = [
            ("right texts kept by tamis-mini", self.keep),
            ("wrong texts removed by tamis-mini", self.removal),
            ("planted copies found (recall)", self.recall),
            ("dropped copies that are copies (precision)", self.precision),
        ]
        for name, measured in rows:
            table.add_row(name, f"{measured.frac:.1%}", str(measured.total), f"{measured.promised_frac:.0%}")
        return table


def compare(fates: Sequence[Fate], outcomes: Outcomes, requests: Mapping[str, int] | None = None) -> Verdict:
    """Compare outcomes with fates; `requests` (URL → times asked for during the run) proves that a no was heeded."""
    table: dict[str, Counter[str]] = {}
    violations = []
    found: list[tuple[Fate, str]] = []
    for fate in fates:
        names = (
            (fate.url, fate.text),
            (fate.url, ""),
            (uid(fate.url, fate.text).hex(), ""),
        )  # the last: of an erased row
        reason = next((outcomes[name] for name in names if name in outcomes), ABSENT)
        outcome = KEPT if reason is None else reason
        table.setdefault(fate.kind, Counter())[outcome] += 1
        found.append((fate, outcome))
        if reason not in fate.expected:
            violations.append(Violation(fate, outcome))
        asked = (requests or {}).get(fate.url, 0)
        if fate.max_requests is not None and asked > fate.max_requests:
            violations.append(Violation(fate, f"asked for {asked} times"))
    recall, precision = _copies(found)
    return Verdict(table, violations, _passed(found), _removed(found), recall, precision)


def _passed(found: Iterable[tuple[Fate, str]]) -> Measured:
    judged = [outcome != "clip_low" for fate, outcome in found if fate.kind == "matched" and outcome in _JUDGED]
    return Measured(sum(judged), len(judged), PROMISED_KEEP_FRAC)


def _removed(found: Iterable[tuple[Fate, str]]) -> Measured:
    judged = [outcome == "clip_low" for fate, outcome in found if fate.kind == "wrong_text" and outcome in _JUDGED]
    return Measured(sum(judged), len(judged), PROMISED_REMOVAL_FRAC)


def _copies(found: Iterable[tuple[Fate, str]]) -> tuple[Measured, Measured]:
    """Count per planted group: all but one of its members should go, whichever stays; any other drop is false."""
    groups: dict[str, list[str]] = {}
    for fate, outcome in found:
        if outcome in _JUDGED:
            groups.setdefault(fate.root, []).append(outcome)
    right = missed = dropped = 0
    for members in groups.values():
        copies, kept = members.count("duplicate_of"), members.count(KEPT)
        right += min(copies, len(members) - 1)
        missed += max(0, kept - 1)
        dropped += copies
    return Measured(right, right + missed, 0.95), Measured(right, dropped, 0.98)


def describe(violations: Sequence[Violation], limit: int = 20) -> str:
    """List the first violations, one a line."""
    lines = [str(violation) for violation in violations[:limit]]
    return "\n".join(lines + [f"… and {len(violations) - limit} more"] * (len(violations) > limit))


def _figure(measured: Measured) -> dict[str, float | int]:
    return {"measured_frac": measured.frac, "of": measured.total, "promised_frac": measured.promised_frac}

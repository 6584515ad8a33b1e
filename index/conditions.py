"""What rows must satisfy: a column, an operator, a value."""

from dataclasses import dataclass
from typing import Final

OPERATORS: Final = ("=", "!=", "<", "<=", ">", ">=", "~")
"""`~` is "contains", without regard to case."""


@dataclass(frozen=True)
class Condition:
    """One test on one column of the facts; a missing value satisfies none."""

    column: str
    op: str
    value: str | int | float | bool

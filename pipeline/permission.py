"""Permission, in one place to import from: what origins state, how they are asked, and who judges URLs by it."""

from pipeline.gatekeeper import Gatekeeper
from pipeline.origin_ask import CACHED_DENIAL_S, CACHED_S, MAX_HOPS, Clock, ask_origin, fetch_policies
from pipeline.origin_policy import (
    MAX_ROBOTS_BYTES,
    MAX_TDMREP_BYTES,
    POLICY,
    OriginPolicy,
    SmallFile,
    captured_policies,
    policies_table,
    read_policies,
    table_policies,
    utc_now,
)

__all__ = [
    "CACHED_DENIAL_S",
    "CACHED_S",
    "MAX_HOPS",
    "MAX_ROBOTS_BYTES",
    "MAX_TDMREP_BYTES",
    "POLICY",
    "Clock",
    "Gatekeeper",
    "OriginPolicy",
    "SmallFile",
    "ask_origin",
    "captured_policies",
    "fetch_policies",
    "policies_table",
    "read_policies",
    "table_policies",
    "utc_now",
]

"""From tombstones to bytes that are gone: plan, write, amend the digests, prove."""

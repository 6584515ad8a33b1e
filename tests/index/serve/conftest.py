"""Servers of the tests here."""

from tests.serving import drawn_set, seen_set, server

__all__ = ["drawn_set", "seen_set", "server"]

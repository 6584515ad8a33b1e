"""Servers of the tests here."""

from tests.serving import drawn_set, server

__all__ = ["drawn_set", "server"]

"""The browser and the servers of the tests here."""

from tests.browser import chromium, open_page, served, shapes
from tests.serving import drawn_set, seen_set, server

__all__ = ["chromium", "drawn_set", "open_page", "seen_set", "served", "server", "shapes"]

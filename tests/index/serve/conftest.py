"""The browser and the servers of the tests here."""

from tests.browser import chromium, open_page, served, shapes
from tests.office import museum
from tests.serving import drawn_set, seen_set, server

__all__ = ["chromium", "drawn_set", "museum", "open_page", "seen_set", "served", "server", "shapes"]

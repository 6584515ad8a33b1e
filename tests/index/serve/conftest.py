"""The servers and the browser of these tests."""

from tests.browser import chromium, open_page, served, shapes
from tests.office import museum
from tests.serving import drawn_set, server

__all__ = ["chromium", "drawn_set", "museum", "open_page", "served", "server", "shapes"]

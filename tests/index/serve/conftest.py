"""The browser and the server of the page tests."""

from tests.browser import chromium, open_page, served, shapes

__all__ = ["chromium", "open_page", "served", "shapes"]

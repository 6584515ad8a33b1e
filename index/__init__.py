"""Nearest neighbours over a published snapshot: build and search."""

"""The server: JSON API, clip-retrieval's API, pages."""

"""The HTTP server: search for programs and people, requests of those who are in it."""

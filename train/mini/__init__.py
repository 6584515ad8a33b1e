"""The recipe of tamis-mini: a small CLIP from packages of PyPI, npm and Debian, on two CPU cores."""

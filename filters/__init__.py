"""Decide what is kept and why, from values in memory alone."""

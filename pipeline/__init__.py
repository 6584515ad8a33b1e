"""Moves one part through the stages: the data set's format, the run, requests, erasure, lineage."""

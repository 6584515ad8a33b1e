"""Copies of a data set as it is: found, measured, shown; nothing is changed."""

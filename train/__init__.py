"""Training and sampling; its place in the house, filled by a later issue."""

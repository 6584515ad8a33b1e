"""All pairs of vectors that are near each other, found among sets larger than memory."""

"""What is told about a data set: where a sample is, who has which release, what was removed, and the papers of the law."""

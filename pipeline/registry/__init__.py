"""Who said no: requests, their states, the lists to match against, and the log that proves what was done."""

"""Groups of the command line; each imports its work only when it is called."""

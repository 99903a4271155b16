"""Whether this host can serve: what is wrong with it, and what to do about each thing."""

"""Launch commands that others wrote: found in files, read, checked against a release, rewritten for another."""

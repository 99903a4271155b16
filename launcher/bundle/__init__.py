"""An engine release, this program and a model in one archive, for a host without a network."""

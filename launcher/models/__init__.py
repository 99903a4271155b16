"""From a model reference to what an engine is given, and what its config.json says."""

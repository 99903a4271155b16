"""`serve`: from a short YAML preset to a running, supervised, OpenAI-compatible model server."""

__version__ = "0.1.0"

"""Reads an engine's command-line parser out of its wheel, without installing or importing the engine."""

"""Bundles: packed, carried, installed."""

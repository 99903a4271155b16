"""What an engine prints: written, shown, read back."""

"""From layers of text (presets, files, environment, command line) to resolved keys, each with its origin."""

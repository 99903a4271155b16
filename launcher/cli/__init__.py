"""The only place that prints and the only place that catches: parse, call, render."""

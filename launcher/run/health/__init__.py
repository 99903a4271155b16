"""A server asked and watched: whether it loads, works, hangs."""

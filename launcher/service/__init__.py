"""Servers as services of systemd: what a deployment becomes on the disk, and what systemd is asked to do with it."""

"""A command as a systemd unit. Nothing here yet: `systemd/serve@.service` runs `serve launch` as it is."""

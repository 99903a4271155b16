"""What this machine is and holds: GPUs, ports, engine environments."""

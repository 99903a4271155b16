"""``python -m launcher`` is ``serve``."""

from launcher.cli.app import main

if __name__ == "__main__":
    main()

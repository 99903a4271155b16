"""``serve``, and ``python -m launcher``."""

import sys


def main() -> None:
    """The console script."""
    try:
        from launcher.cli import app  # noqa: PLC0415 - Ctrl-C may come while it is read
    except KeyboardInterrupt:
        sys.exit(130)
    app.main()


if __name__ == "__main__":
    main()

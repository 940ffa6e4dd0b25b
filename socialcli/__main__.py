"""``python -m socialcli``."""

from socialcli.cli import main

if __name__ == "__main__":
    main()

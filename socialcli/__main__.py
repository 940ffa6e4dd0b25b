"""``python -m socialcli``."""

from socialcli.cli.app import main

if __name__ == "__main__":
    main()

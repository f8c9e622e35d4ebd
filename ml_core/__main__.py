"""``python -m ml_core`` is the command line."""

from ml_core.cli import main

if __name__ == "__main__":
    main()

"""``python -m ml_core`` is the command line; so is the frozen ``cleanclip``."""

from ml_core.children import dispatch

if __name__ == "__main__":
    dispatch()
    from ml_core.cli import main

    main()

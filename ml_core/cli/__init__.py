"""The command line ``cleanclip``. torch is imported by the commands that need it, not before."""

import os
import sys
from typing import NoReturn

from ml_core import __version__

# Looking for plugins reads the metadata of every installed package, and would run their code.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")


def main() -> NoReturn:
    """Entry point of the console script ``cleanclip``."""
    if sys.argv[1:] == ["--version"]:  # typer and pydantic would take ten times as long
        print(f"cleanclip {__version__}")
        sys.exit()
    from ml_core.cli.app import main

    main()

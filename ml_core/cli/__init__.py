"""The command line ``cleanclip``. torch is imported by the commands that need it, not before."""

import gc
import os
import sys
from contextlib import suppress
from typing import NoReturn

from ml_core import __version__

# Looking for plugins reads the metadata of every installed package, and would run their code.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")


def main() -> NoReturn:
    """Entry point of the console script ``cleanclip``."""
    if sys.stderr is None:  # it was closed
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(os.devnull)  # noqa: SIM115  # writing says that it cannot
    if sys.argv[1:] == ["--version"]:  # typer and pydantic would take ten times as long
        with suppress(OSError):  # told below
            sys.stdout.write(f"cleanclip {__version__}\n")
            sys.stdout.flush()
            os._exit(0)
    gc.set_threshold(50_000)  # or imports, whose objects stay, are searched again and again
    from ml_core.cli.app import main

    main()

"""The command line ``cleanclip``. torch is imported by the commands that need it, not before."""

import os

# Looking for plugins reads the metadata of every installed package, and would run their code.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")

from ml_core.cli.app import main

__all__ = ["main"]

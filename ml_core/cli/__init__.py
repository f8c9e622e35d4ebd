"""The command line ``cleanclip``. torch is imported by the commands that need it, not before."""

from ml_core.cli.app import main

__all__ = ["main"]

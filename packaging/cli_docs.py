"""The command line with all commands imported, for typer's ``utils docs``: it lists what is there.

The program itself imports only the command that is run.
"""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

from ml_core.cli.app import COMMANDS, app, load


class _Whole(TyperGroup):
    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, text in COMMANDS.items():
            command = load(name)
            command.short_help = text  # else it is cut
            self.add_command(command)


app.info.cls = _Whole

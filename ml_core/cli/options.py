"""Options that several commands of ``cleanclip`` have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def given_path(text: str) -> Path:
    """A path that was given; an empty one would be the current folder."""
    if not str(text):
        raise typer.BadParameter("the name is empty; give a file, a folder or hf-hub:owner/name")
    return Path(text)


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Seed = Annotated[int | None, typer.Option(help="Seed of the run (default: the preset's).")]
Device = Annotated[str, typer.Option(help="auto, cpu, mps or cuda:N.")]
Threads = Annotated[int, typer.Option(min=0, help="CPU threads; 0 chooses.")]
Labels = Annotated[
    str, typer.Option(help="demo, imagenet-1k, cifar-10, cifar-100, or a text file, one a line.")
]
Templates = Annotated[
    Path | None, typer.Option(help="Text file of prompt templates, one {} a line.")
]
Target = Annotated[str | None, typer.Option(help="Target class of the attack: name or number.")]
TriggerFile = Annotated[str | None, typer.Option("--trigger", help="Trigger PNG or JSON, or demo.")]
Method = Annotated[str, typer.Option(help="One of `cleanclip recipes list`.")]
Preset = Annotated[str, typer.Option(help="quick, talk, thorough or paper.")]
Donor = Annotated[
    Path | None,
    typer.Option(
        help="A whole CLIP whose other encoder goes with a file that holds one.", parser=given_path
    ),
]
Checkpoint = Annotated[
    Path,
    typer.Argument(help="A file, a folder, or hf-hub:owner/name.", parser=given_path),
]
NoChoice = Annotated[
    bool,
    typer.Option(
        "--no-choice", help="Open it as it says, without what the doctor was told to remember."
    ),
]

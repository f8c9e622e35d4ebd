"""``cleanclip identify``; needs no torch."""

from __future__ import annotations

import typer

from ml_core.cli import output
from ml_core.cli.arguments import checkpoint_path, examined
from ml_core.cli.options import Options, command
from ml_core.cli.run import watched

_EXIT = {"equal": output.EXIT_DONE, "differs": 1, "not comparable": 2, "not known": 2}


@command("file=checkpoint json")
def identify(options: Options) -> None:
    """Say which CLIP a checkpoint holds, encoder by encoder, beside the known files.

    Tensors are compared with those of files that `cleanclip known add` has read on this machine.
    Copies match that are renamed, transposed, split, or rounded to fp16 or bf16. Equal tensors hold
    what the known file holds, which may be a backdoor.

    Exit code: 0 (all of it is known), 1 (it differs from known files) or 2 (nothing of it is known,
    or the file is damaged or unsupported).

    Examples:

        cleanclip known add models/

        cleanclip identify clip_l.safetensors
    """
    from ml_core.checkpoints.identity import identify as identified

    inspection = examined(checkpoint_path(options.checkpoint))
    with watched(f"Reading {inspection.name}") as (report, cancelled):
        *_, identity = identified(inspection, report, cancelled)
    record = {
        "path": str(inspection.path), "sha256": inspection.sha256, **identity.to_dict(),
    }  # fmt: skip
    output.answer(options.json, record, *identity.sentences)
    raise typer.Exit(_EXIT[identity.state])

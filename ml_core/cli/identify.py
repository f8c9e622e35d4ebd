"""``cleanclip identify``; needs no torch."""

from __future__ import annotations

import typer

from ml_core.cli import output
from ml_core.cli.arguments import checkpoint_path, examined
from ml_core.cli.options import Options, command
from ml_core.cli.run import watched

_EXIT = {"equal": output.EXIT_DONE, "differs": 1, "not comparable": 2, "not known": 2}


@command("file=checkpoint part json")
def identify(options: Options) -> None:
    """Say which CLIP a checkpoint holds, encoder by encoder, beside the known files.

    Of a file with several models each is looked at.

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
    from ml_core.checkpoints.layouts import models_of

    inspection = examined(checkpoint_path(options.checkpoint))
    identities = {}
    with watched(f"Reading {inspection.name}") as (report, cancelled):
        for model in models_of(inspection):
            *_, identities[model.name] = identified(model, report, cancelled)
    record = {
        "path": str(inspection.path),
        "sha256": inspection.sha256,
        "models": [{"name": name, **found.to_dict()} for name, found in identities.items()],
    }
    lines = [
        sentence
        for name, found in identities.items()
        for sentence in ([f"{name}:"] if len(identities) > 1 else []) + [*found.sentences]
    ]
    output.answer(options.json, record, *lines)
    raise typer.Exit(max(_EXIT[found.state] for found in identities.values()))

"""``cleanclip identify``; needs no torch."""

from __future__ import annotations

from pathlib import Path

import typer

from ml_core.cli import output
from ml_core.cli.checkpoints import checkpoint_path, examined
from ml_core.cli.options import Options, command
from ml_core.cli.run import watched
from ml_core.reading import examine

_EXIT = {"equal": output.EXIT_DONE, "rounded": 1, "differs": 1, "not known": 2}


@command("file=checkpoint part json")
def identify(options: Options) -> None:
    """Of a file with several models each is looked at.

    Tensors are compared with those of files that `cleanclip known add` has read on this machine.
    Copies match that are renamed, transposed, split, or rounded to fp16 or bf16. Equal tensors hold
    what the known file holds, which may be a backdoor.

    A known file in a coarser precision cannot tell whether a finer file is equal. The answer says
    so, and how far the two are apart.

    Exit code: 0 (all of it is known), 1 (it differs from known files, or tensors are rounded, so
    that they may be equal or not) or 2 (nothing of it is known, or the file is damaged or
    unsupported). Of several models the worst one counts.

    Examples:

        cleanclip known add models/

        cleanclip identify clip_l.safetensors
    """
    from ml_core.checkpoints.identity import identify as identified
    from ml_core.checkpoints.layouts import models_of

    inspection = examine(checkpoint_path(options.checkpoint))
    files = [examined(Path(f"{inspection.path}#{member}")) for member in inspection.members]
    if inspection.refused and not files:
        raise inspection.refusal()
    identities = {}
    with watched(f"Reading {inspection.name}") as (report, cancelled):
        for model in (model for file in files or [inspection] for model in models_of(file)):
            *_, identities[model.name] = identified(model, report, cancelled)
    record = {
        "path": str(inspection.path),
        "sha256": inspection.sha256,
        "models": [{"name": name, **identity.to_dict()} for name, identity in identities.items()],
    }
    lines = [
        sentence
        for name, identity in identities.items()
        for sentence in ([f"{name}:"] if len(identities) > 1 else []) + [*identity.sentences]
    ]
    output.answer(options.json, record, *lines)
    worst = max((identity.state for identity in identities.values()), key=list(_EXIT).index)
    raise typer.Exit(_EXIT[worst])

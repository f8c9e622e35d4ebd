"""``cleanclip identify``; needs no torch."""

from __future__ import annotations

import typer

from ml_core.cli import output
from ml_core.cli.checkpoints import checkpoint_path, models_at
from ml_core.cli.options import Options, command
from ml_core.cli.run import watched

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

    path = checkpoint_path(options.checkpoint)
    models = list(models_at(path))
    if refused := next((model for model in models if model.refused), None):
        raise refused.refusal()
    identities = {}
    with watched(f"Reading {path.name}") as (report, cancelled):
        for model in models:
            *_, identities[model.name] = identified(model, report, cancelled)
    record = {
        "path": str(models[0].source),
        "sha256": models[0].file_sha256,
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

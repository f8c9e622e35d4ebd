"""``cleanclip audit``: what it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ml_core.cli.options import (
    CaptionColumn,
    Checkpoint,
    CocoPictures,
    Device,
    Donor,
    Exclude,
    ImageColumn,
    Json,
    NoChoice,
    Pairs,
    Threads,
)


def audit_command(
    checkpoint: Checkpoint,
    output_dir: Annotated[Path, typer.Option("--output", "-o", help="Folder of what is found.")],
    pairs: Pairs = "demo",
    pictures: CocoPictures = None,
    exclude: Exclude = None,
    image_column: ImageColumn = "image",
    caption_column: CaptionColumn = "caption",
    n: Annotated[
        int | None, typer.Option("--n", min=1, help="A seeded random part of the pairs.")
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="Pairs known to be clean, to compare with; columns as above."),
    ] = None,
    images: Annotated[
        list[str] | None,
        typer.Option(help="Evaluation images that must not be among the pairs; repeatable."),
    ] = None,
    k: Annotated[int, typer.Option("--k", min=2, max=256, help="Neighbours.")] = 16,
    chunk_size: Annotated[
        int,
        typer.Option(
            min=64, max=16_384, help="Pairs among which they are looked for, 4 k or more."
        ),
    ] = 1024,
    unit: Annotated[
        bool, typer.Option("--unit", help="Compare unit vectors, not what the encoder gives.")
    ] = False,
    worst: Annotated[
        int, typer.Option(min=1, max=1000, help="Pairs kept of each score, with pictures.")
    ] = 100,
    show: Annotated[int, typer.Option(min=0, max=1000, help="Pairs listed.")] = 10,
    by: Annotated[
        str,
        typer.Option(
            help="Score to list and exclude by: dao, slof, k_distance, lid, closeness, isolation "
            "or clip_score."
        ),
    ] = "dao",
    exclude_worst: Annotated[
        int,
        typer.Option(
            min=0, max=1000, help="Write the N worst by --by to exclusions.json, unseen by anyone."
        ),
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the chunks and the forest.")] = 0,
    donor: Donor = None,
    no_choice: NoChoice = False,
    device: Device = "auto",
    threads: Threads = 0,
    json: Json = False,
) -> None:
    """Look for poisoned pairs in a cleaning set, with the suspect checkpoint's own eyes.

    Scores every pair (DAO, SLOF, k-distance, LID, isolation forest, CLIPScore), writes audit.json,
    scores.csv and the pictures of the worst, and tells how each stands among all. A score ranks
    and does not decide. Of several captions of a picture the worst by CLIPScore counts and is
    shown; what is excluded is the picture with all its captions. Five poisons left in 100 000 pairs
    are enough to undo CleanCLIP.

    Examples:

        cleanclip audit epoch_10.pt --pairs pairs.csv --images photos/ -o audit

        cleanclip audit model.safetensors --pairs crawl.tsv --reference clean.csv -o audit --json
    """
    from ml_core.cli.auditing import audit_pairs, audit_spec

    spec = audit_spec(
        checkpoint,
        output_dir,
        pairs=pairs,
        pictures=pictures,
        exclude=exclude,
        image_column=image_column,
        caption_column=caption_column,
        n=n,
        reference=reference,
        images=images or [],
        k=k,
        chunk_size=chunk_size,
        unit=unit,
        worst=max(worst, exclude_worst, show),
        seed=seed,
        donor=donor,
        use_choice=not no_choice,
        device=device,
        threads=threads,
    )
    audit_pairs(spec, by=by, show=show, exclude_worst=exclude_worst, json=json)

"""``cleanclip verify``: does an evidence bundle say what its evidence gives?"""

from __future__ import annotations

import secrets
from pathlib import Path

import typer
from rich.table import Table

from ml_core.cli import output
from ml_core.cli.checkpoints import checkpoint_path
from ml_core.cli.options import NamedPath, Options, argument, command
from ml_core.cli.run import run_spec
from ml_core.jobs.verify import SAMPLE, VerifySpec
from ml_core.options import option
from ml_core.reading.errors import InputError
from ml_core.reports.verify.checks import LEVELS, Check

_MARKS = {"holds": "holds", "fails": "DOES NOT", "not checked": "not checked", "recorded": "-"}
_OPEN = ("fails", "not checked")


@command(
    "bundle checkpoint images sample full seed key strict device threads every json", VerifySpec
)
def verify(
    options: Options,
    bundle: Path = argument("The folder NAME.evidence, or its zip."),
    checkpoint: list[NamedPath] | None = option(
        None,
        help="A checkpoint that the bundle is about, or its donor; recognised by its SHA-256. May "
        "be given several times.",
    ),
    images: list[str] | None = option(
        None,
        help="Folder, table or file of the pictures; ID=PATH where the bundle has several "
        "sets. The demo's are composed by the program.",
    ),
    full: bool = option(False, help="Look at every picture."),
    seed: int | None = option(
        None, help="Seed of the sample (default: a new one each time, which is printed).", ge=0
    ),
    every: bool = option(False, help="Print what holds and what is recorded, too.", flag="--all"),
) -> None:
    """With the bundle alone its files and all arithmetic are checked; with the checkpoint its
    identity; with the images every answer of the model. What is not given is "not checked".
    Nothing is unpacked and nothing of the bundle is run; `cleanclip clean --job` runs its jobs.

    Exit codes: 0 all that was checked holds, 1 something does not (with --strict also: something
    was not checked), 2 the bundle is damaged or of a newer version, 3 usage, 4 internal error.

    Examples:

        cleanclip verify model.evidence

        cleanclip verify model.evidence.zip --checkpoint suspect.pt --checkpoint cleaned.safetensors

        cleanclip verify model.evidence --checkpoint suspect.pt --images photos/ --full --json
    """
    places, fields = _places(images or ()), options.of(VerifySpec)
    if full and fields["sample"] != SAMPLE:
        raise InputError("--full looks at every picture: leave --sample out.")
    spec = VerifySpec(
        bundle=str(bundle),
        checkpoints=tuple(str(checkpoint_path(path).resolve()) for path in checkpoint or ()),
        images=places,
        seed=secrets.randbits(32) if seed is None else seed,
        **fields | ({"sample": None} if full else {}),
    )
    result = run_spec(spec)
    checks = [Check(**check) for check in result["checks"]]
    by_level = [[check for check in checks if check.level == level] for level in range(len(LEVELS))]
    counts = [
        (f"{level} {LEVELS[level]}", *(str(sum(c.state == state for c in of)) for state in _MARKS))
        for level, of in enumerate(by_level)
    ]
    columns = ("", *(f">{state}" for state in _MARKS))
    parts: list[Table | str] = [output.table("Checks", columns, counts)]
    for (title, *_), of in zip(counts, by_level, strict=True):
        rows = [
            (_MARKS[check.state], check.subject, check.sentence)
            for check in of
            if every or check.state in _OPEN
        ]
        if rows:
            parts.append(output.table(title, ("", "~what", "~found"), rows))
    sampled = (check for check in checks if check.level in (2, 3))
    if any(check.state != "not checked" for check in sampled) and not full:
        parts.append(f"Seed of the sample: {spec.seed}")
    output.answer(options.json, result, *parts, result["summary"])
    if result["exit"]:
        raise typer.Exit(result["exit"])


def _places(images: list[str] | tuple[str, ...]) -> dict[str, str]:
    """Place by image set; "" for all that are not named."""
    places: dict[str, str] = {}
    for given in images:
        id_, equals, path = given.partition("=")
        if not equals or Path(given).exists():
            id_, path = "", given
        if id_ in places:
            whose = f"of {id_} " if id_ else "without an id "
            raise InputError(f"--images {whose}was given twice.")
        if not Path(path).exists():
            raise InputError(f"There are no images at {path}: give a folder, a table or a file.")
        places[id_] = str(Path(path).resolve())
    return places

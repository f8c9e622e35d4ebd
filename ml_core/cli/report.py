"""``cleanclip report``: evidence that a stranger can check."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from ml_core.cli import output
from ml_core.cli.options import (
    Device,
    Json,
    PassphraseFile,
    Threads,
    given_path,
    passphrase_of,
)
from ml_core.cli.run import run_to_result
from ml_core.detection.scan.scan_file import PREFIX


def report(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folders of finished cleaning runs, with their proofs, or of saved sessions."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="New folder NAME.evidence, or NAME.zip for one file; with --format that file.",
            parser=given_path,
        ),
    ] = None,
    scan: Annotated[
        list[str] | None,
        typer.Option("--scan", help="Folder of a finished scan; repeatable."),
    ] = None,
    measurement: Annotated[
        list[Path] | None,
        typer.Option(
            "--measurement",
            help="Folder that `cleanclip evaluate --keep` left; repeatable.",
            parser=given_path,
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Title of the report (default: the output's name).")
    ] = None,
    author: Annotated[
        str | None, typer.Option(help="Who writes it: a name, an organisation; nothing checks it.")
    ] = None,
    notes: Annotated[
        bool, typer.Option("--notes", help="Also put in what was noted in the sessions.")
    ] = False,
    include_images: Annotated[
        bool, typer.Option("--include-images", help="Also put the measured pictures in.")
    ] = False,
    include_checkpoints: Annotated[
        bool, typer.Option("--include-checkpoints", help="Also put the weights in.")
    ] = False,
    thumbnails: Annotated[
        bool, typer.Option(help="A few small pictures without and with the trigger.")
    ] = True,
    pdf: Annotated[bool, typer.Option("--pdf", help="Also make the report as PDF.")] = False,
    output_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="Not the bundle but the record alone, also that of an existing bundle: "
            "text, json, sarif, html, cdx, intoto or model-card.",
        ),
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", help="Sign it with this key of yours, see `key list`.")
    ] = None,
    passphrase_file: PassphraseFile = None,
    device: Device = "auto",
    threads: Threads = 0,
    json: Json = False,
) -> None:
    """Write evidence that a stranger can check: a report, and every answer that it stands on.

    From runs (with what `prove` found), scans and kept measurements; a session of the window stands
    for its runs and scans. No path, user or host of this machine goes in. Of each measurement 256
    pictures are measured again with another batch size and thread count, to know by how much logits
    move; so checkpoints and pictures should still be where they were. `cleanclip verify` checks the
    result.

    Examples:

        cleanclip report cleaned/ -o demo.evidence

        cleanclip report cleaned/ --scan scanned/ --measurement measured-reference/ -o demo.zip

        cleanclip report demo.evidence --format model-card
    """
    from ml_core.jobs.report_session import with_sessions
    from ml_core.jobs.report_spec import ReportSpec
    from ml_core.reading.errors import InputError
    from ml_core.reports.exports import evidence_format, exported, is_bundle

    form = None if output_format is None else evidence_format(output_format)
    given = tuple(runs or ())
    if form is not None and len(given) == 1 and is_bundle(given[0]):
        if out is not None:
            output.check_not_over(out, *given)
        output.give(exported(given[0], form), out)
        return
    if out is None and form is None:
        raise InputError("Name the new folder or zip with -o.")
    scans = tuple(one.removeprefix(PREFIX) for one in scan or ())
    asked = ReportSpec(
        runs=tuple(map(str, given)),
        scans=scans,
        measurements=tuple(map(str, measurement or ())),
        out=str(out or "report"),
        name=name,
        author=author,
        include_images=include_images,
        include_checkpoints=include_checkpoints,
        thumbnails=thumbnails,
        pdf=pdf,
        device=device,
        threads=threads,
    )
    private = None
    if key is not None:  # what is wrong with it is told before the work
        from ml_core.signing import load_key, sign_path

        private = load_key(key, lambda name: passphrase_of(passphrase_file, name))
    asked = with_sessions(asked, notes=notes)
    with output.working("Loading torch"):
        from ml_core.jobs.report import report as write_report

    if form is not None:
        with tempfile.TemporaryDirectory() as place:
            bundle = Path(place) / "record.evidence"
            alone = asked.model_copy(
                update={"out": str(bundle), "name": name or (out.stem if out else "report")}
            )
            run_to_result(lambda control: write_report(alone, control))
            output.give(exported(bundle, form), out)
        return
    found = run_to_result(lambda control: write_report(asked, control))
    if private is not None:
        found["signature"] = str(sign_path(Path(found["path"]), private))
    if json:
        output.print_json(found)
        return
    for sentence in (*found["verdict"], *(f"Not tested: {one}" for one in found["not_tested"])):
        output.show(output.cell(sentence))
    output.say(
        f"{found['path']}: {found['claims']} claims, {found['files']} files, "
        f"{found['bytes'] / 1e6:.1f} MB. Check it with `cleanclip verify {found['path']}`."
    )

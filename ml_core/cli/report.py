"""``cleanclip report``: evidence that a stranger can check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ml_core.cli import output
from ml_core.cli.options import Device, Json, Threads, given_path
from ml_core.cli.run import run_to_result
from ml_core.detection.scan.scan_file import PREFIX


def report(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders of finished cleaning runs, with their proofs."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="New folder NAME.evidence, or NAME.zip for one file.",
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
    device: Device = "auto",
    threads: Threads = 0,
    json: Json = False,
) -> None:
    """Write evidence that a stranger can check: a report, and every answer that it stands on.

    From runs (with what `prove` found), scans and kept measurements. No path, user or host of this
    machine goes in. Of each measurement 256 pictures are measured again with another batch size
    and thread count, to know by how much logits move; so checkpoints and pictures should still be
    where they were. `cleanclip verify` checks the result.

    Examples:

        cleanclip report cleaned/ -o demo.evidence

        cleanclip report cleaned/ --scan scanned/ --measurement measured-reference/ -o demo.zip
    """
    from ml_core.jobs.report_spec import ReportSpec
    from ml_core.reading.errors import InputError

    if out is None:
        raise InputError("Name the new folder or zip with -o.")
    scans = tuple(one.removeprefix(PREFIX) for one in scan or ())
    asked = ReportSpec(
        runs=tuple(map(str, runs or ())),
        scans=scans,
        measurements=tuple(map(str, measurement or ())),
        out=str(out),
        name=name,
        include_images=include_images,
        include_checkpoints=include_checkpoints,
        thumbnails=thumbnails,
        pdf=pdf,
        device=device,
        threads=threads,
    )
    with output.working("Loading torch"):
        from ml_core.jobs.report import report as write_report

    found = run_to_result(lambda control: write_report(asked, control))
    if json:
        output.print_json(found)
        return
    for sentence in (*found["verdict"], *(f"Not tested: {one}" for one in found["not_tested"])):
        output.show(output.cell(sentence))
    output.say(
        f"{found['path']}: {found['claims']} claims, {found['files']} files, "
        f"{found['bytes'] / 1e6:.1f} MB. Check it with `cleanclip verify {found['path']}`."
    )

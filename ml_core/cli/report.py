"""``cleanclip report``: evidence that a stranger can check."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ml_core.cli import output
from ml_core.cli.options import NamedPath, Options, argument, command, passphrase_of
from ml_core.cli.run import run_spec
from ml_core.detection.scan.records import PREFIX
from ml_core.jobs.report import ReportSpec
from ml_core.options import option


@command(
    "runs out scan measurement name author notes include_images include_checkpoints thumbnails pdf "
    "output_format key passphrase_file device threads json",
    ReportSpec,
)
def report(
    options: Options,
    runs: list[Path] | None = argument(
        "Folders of finished cleaning runs, with their proofs, or of saved sessions.", None
    ),
    out: NamedPath | None = option(
        None,
        help="New folder NAME.evidence, or NAME.zip for one file; with --format that file.",
        flag="--output -o",
    ),
    scan: list[str] | None = option(None, help="Folder of a finished scan; repeatable."),
    measurement: list[NamedPath] | None = option(
        None, help="Folder that `cleanclip evaluate --keep` left; repeatable."
    ),
    notes: bool = option(False, help="Include the notes of the sessions."),
    output_format: str | None = option(
        None,
        help="Write the record alone in this format, also that of an existing bundle: text, json, "
        "sarif, html, cdx, intoto or model-card.",
        flag="--format",
    ),
    key: str | None = option(None, help="Sign it with this key of yours, see `key list`."),
) -> None:
    """From runs (with what `prove` found), scans and kept measurements; a session of the window
    stands for its runs and scans. No path, user or host of this machine goes in. Of each
    measurement 256 pictures are measured again with another batch size and thread count, to
    know by how much logits move; so checkpoints and pictures should still be where they were.
    `cleanclip verify` checks the result.

    Examples:

        cleanclip report cleaned/ -o demo.evidence

        cleanclip report cleaned/ --scan scanned/ --measurement measured-reference/ -o demo.zip

        cleanclip report demo.evidence --format model-card
    """
    from ml_core.jobs.report.session import with_sessions
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
    spec = ReportSpec(
        runs=tuple(map(str, given)),
        scans=tuple(each.removeprefix(PREFIX) for each in scan or ()),
        measurements=tuple(map(str, measurement or ())),
        out=str(out or "report"),
        **options.of(ReportSpec),
    )
    private = None
    if key is not None:  # a bad key is refused before the work
        from ml_core.signing import load_key, sign_path

        private = load_key(key, lambda name: passphrase_of(options.passphrase_file, name))
    spec = with_sessions(spec, notes=notes)
    if form is not None:
        with tempfile.TemporaryDirectory() as place:
            bundle = Path(place) / "record.evidence"
            alone = spec.model_copy(
                update={"out": str(bundle), "name": spec.name or (out.stem if out else "report")}
            )
            run_spec(alone)
            output.give(exported(bundle, form), out)
        return
    result = run_spec(spec)
    if private is not None:
        result["signature"] = str(sign_path(Path(result["path"]), private))
    summary = output.Aside(
        f"{result['path']}: {result['claims']} claims, {result['files']} files, "
        f"{result['bytes'] / 1e6:.1f} MB. Check it with `cleanclip verify {result['path']}`."
    )
    untested = (f"Not tested: {each}" for each in result["not_tested"])
    output.answer(options.json, result, *result["verdict"], *untested, summary)

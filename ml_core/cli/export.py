"""What ``--export`` of an audit or a scan does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_core.cli import output
from ml_core.cli.options import Options

if TYPE_CHECKING:
    from ml_core.jobs.audit_spec import AuditSettings
    from ml_core.jobs.scan_spec import ScanSpec


def export(spec: AuditSettings | ScanSpec, options: Options) -> None:
    """Write it as a job for several processes, and say how to start it."""
    from ml_core.jobs import cluster

    folder, processes = options.export_to, options.processes
    assert folder is not None
    files = cluster.export_shared(spec, folder, processes=processes)
    if options.json:
        output.print_json({"files": [str(path) for path in files]})
        return
    for path in files:
        output.line(f"Written: {path}")
    line = cluster.torchrun_line(processes, cluster.option_of(spec))
    output.line(f"Start it with run.sh, or in its folder: {line}")

"""What ``--export`` of an audit or a scan does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ml_core.cli import output

if TYPE_CHECKING:
    from ml_core.jobs.audit_spec import AuditSettings
    from ml_core.jobs.scan_spec import ScanSpec


def export(spec: AuditSettings | ScanSpec, folder: Path, processes: int, *, json: bool) -> None:
    """Write it as a job for several processes, and say how to start it."""
    from ml_core.jobs import cluster

    files = cluster.export_shared(spec, folder, processes=processes)
    if json:
        output.print_json({"files": [str(path) for path in files]})
        return
    for path in files:
        output.show(output.cell(f"Written: {path}"))
    line = cluster.torchrun_line(processes, cluster.option_of(spec))
    output.show(output.cell(f"Start it with run.sh, or in its folder: {line}"))

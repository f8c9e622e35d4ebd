"""A cleaning as a folder for a cluster: the job file, a Slurm script and the line for torchrun.

The spec may come from a stranger, so every text from it is quoted or refused in a script.
"""

from __future__ import annotations

import errno
import shlex
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from ml_core.atomic import replace_files
from ml_core.jobs.specs import RESULT_FILE, STATE_FILE, CleanSpec
from ml_core.reading.arrays import ARRAY_SUFFIXES
from ml_core.reading.errors import InputError, plain
from ml_core.reading.regular_file import read_file

JOB_FILE = "job.json"
SLURM_FILE = "job.slurm"
RUN_FILE = "run.sh"
RESULTS_FOLDER = "results"
_LARGEST = 64 << 20
_SECONDS_TO_SAVE = 120
# Controls, line and paragraph separators, and halves of characters, as names that are no text have.
_NO_TEXT = ("Cc", "Zl", "Zp", "Cs")


def export_job(spec: CleanSpec, folder: Path, *, processes: int = 1) -> tuple[Path, ...]:
    """Write a job for another machine; nothing is copied but the trigger's file.

    Parameters
    ----------
    spec
        The job; it will write into ``results`` beside its job file.
    folder
        The folder to write; it is made.
    processes
        Usually one for each GPU.

    Returns
    -------
    tuple of Path
        The files written: job, Slurm script, shell script.

    Raises
    ------
    InputError
        If the trigger is gone or cannot be read, or a path has a line end or another control
        character in it; nothing is written then.
    OSError
        If the folder cannot be written.
    """
    _check_names([*elsewhere(spec), spec.trigger or ""])
    changes: dict[str, object] = {"output_dir": RESULTS_FOLDER, "speed": None}  # measured there
    if spec.device.startswith("cuda"):  # the number is of this machine
        changes["device"] = "cuda"
    files: dict[Path, bytes] = {}
    if spec.trigger is not None:
        try:
            for part in _trigger_files(Path(spec.trigger)):
                files[folder / part.name] = _whole(part)
        except OSError as error:
            raise InputError(
                f"The job's trigger {spec.trigger} cannot be read; put it back.",
                "usage",
                str(error),
            ) from error
        changes["trigger"] = Path(spec.trigger).name
    job = spec.model_copy(update=changes)
    files[folder / JOB_FILE] = job.model_dump_json(indent=1).encode()
    files[folder / RUN_FILE] = _shell(processes).encode()
    files[folder / SLURM_FILE] = _slurm(job, processes).encode()
    folder.mkdir(parents=True, exist_ok=True)
    replace_files(files)
    (folder / RUN_FILE).chmod(0o755)
    return folder / JOB_FILE, folder / SLURM_FILE, folder / RUN_FILE


def elsewhere(spec: CleanSpec) -> tuple[str, ...]:
    """Paths that the machine which runs the job must see, besides the exported folder."""
    paths = [spec.checkpoint, spec.donor, spec.reference, *spec.stamps]
    for part in spec.sets.values():
        paths += part.paths.values()
    if Path(spec.label_set).is_absolute():
        paths.append(spec.label_set)
    return tuple(dict.fromkeys(path for path in paths if path is not None))


def torchrun_line(processes: int) -> str:
    """The command that runs the job on one machine, in its folder."""
    return f"torchrun --standalone --nproc_per_node={processes} -m ml_core.jobs.worker {JOB_FILE}"


def _trigger_files(path: Path) -> list[Path]:
    """A trigger's file, and the picture or record of the same name beside it."""
    suffixes = (".png", ".json", ".safetensors", *ARRAY_SUFFIXES)
    beside = [path.with_suffix(suffix) for suffix in suffixes]
    return list(dict.fromkeys([path, *(part for part in beside if part.is_file())]))


def _whole(part: Path) -> bytes:
    """The bytes of a trigger's file; `OSError` if there are more than a trigger has."""
    raw = read_file(part, _LARGEST + 1)
    if len(raw) > _LARGEST:
        raise OSError(errno.EFBIG, f"it is larger than {_LARGEST >> 20} MB", str(part))
    return raw


def _check_names(names: Iterable[str]) -> None:
    """Refuse what cannot stand on one line: quotes do not keep a comment together."""
    for name in names:
        if any(unicodedata.category(character) in _NO_TEXT for character in name):
            raise InputError(
                f"The job cannot be exported: {plain(name)} has a line end or another control "
                "character in its name; rename it."
            )


def _sbatch(name: str, value: str) -> str:
    """A line for Slurm, which parses the values in its comments by its own rules.

    A backslash counts in both kinds of quotes there, so `shlex.quote` is of no use.
    """
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'#SBATCH --{name}="{escaped}"'


def _shell(processes: int) -> str:
    """The script for one machine."""
    return (
        "#!/bin/sh\n"
        "# Runs the job on this machine. `./run.sh --resume` goes on from its last save.\n"
        "set -e\n"
        'CDPATH="" cd -- "$(dirname -- "$0")"\n'
        f'exec {torchrun_line(processes)} "$@"\n'
    )


def _slurm(spec: CleanSpec, processes: int) -> str:
    """The batch script; SIGTERM before the time limit means save and stop."""
    seen = "\n".join(f"#   {shlex.quote(path)}" for path in elsewhere(spec)) or "#   (none)"
    norm = (
        "# BatchNorm is in training: a ResNet is refused in several processes. Set the recipe's\n"
        "# batch_norm to frozen.\n"
        if spec.recipe.batch_norm == "train" and spec.recipe.total_steps and processes > 1
        else ""
    )
    return f"""#!/bin/bash
{_sbatch("job-name", f"cleanclip-{spec.recipe.method}")}
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node={processes}
#SBATCH --cpus-per-task={8 * processes}
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@{_SECONDS_TO_SAVE}
#SBATCH --output={RESULTS_FOLDER}-%j.log
# Adapt time, partition and account. Submit it from this folder: sbatch {SLURM_FILE}
# The Python environment with cleanclip must be active. The node must see this folder and
{seen}
{norm}
# As long as this a stopped run may save; torchrun before torch 2.12 ends it after 30 s.
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT={_SECONDS_TO_SAVE - 10}
if grep -qs '"status": "finished"' {RESULTS_FOLDER}/{RESULT_FILE}; then
  echo "The run is finished. To run it again, move the folder {RESULTS_FOLDER} away."
  exit
fi
resume=""
if [ -e {RESULTS_FOLDER}/{STATE_FILE} ]; then
  resume="--resume"
fi
srun {torchrun_line(processes)} $resume
# Afterwards open the folder {RESULTS_FOLDER} in the window.
"""

"""``make dist``: wheel, source archive, list of dependencies and SHA256SUMS of a commit.

Built from the files of the commit alone, with the commit's time and pinned tools
(packaging/requirements-release.txt), so that the same commit gives the same bytes anywhere.
``--check`` builds twice, in folders of other names, and compares.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SUMS = "SHA256SUMS"


def export(commit: str, folder: Path) -> str:
    """Lay the commit's files into ``folder``; return its time, in seconds since 1970."""
    archive = folder.with_suffix(".tar")
    subprocess.run(["git", "archive", "-o", str(archive), commit], cwd=ROOT, check=True)
    with tarfile.open(archive) as files:
        files.extractall(folder, filter="data")
    archive.unlink()
    command = ["git", "log", "-1", "--format=%ct", commit]
    return subprocess.run(
        command, cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()


def build(commit: str, out: Path) -> list[Path]:
    """Build the wheel and the source archive of a commit into ``out``."""
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / out.name
        environment = os.environ | {"SOURCE_DATE_EPOCH": export(commit, source)}
        command = [sys.executable, "-m", "build", "--no-isolation", "-o", str(out), str(source)]
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    return sorted([*out.glob("*.whl"), *out.glob("*.tar.gz")])


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_sums(folder: Path) -> None:
    """List all files of a folder, as ``sha256sum --check`` reads it."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != SUMS)
    lines = "".join(f"{digest(path)}  {path.name}\n" for path in files)
    (folder / SUMS).write_text(lines, encoding="ascii")


def list_dependencies(python: str, out: Path) -> None:
    """Write what an environment that has the wheel consists of, as CycloneDX."""
    subprocess.run(
        [
            sys.executable, "-m", "cyclonedx_py", "environment", python, "--pyproject",
            str(ROOT / "pyproject.toml"), "--mc-type", "application", "--output-reproducible",
            "--spec-version", "1.6", "--of", "JSON", "-o", str(out),
        ],
        check=True,
    )  # fmt: skip


def check(commit: str) -> int:
    """Build twice and compare."""
    with tempfile.TemporaryDirectory() as name:
        first, second = (
            build(commit, Path(name) / folder) for folder in ("first", "another-place")
        )
        sums = [[(path.name, digest(path)) for path in paths] for paths in (first, second)]
    for name, value in sums[0]:
        print(f"{value}  {name}")
    if sums[0] != sums[1]:
        print(f"Not the same bytes twice: {sums[1]}", file=sys.stderr)
        return 1
    print("The same bytes twice.")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commit", default="HEAD")
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    parser.add_argument(
        "--check", action="store_true", help="build twice and compare; keep nothing"
    )
    parser.add_argument(
        "--finish",
        metavar="PYTHON",
        help="build nothing: list what is in this interpreter's environment, and renew the sums",
    )
    options = parser.parse_args()
    if options.check:
        return check(options.commit)
    if options.finish:
        list_dependencies(options.finish, options.out / "cleanclip-gui.cdx.json")
        write_sums(options.out)
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    for old in (*options.out.glob("cleanclip*"), *options.out.glob(SUMS)):
        old.unlink()
    wheel, archive = sorted(build(options.commit, options.out), key=lambda p: p.suffix == ".gz")
    subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", str(wheel), str(archive)], check=True
    )
    write_sums(options.out)
    print((options.out / SUMS).read_text(encoding="ascii"), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""``make deb``: a Debian package of the frozen folder, in /opt with links in /usr/bin.

Run by an interpreter that has the program; needs Debian's dpkg-dev, librsvg2-bin, pandoc and
help2man. There are no maintainer scripts: Debian's own triggers renew the databases of icons,
desktop entries and MIME types.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

from cleanclip_gui.window.system_libraries import OFFSCREEN, WINDOW
from ml_core import __version__

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
NAME = "cleanclip-gui"
SIZES = (16, 22, 24, 32, 48, 64, 128, 256, 512)
SCREENSHOTS = {
    "studio": "A trigger painted in Studio turns predictions into its class",
    "checkpoint": "What a checkpoint is, read without running it",
    "scan": "A trigger found by search, beside a clean reference",
    "clean": "A cleaning run with live charts",
    "report": "Claims, and what each of them stands on",
}
# Earlier Debian and Ubuntu releases know it by another name.
_OTHER_NAMES = {"libglib2.0-0t64": "libglib2.0-0t64 | libglib2.0-0"}


def epoch() -> int:
    """The time that all files get: that of the commit."""
    command = ["git", "log", "-1", "--format=%ct"]
    given = os.environ.get("SOURCE_DATE_EPOCH")
    return int(given or subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)


def put(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(0o644)


def metainfo(address: str) -> str:
    """AppStream's record; an identifier, pages and screenshots as the public address gives them."""
    text = (HERE / f"{NAME}.metainfo.xml").read_text("utf-8")
    day = time.strftime("%Y-%m-%d", time.gmtime(epoch()))
    more = f'  <releases>\n    <release version="{__version__}" date="{day}"/>\n  </releases>\n'
    if address:
        host, path = urlsplit(address).hostname or "", urlsplit(address).path.strip("/").split("/")
        place = "io.github" if host == "github.com" else ".".join(reversed(host.split(".")))
        identifier = ".".join([place, *path]).replace("-", "_")
        text = text.replace(f"<id>{NAME}</id>", f"<id>{identifier}</id>")
        default = ' type="default"'
        shots = "".join(
            f"    <screenshot{default if name == 'studio' else ''}>\n"
            f"      <caption>{caption}</caption>\n"
            f"      <image>{address}/raw/v{__version__}/docs/images/{name}.png</image>\n"
            f"    </screenshot>\n"
            for name, caption in SCREENSHOTS.items()
        )
        more += f'  <url type="homepage">{address}</url>\n'
        more += f"  <screenshots>\n{shots}  </screenshots>\n"
    return text.replace("</component>", f"{more}</component>")


def icons(share: Path) -> None:
    """The icon as SVG and in all usual sizes."""
    theme = share / "icons" / "hicolor"
    put(theme / "scalable" / "apps" / f"{NAME}.svg", (HERE / "icon.svg").read_bytes())
    for size in SIZES:
        path = theme / f"{size}x{size}" / "apps" / f"{NAME}.png"
        path.parent.mkdir(parents=True)
        command = ["rsvg-convert", "-w", str(size), "-h", str(size), "-o", str(path)]
        subprocess.run([*command, str(HERE / "icon.svg")], check=True)


def control(size_kib: int, architecture: str) -> str:
    packages = sorted({*OFFSCREEN.values(), *WINDOW.values()})
    depends = ", ".join(_OTHER_NAMES.get(package, package) for package in packages)
    libc = os.confstr("CS_GNU_LIBC_VERSION").split()[1]
    who = os.environ.get("DEBFULLNAME", "The CleanCLIP GUI authors")
    where = os.environ.get("DEBEMAIL", "nobody@cleanclip-gui.invalid")
    return f"""\
Package: {NAME}
Version: {__version__}
Architecture: {architecture}
Maintainer: {who} <{where}>
Installed-Size: {size_kib}
Section: science
Priority: optional
Depends: libc6 (>= {libc}), {depends}
Recommends: libpango-1.0-0, libpangoft2-1.0-0, libwayland-cursor0, shared-mime-info
Description: find and remove backdoors in CLIP checkpoints
 Opens a downloaded CLIP checkpoint without running anything from it, measures
 what a trigger does, scans for hidden triggers, cleans the model
 and writes evidence that somebody else can check. A window (cleanclip-gui) and
 a command line (cleanclip), with the processor's build of PyTorch.
"""


def lay(tree: Path, frozen: Path, address: str) -> None:
    """All files but those of the control folder."""
    share, home = tree / "usr" / "share", tree / "opt" / NAME
    shutil.copytree(frozen, home, symlinks=True)
    for program in ("cleanclip", "cleanclip-gui"):
        link = tree / "usr" / "bin" / program
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(f"/opt/{NAME}/{program}")
    put(share / "applications" / f"{NAME}.desktop", (HERE / f"{NAME}.desktop").read_bytes())
    put(share / "mime" / "packages" / f"{NAME}.xml", (HERE / f"{NAME}.xml").read_bytes())
    put(share / "metainfo" / f"{NAME}.metainfo.xml", metainfo(address))
    put(share / "lintian" / "overrides" / NAME, (HERE / "lintian-overrides").read_bytes())
    icons(share)
    licence = (ROOT / "LICENSE").read_text("utf-8").partition("\n\n")[2].strip().splitlines()
    text = "\n".join(f" {line.strip() or '.'}" for line in licence)
    notice = (HERE / "copyright").read_text("utf-8").replace("@LICENSE@", text + "\n")
    put(share / "doc" / NAME / "copyright", notice)
    day = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(epoch()))
    who = "The CleanCLIP GUI authors <nobody@cleanclip-gui.invalid>"
    history = (
        f"{NAME} ({__version__}) stable; urgency=low\n\n  * See the changelog of the program.\n"
    )
    history += f"\n -- {who}  {day}\n"
    put(share / "doc" / NAME / "changelog.gz", gzip.compress(history.encode(), 9, mtime=0))
    subprocess.run(
        [sys.executable, str(ROOT / "packaging" / "manual.py"), "--share", str(share)],
        check=True, env=os.environ | {"SOURCE_DATE_EPOCH": str(epoch())},
    )  # fmt: skip


def seal(tree: Path, out: Path, level: int) -> Path:
    """Control files, modes, and the package."""
    files = sorted(path for path in tree.rglob("*") if path.is_file() and not path.is_symlink())
    for path in tree.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or _runs(path) else 0o644)
    sums = []
    for path in files:
        with path.open("rb") as file:
            sums.append(
                f"{hashlib.file_digest(file, 'md5').hexdigest()}  {path.relative_to(tree)}\n"
            )
    architecture = subprocess.run(
        ["dpkg", "--print-architecture"], check=True, capture_output=True, text=True
    ).stdout.strip()
    size = sum(path.stat().st_size for path in files) // 1024
    put(tree / "DEBIAN" / "md5sums", "".join(sums))
    put(tree / "DEBIAN" / "control", control(size, architecture))
    package = out / f"{NAME}_{__version__}_{architecture}.deb"
    out.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [
            "dpkg-deb", "--root-owner-group", "-Zxz", f"-z{level}",
            "--build", str(tree), str(package),
        ],
        check=True, env=os.environ | {"SOURCE_DATE_EPOCH": str(epoch())},
    )  # fmt: skip
    return package


def _runs(path: Path) -> bool:
    """Whether a file is a program; some licences come with the mode of one."""
    if ".so" in path.name or not path.stat().st_mode & 0o100:
        return False
    with path.open("rb") as file:
        return file.read(4).startswith((b"\x7fELF", b"#!"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frozen", type=Path, required=True, help="folder that PyInstaller made")
    parser.add_argument("--tree", type=Path, required=True, help="folder to lay the files into")
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    parser.add_argument("--level", type=int, default=6, help="of compression, 0 to 9")
    options = parser.parse_args()
    with (ROOT / "pyproject.toml").open("rb") as file:
        hooks = tomllib.load(file)["tool"]["hatch"]["metadata"]["hooks"]
    shutil.rmtree(options.tree, ignore_errors=True)
    address = hooks["custom"]["address"].rstrip("/")
    lay(options.tree, options.frozen, address)
    # For the checks: what a publisher's record will look like.
    addressed = options.tree.with_name(f"{options.tree.name}.addressed.xml")
    put(addressed, metainfo(address or f"https://github.com/example/{NAME}"))
    print(seal(options.tree, options.out, options.level))
    return 0


if __name__ == "__main__":
    sys.exit(main())

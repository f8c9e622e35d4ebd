"""Check both installed programs as a stranger has them: no network, an empty home, no display but
Xvfb. Needs root for ``unshare``, and Debian's xvfb and xdotool.

``--bin FOLDER`` checks programs of this machine. ``--deb PACKAGE`` makes a clean Debian root with
mmdebstrap, installs the package there with what it depends on, and checks it as another user with
a read-only /opt. ``--guided`` also runs the whole guided demo of the window, which takes minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

USER = 1000
LEAST_ASR = 0.95
# One small step of cleaning: what counts is that every child process starts, and the rates before.
SETTINGS = ("pairs=32", "batch_size=16", "warmup_steps=1", "eval_every=0", "save_every=0")
TINY = (
    *("--method", "mmcl", "--test-images", "512"),
    *(part for setting in SETTINGS for part in ("--set", setting)),
)
# In a mount namespace of its own: /opt cannot be written, and of the machine only X is seen.
ENTER = """
set -e
mount --bind "$0/opt" "$0/opt" && mount -o remount,bind,ro "$0/opt"
mkdir -p "$0/tmp/.X11-unix" && mount --bind /tmp/.X11-unix "$0/tmp/.X11-unix"
mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev"
exec chroot --userspec=1000:1000 "$0" "$@"
"""


class Place:
    """Where programs are, and how one is started there."""

    def __init__(self, folder: str, home: Path, root: Path | None = None) -> None:
        self.folder, self.home, self.root = folder, home, root
        inside = "/" + str(home.relative_to(root)) if root else str(home)
        self.environment = {
            "HOME": inside, "PATH": f"{folder}:/usr/bin:/bin", "LANG": "C.UTF-8",
            "XDG_RUNTIME_DIR": inside,
        }  # fmt: skip
        enter = ["--mount", "sh", "-c", ENTER, str(root)] if root else []
        self._start = ["unshare", "--net", *enter]
        self._inside = inside

    def command(self, name: str, *arguments: str, **more: str) -> list[str]:
        values = [f"{key}={value}" for key, value in (self.environment | more).items()]
        change = ["env", "-i", "-C", self._inside, *values, f"{self.folder}/{name}", *arguments]
        return [*self._start, *change]

    def run(self, name: str, *arguments: str, expected: int = 0, **more: str) -> str:
        begin = time.monotonic()
        command = self.command(name, *arguments, **more)
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
        seconds = time.monotonic() - begin
        print(
            f"{name} {' '.join(arguments[:3])}: exit {done.returncode}, {seconds:.1f} s", flush=True
        )
        if done.returncode != expected:
            sys.exit(f"{done.stdout[-1500:]}\n{done.stderr[-3000:]}")
        return done.stdout


def clean_root(package: Path, folder: Path) -> Path:
    """A Debian root with the package, and a user who never logged in.

    ``$MMDEBSTRAP_OPTIONS`` may hold what a machine needs to reach its mirror.
    """
    root = folder / "root"
    hooks = "/usr/share/mmdebstrap/hooks/file-mirror-automount"
    subprocess.run(
        [
            "mmdebstrap", "--quiet", "--variant=minbase", f"--hook-dir={hooks}",
            f"--include={package.resolve()}",
            f"--customize-hook=chroot \"$1\" useradd -m -u {USER} somebody",
            *os.environ.get("MMDEBSTRAP_OPTIONS", "").split(),
            "stable", str(root), "/etc/apt/sources.list.d/debian.sources",
        ],
        check=True,
    )  # fmt: skip
    return root


def check_command_line(place: Place) -> None:
    """Reader, worker and verifier start, and the demo's numbers are right."""
    place.run("cleanclip", "--version")
    place.run("cleanclip", "key", "list", "--json")
    result = json.loads(place.run("cleanclip", "demo", *TINY, "-o", "demo", "--json"))
    before = result["before"]
    rate = before["asr_excl"]
    print(f"demo: ASR before {rate:.1%}, clean accuracy {before['ca']:.1%}")
    if rate < LEAST_ASR:
        sys.exit(f"The demo's ASR is {rate:.1%}, not above {LEAST_ASR:.0%}.")
    inspection = json.loads(place.run("cleanclip", "inspect", "demo/cleaned.safetensors", "--json"))
    if inspection["verdict"] != "loads":
        sys.exit(f"The cleaned checkpoint is {inspection['verdict']}.")
    place.run("cleanclip", "report", "demo", "-o", "demo.evidence.zip", "--json")
    place.run("cleanclip", "verify", "demo.evidence.zip", "--json")


def check_window(place: Place) -> None:
    """The window is shown, and how long that takes; it is started twice, the second time warm."""
    number = next(n for n in range(90, 200) if not Path(f"/tmp/.X11-unix/X{n}").exists())
    display = f":{number}"
    command = ["Xvfb", display, "-screen", "0", "1366x768x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        while not Path(f"/tmp/.X11-unix/X{number}").exists():
            time.sleep(0.05)
        for attempt in ("first", "second"):
            begin = time.monotonic()
            window = subprocess.Popen(
                place.command("cleanclip-gui", DISPLAY=display),
                start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            try:
                seek = ["xdotool", "search", "--sync", "--onlyvisible", "--name", "CleanCLIP"]
                walk = subprocess.run(
                    seek, env=os.environ | {"DISPLAY": display}, timeout=120, capture_output=True
                )
                seconds = time.monotonic() - begin
                if walk.returncode or window.poll() is not None:
                    sys.exit("No window was shown.")
                print(f"cleanclip-gui: window after {seconds:.1f} s ({attempt} start)", flush=True)
                time.sleep(3)
                if window.poll() is not None:
                    sys.exit(f"The window closed by itself: {window.stdout.read()[-2000:]!r}")
            finally:
                os.killpg(window.pid, 15)
                window.wait(10)
    finally:
        server.terminate()
        server.wait()


def check_guided(place: Place) -> None:
    """The guided demo without a display, from start to end."""
    print(place.run("cleanclip-gui", "--demo")[-1500:])
    result = json.loads((place.home / "demo-output" / "result.json").read_text("utf-8"))
    before, after = (result[when]["asr_excl"] for when in ("before", "after"))
    print(f"guided demo: ASR {before:.1%} before, {after:.1%} after")
    if before < LEAST_ASR or after > before / 2:
        sys.exit("These are not the demo's rates.")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--bin", type=Path)
    where.add_argument("--deb", type=Path)
    parser.add_argument("--guided", action="store_true")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="cleanclip-check-"))
    try:
        if options.deb:
            root = clean_root(options.deb, folder)
            place = Place("/usr/bin", root / "home" / "somebody", root)
        else:
            home = folder / "home"
            home.mkdir()
            place = Place(str(options.bin.resolve()), home)
        check_command_line(place)
        check_window(place)
        if options.guided:
            check_guided(place)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

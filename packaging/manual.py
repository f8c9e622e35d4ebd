"""Man pages and shell completion, made of the programs' own help.

Run by an interpreter that has the program; needs Debian's pandoc and help2man. ``--check`` also
needs mandoc, bash, zsh and fish: it looks for faults in all of them, and completes a word.
"""

from __future__ import annotations

import argparse
import gzip
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ml_core import __version__

# Where Debian's shells look for the completion of a program.
COMPLETIONS = {
    "bash": "bash-completion/completions/cleanclip",
    "zsh": "zsh/vendor-completions/_cleanclip",
    "fish": "fish/vendor_completions.d/cleanclip.fish",
}
_ENTRY = re.compile(r"^\* (`.+?`): (.*)$", re.M)
_HEADING = re.compile(r"(?<=# )`(.+)`$", re.M)
_AFTER = """
# EXIT STATUS
0 done; 1 refused as dangerous, or of **scan** found or suspicious; 2 damaged or unsupported, or of
**scan** cannot say; 3 usage; 4 internal error; 130 cancelled with Ctrl-C.

# ENVIRONMENT
**CLEANCLIP_HOME**
:   Where caches, settings, runs and keys lie, instead of the user's folders for them.

# SEE ALSO
**cleanclip-gui**(1)
"""


def _run(*command: str, **options: object) -> str:
    done = subprocess.run(
        command, check=True, capture_output=True, encoding="utf-8", env=_environment(), **options
    )
    return done.stdout


def _environment(**more: str) -> dict[str, str]:
    return os.environ | {"TERM": "dumb", "COLUMNS": "80", "LC_ALL": "C.UTF-8"} | more


def command_line_page(date: str) -> str:
    """The page of ``cleanclip``: what typer tells of every command, as pandoc's Markdown."""
    whole = str(Path(__file__).with_name("cli_docs.py"))
    output = _run(sys.executable, "-m", "typer", whole, "utils", "docs", "--name", "cleanclip")
    head, *commands = re.split(r"^## ", output, flags=re.M)
    about = head.partition("\n")[2].partition("**Usage**")[0].partition("Exit codes")[0].strip()
    # Commands have their whole text below, so their list with shortened lines is left out.
    options = head.partition("**Options**:")[2].partition("**Commands**:")[0]
    sections = _HEADING.sub(r"\1", "".join(f"## {section}" for section in commands))
    text = "\n\n".join(
        [
            f"% CLEANCLIP(1) cleanclip {__version__} | User Commands\n%\n% {date}",
            "# NAME\ncleanclip - inspect, evaluate and clean CLIP checkpoints",
            "# SYNOPSIS\n**cleanclip** *COMMAND* [*OPTIONS*] [*ARGUMENTS*]",
            f"# DESCRIPTION\n{about}",
            f"# OPTIONS\n{options.strip()}",
            f"# COMMANDS\n{sections}",
            _AFTER,
        ]
    )
    text = _ENTRY.sub(r"\1\n:   \2\n", text)
    markdown = "markdown-smart-tex_math_dollars-citations"
    return _run("pandoc", "-s", "-f", markdown, "-t", "man", input=text)


def window_page(program: Path, date: str) -> str:
    """The page of ``cleanclip-gui``."""
    page = _run(
        "help2man", "-N", "-n", "find and remove backdoors in CLIP checkpoints", "--version-string",
        f"cleanclip-gui {__version__}", str(program),
    )  # fmt: skip
    return re.sub(r'^(\.TH \S+ "?1"?) "[^"]*"', rf'\1 "{date}"', page, count=1, flags=re.M)


def make(share: Path, program: Path) -> None:
    """Write pages and completions below ``share``, as they lie below /usr/share."""
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))
    date = time.strftime("%Y-%m-%d", time.gmtime(epoch))
    pages = {"cleanclip": command_line_page(date), "cleanclip-gui": window_page(program, date)}
    for name, text in pages.items():
        path = share / "man" / "man1" / f"{name}.1.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    for shell, name in COMPLETIONS.items():
        path = share / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shown = subprocess.run(
            [sys.executable, "-m", "ml_core", "--show-completion", shell],
            env=_environment(_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1"),
            check=True, capture_output=True, encoding="utf-8",
        )  # fmt: skip
        path.write_text(shown.stdout, encoding="utf-8")


# Each completes "cleanclip insp" in a shell that has loaded the file, and prints what it proposes.
_COMPLETE = {
    "bash": 'source "$0"; COMP_WORDS=(cleanclip insp); COMP_CWORD=1; '
    '_cleanclip_completion cleanclip; echo "${COMPREPLY[@]}"',
    "zsh": "compdef() { :; }; _arguments() { print -r -- $* }; "
    "words=(cleanclip insp); CURRENT=2; source $0; _cleanclip_completion",
    "fish": "source $argv[1]; complete -C 'cleanclip insp'",
}


def check(share: Path, program: Path) -> int:
    """Look for faults in what was made; return how many there are."""
    faults = []
    commands = _run(sys.executable, "-m", "ml_core", "--help")
    names = re.findall(r"^│ ([a-z]+) ", commands.partition("Commands")[2], re.M)
    for name in ("cleanclip", "cleanclip-gui"):
        page = share / "man" / "man1" / f"{name}.1.gz"
        source = gzip.decompress(page.read_bytes()).decode()
        linted = subprocess.run(
            ["mandoc", "-T", "lint", "-W", "error"], input=source, capture_output=True, text=True
        )
        if linted.returncode:
            faults.append(f"{page.name}: {linted.stdout}")
        shown = _run("mandoc", "-T", "utf8", "-O", "width=90", input=source)
        shown = re.sub(".\b", "", shown)
        if name == "cleanclip":
            missing = [entry for entry in names if f"cleanclip {entry}" not in shown]
            print(f"{page.name}: {len(names)} commands, {len(shown.splitlines())} lines")
            faults += [f"{page.name}: no {entry}" for entry in missing]
            if not names:
                faults.append("the help lists no commands")
    for shell, words in _COMPLETE.items():
        if not shutil.which(shell):
            faults.append(f"{shell} is not installed")
            continue
        path = share / COMPLETIONS[shell]
        parsed = subprocess.run([shell, "-n", str(path)], capture_output=True, text=True)
        done = subprocess.run(
            [shell, "-c", words, str(path)], capture_output=True, text=True, check=False,
            env=_environment(PATH=f"{program.parent}{os.pathsep}{os.environ['PATH']}"),
        )  # fmt: skip
        proposed = done.stdout.strip()
        print(f"{shell}: {proposed.splitlines()[0] if proposed else '(nothing)'}")
        if parsed.returncode or "inspect" not in proposed:
            faults.append(f"{shell}: {parsed.stderr}{done.stderr}")
    for fault in faults:
        print(f"FAULT {fault}", file=sys.stderr)
    return len(faults)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=Path, help="write below this folder (default: check only)")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    program = Path(sys.executable).with_name("cleanclip-gui")
    with tempfile.TemporaryDirectory() as scratch:
        share = options.share or Path(scratch)
        make(share, program)
        return check(share, program) if options.check or not options.share else 0


if __name__ == "__main__":
    sys.exit(main())

"""The short-lived process that checks a bundle: ``python -m ml_core.reports.verify.worker``.

Standard input: a line with the task, ``check`` or ``print``, and the processor seconds it may use,
then the path's bytes to the end.
Standard output: events (`ml_core.events`), one a line; what it finds are `Finding`s, and the last
one is `Done`.
"""

from __future__ import annotations

import base64
import hashlib
import os
import sys
import sysconfig
import traceback
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from ml_core.events import Done, Event, Finding, Progress, to_json
from ml_core.reading.errors import InputError
from ml_core.reading.sandbox import MEMORY, enter
from ml_core.reports.bundle_files import Bundle
from ml_core.reports.html.pdf import render_pdf
from ml_core.reports.open_bundle import open_bundle
from ml_core.reports.record import EVIDENCE_FILE, PDF_FILE
from ml_core.reports.verify.checks import Check
from ml_core.reports.verify.derived import check_alone
from ml_core.reports.verify.kept import Hashes, Pixels
from ml_core.reports.write_bundle import views

_MAX_REQUEST = 1 << 20
_FONTS = (
    "/etc/fonts", "/usr/share/fonts", "/usr/local/share/fonts", "/usr/share/fontconfig",
    "/var/cache/fontconfig",
)  # fmt: skip


def main() -> int:
    """Answer one request; 0 unless nobody listens."""
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    head, _, raw = sys.stdin.buffer.read(_MAX_REQUEST).partition(b"\n")
    path = Path(os.fsdecode(raw))
    task, seconds = head.split()
    _load_what_starts_threads()
    places = [path, *_program()]
    if task == b"print":
        places += _load_what_prints()
    readable = {os.path.realpath(place) for place in places}
    state = enter(map(Path, sorted(readable)), int(seconds), MEMORY)
    answers = print_alone(path) if task == b"print" else check_alone(path)
    try:
        for event in events(path, answers, state.as_texts()):
            answer.write(to_json(event) + "\n")
            answer.flush()
    except BrokenPipeError:
        return 1
    return 0


def print_alone(path: Path) -> Iterator[Hashes]:
    """Make the report's PDF of the record again.

    Raises
    ------
    InputError
        If the record is damaged, or there is no WeasyPrint.
    """
    (view,) = (known for known in views() if known.path == PDF_FILE)
    with open_bundle(path) as reader:
        content = view.render(Bundle(reader).evidence, reader.read)
        digest = hashlib.sha256(content).hexdigest()
        yield Hashes({PDF_FILE: digest, EVIDENCE_FILE: reader.digest(EVIDENCE_FILE)})


def events(
    path: Path, answers: Iterable[Check | Progress | Pixels | Hashes], sandbox: dict[str, str]
) -> Iterator[Event]:
    """What is found of a bundle; every exception becomes the last event."""
    try:
        for answer in answers:
            if isinstance(answer, Progress):
                yield answer
            elif isinstance(answer, Pixels):
                height, width, _ = answer.pixels.shape
                rgba = base64.b64encode(answer.pixels.tobytes()).decode("ascii")
                values = {"digest": answer.digest, "height": height, "width": width, "rgba": rgba}
                yield Finding("pixels", values)
            elif isinstance(answer, Hashes):
                yield Finding("hashes", answer.digests)
            else:
                yield Finding("check", asdict(answer))
    except InputError as error:
        yield Done("failed", error=error.sentence, error_code=error.code, details=error.details)
    except (ImportError, PermissionError) as error:  # the bundle's own files give an InputError
        sentence = (
            f"{path.name} was not checked: the confined process may not read a part of this "
            f"program ({error}); install the program and its packages into one environment."
        )
        yield Done("failed", error=sentence, error_code="unsupported")
    except MemoryError:
        yield _cannot(path, "it needs more memory than a bundle should")
    except Exception as error:
        yield _cannot(path, f"an unexpected {type(error).__name__}", traceback.format_exc())
    else:
        yield Done("finished", {"sandbox": sandbox})


def _cannot(path: Path, why: str, details: str = "") -> Done:
    sentence = f"{path.name} could not be checked to its end: {why}; get the bundle again."
    return Done("failed", error=sentence, error_code="unsupported", details=details)


def _program() -> Iterator[Path]:
    """Where the program's own modules and resources lie: they are read at their first use."""
    yield Path(__file__).resolve().parents[3]
    for name in ("stdlib", "platstdlib"):
        yield Path(sysconfig.get_path(name))
    for name, module in tuple(sys.modules.items()):  # site-packages, PYTHONPATH, .pth files
        file = getattr(module, "__file__", None)
        if file is not None and "." not in name:
            yield Path(file).parents[1 if hasattr(module, "__path__") else 0]
    yield Path(getattr(sys, "_MEIPASS", sys.prefix))
    if getattr(sys, "frozen", False):  # its modules are an archive at the program's end
        yield Path(sys.executable)


def _load_what_prints() -> Iterator[Path]:
    """Print a line, which loads libraries of the system; gives the folders of fonts.

    Where WeasyPrint is missing, `print_alone` says so.
    """
    with suppress(InputError):
        render_pdf(b"<p>x</p>", b"{}")
    yield from map(Path, _FONTS)
    for folder in (".fonts", ".local/share/fonts", ".cache/fontconfig", ".config/fontconfig"):
        yield Path.home() / folder


def _load_what_starts_threads() -> None:
    """NumPy's threads are started at its first product, and none can be started later."""
    import numpy as np

    np.ones((64, 64)) @ np.ones((64, 64))


if __name__ == "__main__":
    sys.exit(main())

"""The report as PDF: tagged, with its record, the same twice, and nothing is fetched for it."""

from __future__ import annotations

import base64
import builtins
import hashlib
import re
import shutil
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import ImageFile

from ml_core.reading import InputError
from ml_core.reports.bundle_files import Bundle
from ml_core.reports.html.pdf import render_pdf
from ml_core.reports.open_bundle import open_bundle
from ml_core.reports.record import EVIDENCE_FILE, PDF_FILE
from ml_core.reports.verify import intact
from ml_core.reports.verify.checks import Check
from ml_core.reports.verify.confined import print_confined
from ml_core.reports.verify.kept import Hashes
from tests.bundles import seal, write_bundle
from tests.evidence_samples import png

try:
    truncated = ImageFile.LOAD_TRUNCATED_IMAGES
    import weasyprint

    ImageFile.LOAD_TRUNCATED_IMAGES = truncated
except (ImportError, OSError, UserWarning):  # the latter two: no Pango, no fonts
    pytest.skip("needs WeasyPrint, Pango and fonts", allow_module_level=True)


def streams(made: bytes) -> list[bytes]:
    """Every stream of a PDF that is packed with zlib, unpacked."""
    found = []
    for raw in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", made, re.DOTALL):
        try:
            found.append(zlib.decompress(raw))
        except zlib.error:
            found.append(raw)
    return found


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("made") / "x.evidence", pdf=True)


def digests(bundle: Path) -> Hashes:
    return Hashes({
        name: hashlib.sha256((bundle / name).read_bytes()).hexdigest()
        for name in (PDF_FILE, EVIDENCE_FILE)
    })  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_confined_process_makes_the_same_of_a_bundle(bundle: Path) -> None:
    assert print_confined(bundle).digests == digests(bundle).digests


@pytest.mark.parametrize(
    ("forged", "here", "problem", "state"),
    [
        (False, False, None, "holds"),
        (True, True, None, "fails"),
        (True, False, None, "not checked"),
        (False, True, InputError("There is no PDF without Pango: x.", "unsupported"),
         "not checked"),
    ],
)  # fmt: skip
def test_a_pdf_is_made_again_and_compared(
    forged: bool, here: bool, problem: InputError | None, state: str, bundle: Path,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    made = digests(bundle)

    def printed_again(*_: object) -> Hashes:
        if problem is not None:
            raise problem
        return made

    monkeypatch.setattr(intact, "print_confined", printed_again)
    monkeypatch.setattr(intact, "is_this_machine", lambda fields: here)
    copy = Path(shutil.copytree(bundle, tmp_path / "x.evidence"))
    if forged:
        (copy / PDF_FILE).write_bytes(b"%PDF-1.7 whatever it says")
    with open_bundle(seal(copy)) as reader:
        events = list(intact.check_pdf(Bundle(reader), copy, lambda: False))
    (check,) = (event for event in events if isinstance(event, Check))
    assert check.state == state
    assert ("read report.html" in check.sentence) is (state != "holds")
    assert problem is None or "Pango" in check.sentence


def test_only_data_is_fetched(tmp_path: Path) -> None:
    (tmp_path / "own.png").write_bytes(png(1))
    (tmp_path / "secret.txt").write_text("a secret of this machine")
    inside = base64.b64encode(png(1)).decode()
    own, secret = ((tmp_path / name).as_uri() for name in ("own.png", "secret.txt"))

    def page(source: str) -> bytes:
        return (
            f'<html lang="en"><title>t</title><link rel="attachment" href="{secret}">'
            f'<img alt="x" src="{source}"></html>'
        ).encode()

    def holds(source: str, words: bytes) -> bool:
        made = render_pdf(page(source), b"{}")
        return any(words in part for part in (made, *streams(made)))

    assert holds(f"data:image/png;base64,{inside}", b"/Subtype /Image")
    assert not holds(own, b"/Subtype /Image")
    assert not holds(own, b"a secret of this machine")


@pytest.mark.parametrize(
    ("problem", "words"),
    [(ImportError("no module"), "package weasyprint"), (OSError("no library"), "without Pango")],
)
def test_what_is_missing_is_said_with_what_to_do_instead(monkeypatch, problem, words):
    real = builtins.__import__

    def missing(name: str, *rest: Any, **more: Any) -> Any:
        if name.partition(".")[0] == "weasyprint":
            raise problem
        return real(name, *rest, **more)

    monkeypatch.delitem(sys.modules, "weasyprint")
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(InputError, match=words) as caught:
        render_pdf(b"<html></html>", b"{}")
    assert "open report.html in a browser and print it there" in caught.value.sentence
    assert caught.value.code == "unsupported"
    monkeypatch.undo()
    monkeypatch.setattr(weasyprint, "__version__", "69.1")  # an old one
    with pytest.raises(InputError, match=r"weasyprint 69\.1"):
        render_pdf(b"<html></html>", b"{}")


def test_pictures_that_are_cut_off_stay_damaged_for_the_rest_of_the_program() -> None:
    code = (
        "from PIL import ImageFile\n"
        "from ml_core.reports.html.pdf import render_pdf\n"
        "render_pdf(b'<p>x</p>', b'{}')\n"
        "assert ImageFile.LOAD_TRUNCATED_IMAGES is False\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)

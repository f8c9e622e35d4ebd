"""``cleanclip sign``: sign a checkpoint or an evidence bundle; needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from ml_core.cli import output
from ml_core.cli.options import Options, argument, command, passphrase_of, text
from ml_core.cli.run import ctrl_c_cancels
from ml_core.events import Control
from ml_core.reading.errors import CancelledError
from ml_core.reading.inspect import locate


@command("path key out passphrase_file json")
def sign(
    options: Options,
    path: Annotated[
        Path, argument("A checkpoint's file or folder, or an evidence bundle (folder or zip).")
    ],
    key: Annotated[
        str,
        text("Your key by name or id, or a private key's .pem file (default: the only one)."),
    ] = "",
    out: Annotated[
        Path | None,
        text(
            "File for the signature (default: model.sig beside a file or in a folder; "
            "NAME.sig beside a file is found, too).",
            "--output",
            "-o",
        ),
    ] = None,
) -> None:
    """Sign files with your key: OpenSSF Model Signing 1.0, as the program model_signing reads it.

    A signature says who vouches for these bytes, and nothing about what is in them.

    Examples:

        cleanclip sign cleaned.safetensors

        cleanclip sign results.evidence --key "Ada, work"
    """
    from ml_core.signing import load_key, sign_path

    path = locate(path)
    control = Control()
    private = load_key(key, lambda name: passphrase_of(options.passphrase_file, name))
    try:
        with output.working(f"Signing {path.name}"), ctrl_c_cancels(control):
            place = sign_path(path, private, out, lambda: control.cancelled)
    except CancelledError:
        raise KeyboardInterrupt from None
    public = private.public
    if options.json:
        output.print_json({"signature": str(place), "key_id": public.key_id, "name": public.name})
        return
    output.line(f"Signed with {public.short} {public.name}".rstrip() + f": {place}")

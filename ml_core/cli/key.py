"""``cleanclip key``: keys to sign with, and keys to believe; needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.table import Table

from ml_core.cli import output
from ml_core.cli.options import NamedPath, Options, argument, command, group, passphrase_of
from ml_core.cli.run import watched
from ml_core.options import option
from ml_core.reading.errors import InputError
from ml_core.reading.inspect import locate

if TYPE_CHECKING:
    from ml_core.signing import PublicKey

app = group("key")
_KEY = argument("Name of the key, or the first digits of its id.")


@app.command("new")
@command("name passphrase passphrase_file json")
def new_command(
    options: Options,
    name: str = option("my key", help="What the key is called here."),
    passphrase: bool = option(False, help="Ask for a passphrase that locks the private key."),
) -> None:
    """Make a P-256 key pair. The private key stays in the configuration folder.

    Examples:

        cleanclip key new --name "Ada, work" --passphrase

        cleanclip key export "Ada, work" -o ada.pub
    """
    from ml_core.signing import keys

    secret = ""
    if passphrase or options.passphrase_file is not None:
        secret = passphrase_of(options.passphrase_file, "The new key", confirm=True)
    key = keys.new_key(name, secret)
    _warn(key)
    record = _record(key) | {"locked": bool(secret)}
    locked = "locked by your passphrase" if secret else "not locked: whoever has its file can sign"
    place = output.Aside(f"The private key is {keys.private_file(key)} ({locked}).")
    output.answer(options.json, record, f"{key.key_id}  {key.name}", place)


@app.command("list")
@command("json")
def list_command(options: Options) -> None:
    """List your own keys, and those that you trust."""
    from ml_core.signing import trusted_keys

    keys = trusted_keys()
    rows = ((key.name, "your own" if key.own else "trusted", key.key_id) for key in keys)
    columns = ("~Name", "~", "~Id (SHA-256 of the PEM)")
    part: Table | str = output.table("Keys", columns, rows, **output.LINES)
    if not keys:
        part = output.Aside(
            "There are no keys yet: cleanclip key new makes one, cleanclip key trust adds somebody "
            "else's."
        )
    output.answer(options.json, {"keys": [_record(key) for key in keys]}, part)


@app.command("trust")
@command("file name json")
def trust_command(
    options: Options,
    file: Path = argument("Somebody's public key, PEM."),
    name: str = option(..., help="Whose key it is, as shown beside what it signed."),
) -> None:
    """Believe signatures of somebody's key. Compare its id with its owner first.

    A key that came with a checkpoint proves nothing about who made either.

    Example:

        cleanclip key trust ada.pub --name "Ada Lovelace"
    """
    from ml_core.reading.errors import plain
    from ml_core.signing import keys

    key = keys.trust_key(keys.read_key_file(file), plain(file.name), name)
    _warn(key)
    shown = output.Aside(f"What this key signs is now shown as signed by {key.name}.")
    output.answer(options.json, _record(key), f"{key.key_id}  {key.name}", shown)


@app.command("export")
@command("key out json")
def export_command(
    options: Options,
    key: str = argument("Name or id (default: your only key).", ""),
    out: Path | None = option(None, help="File to write instead of printing.", flag="--output -o"),
) -> None:
    """Print the public key as PEM, to be given to others. Its SHA-256 is the key's id."""
    from ml_core.atomic import replace_files
    from ml_core.signing import find_key

    public = find_key(key, own=not key)
    if options.json:
        output.print_json(_record(public))
    elif out is None:
        output.show(output.cell("").append(public.pem.rstrip("\n")))
        return
    if out is None:
        return
    try:
        replace_files({out: public.pem.encode()})
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror}.") from error
    output.say(f"The public key {public.name} is in {out}.")


@app.command("forget")
@command("key yes json")
def forget_command(
    options: Options,
    key: str = _KEY,
    yes: bool = option(False, help="Delete an own key without asking."),
) -> None:
    """Trust a key no more. Of your own key the private half is deleted, for ever."""
    from ml_core.signing import find_key, forget_key

    public = find_key(key)
    if public.own and not yes:
        question = f"Delete your own key {public.name}? Nothing can be signed with it any more."
        typer.confirm(question, abort=True, err=True)
    forget_key(public)
    record = {"forgotten": _record(public)}
    output.answer(options.json, record, f"{public.name} is forgotten.")


def _warn(key: PublicKey) -> None:
    """Say so where its name looks like that of another key."""
    from ml_core.signing import caution_of_name

    caution = caution_of_name(key)
    if caution:
        output.say(f"Caution: {caution}")


def _record(key: PublicKey) -> dict[str, object]:
    return {"id": key.key_id, "name": key.name, "own": key.own, "pem": key.pem}


@command("path key out passphrase_file json")
def sign(
    options: Options,
    path: NamedPath = argument(
        "A checkpoint's file or folder, or an evidence bundle (folder or zip)."
    ),
    key: str = option(
        "", help="Your key by name or id, or a private key's .pem file (default: the only one)."
    ),
    out: Path | None = option(
        None,
        help="File for the signature (default: model.sig beside a file or in a folder; "
        "NAME.sig beside a file is found, too).",
        flag="--output -o",
    ),
) -> None:
    """A signature says who vouches for these bytes, and nothing about what is in them.

    Examples:

        cleanclip sign cleaned.safetensors

        cleanclip sign results.evidence --key "Ada, work"
    """
    from ml_core.signing import load_key, sign_path

    path = locate(path)
    private = load_key(key, lambda name: passphrase_of(options.passphrase_file, name))
    with watched(f"Signing {path.name}") as (_, cancelled):
        place = sign_path(path, private, out, cancelled)
    public = private.public
    record = {"signature": str(place), "key_id": public.key_id, "name": public.name}
    signer = f"{public.short} {public.name}".rstrip()
    output.answer(options.json, record, f"Signed with {signer}: {place}")

"""``cleanclip key``: keys to sign with, and keys to believe; needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ml_core.cli import output
from ml_core.cli.options import Options, command, passphrase_of, switch, text
from ml_core.reading.errors import InputError

if TYPE_CHECKING:
    from ml_core.signing import PublicKey

app = typer.Typer(
    name="key",
    help="Keys to sign checkpoints and evidence with, and keys of people whom you trust.",
    no_args_is_help=True,
)
Which = Annotated[str, typer.Argument(help="Name of the key, or the first digits of its id.")]


@app.command("new")
@command("name passphrase passphrase_file json")
def new_command(
    options: Options,
    name: Annotated[str, text("What the key is called here.")] = "my key",
    passphrase: Annotated[
        bool, switch("--passphrase", "Ask for a passphrase that locks the private key.")
    ] = False,
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
    if options.json:
        output.print_json(_record(key) | {"locked": bool(secret)})
        return
    output.line(f"{key.key_id}  {key.name}")
    locked = "locked by your passphrase" if secret else "not locked: its file is all one needs"
    output.say(f"The private key is {keys.private_file(key)} ({locked}).")


@app.command("list")
@command("json")
def list_command(options: Options) -> None:
    """List your own keys, and those that you trust."""
    from ml_core.signing import trusted_keys

    keys = trusted_keys()
    if options.json:
        output.print_json({"keys": [_record(key) for key in keys]})
        return
    if not keys:
        output.say("There are no keys yet: cleanclip key new makes one, key trust takes another's.")
        return
    rows = ((key.name, "your own" if key.own else "trusted", key.key_id) for key in keys)
    columns = ("~Name", "~", "~Id (SHA-256 of the PEM)")
    output.show(output.table("Keys", columns, rows, **output.LINES))


@app.command("trust")
@command("file name json")
def trust_command(
    options: Options,
    file: Annotated[Path, typer.Argument(help="Somebody's public key, PEM.")],
    name: Annotated[str, text("Whose key it is, as shown beside what it signed.")],
) -> None:
    """Believe signatures of somebody's key. Compare its id with its owner first.

    A key that came with a checkpoint proves nothing about who made either.

    Example:

        cleanclip key trust ada.pub --name "Ada Lovelace"
    """
    from ml_core.reading.plain import plain
    from ml_core.signing import keys

    key = keys.trust_key(keys.read_key_file(file), plain(file.name), name)
    _warn(key)
    if options.json:
        output.print_json(_record(key))
        return
    output.line(f"{key.key_id}  {key.name}")
    output.say(f"What this key signs is now shown as signed by {key.name}.")


@app.command("export")
@command("key out json")
def export_command(
    options: Options,
    key: Annotated[str, typer.Argument(help="Name or id; your only own key by default.")] = "",
    out: Annotated[
        Path | None, text("File to write instead of printing.", "--output", "-o")
    ] = None,
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
    key: Which,
    yes: Annotated[bool, switch("--yes", "Delete an own key without asking.")] = False,
) -> None:
    """Trust a key no more. Of your own key the private half is deleted, for ever."""
    from ml_core.signing import find_key, forget_key

    public = find_key(key)
    if public.own and not yes:
        question = f"Delete your own key {public.name}? Nothing can be signed with it any more."
        typer.confirm(question, abort=True, err=True)
    forget_key(public)
    if options.json:
        output.print_json({"forgotten": _record(public)})
        return
    output.line(f"{public.name} is forgotten.")


def _warn(key: PublicKey) -> None:
    """Say so where its name looks like that of another key."""
    from ml_core.signing import caution_of_name

    caution = caution_of_name(key)
    if caution:
        output.say(f"Caution: {caution}")


def _record(key: PublicKey) -> dict[str, object]:
    return {"id": key.key_id, "name": key.name, "own": key.own, "pem": key.pem}

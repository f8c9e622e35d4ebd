"""``cleanclip key``: keys to sign with, and keys to believe; needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ml_core.cli import output
from ml_core.cli.options import Json, PassphraseFile, passphrase_of
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
def new_command(
    name: Annotated[str, typer.Option(help="What the key is called here.")] = "my key",
    passphrase: Annotated[
        bool, typer.Option("--passphrase", help="Ask for a passphrase that locks the private key.")
    ] = False,
    passphrase_file: PassphraseFile = None,
    json: Json = False,
) -> None:
    """Make a P-256 key pair. The private key stays in the configuration folder.

    Examples:

        cleanclip key new --name "Ada, work" --passphrase

        cleanclip key export "Ada, work" -o ada.pub
    """
    from ml_core.signing import keys

    secret = ""
    if passphrase or passphrase_file is not None:
        secret = passphrase_of(passphrase_file, "The new key", confirm=True)
    made = keys.new_key(name, secret)
    _warn(made)
    if json:
        output.print_json(_record(made) | {"locked": bool(secret)})
        return
    output.show(output.cell(f"{made.key_id}  {made.name}"))
    locked = "locked by your passphrase" if secret else "not locked: its file is all one needs"
    output.say(f"The private key is {keys.private_file(made)} ({locked}).")


@app.command("list")
def list_command(json: Json = False) -> None:
    """List your own keys, and those that you trust."""
    from ml_core.signing import trusted_keys

    found = trusted_keys()
    if json:
        output.print_json({"keys": [_record(key) for key in found]})
        return
    if not found:
        output.say("There are no keys yet: cleanclip key new makes one, key trust takes another's.")
        return
    table = Table(title="Keys", title_justify="left")
    for title in ("Name", "", "Id (SHA-256 of the PEM)"):
        table.add_column(title, overflow="fold")
    for key in found:
        kind = "your own" if key.own else "trusted"
        table.add_row(output.cell(key.name), kind, key.key_id)
    output.show(table)


@app.command("trust")
def trust_command(
    file: Annotated[Path, typer.Argument(help="Somebody's public key, PEM.")],
    name: Annotated[str, typer.Option(help="Whose key it is, as shown beside what it signed.")],
    json: Json = False,
) -> None:
    """Believe signatures of somebody's key. Compare its id with its owner first.

    A key that came with a checkpoint proves nothing about who made either.

    Example:

        cleanclip key trust ada.pub --name "Ada Lovelace"
    """
    from ml_core.reading.plain import plain
    from ml_core.signing import keys

    made = keys.trust_key(keys.read_key_file(file), plain(file.name), name)
    _warn(made)
    if json:
        output.print_json(_record(made))
        return
    output.show(output.cell(f"{made.key_id}  {made.name}"))
    output.say(f"What this key signs is now shown as signed by {made.name}.")


@app.command("export")
def export_command(
    key: Annotated[str, typer.Argument(help="Name or id; your only own key by default.")] = "",
    out: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write instead of printing.")
    ] = None,
    json: Json = False,
) -> None:
    """Print the public key as PEM, to be given to others. Its SHA-256 is the key's id."""
    from ml_core.atomic import replace_files
    from ml_core.signing import find_key

    found = find_key(key, own=not key)
    if json:
        output.print_json(_record(found))
    elif out is None:
        output.show(output.cell("").append(found.pem.rstrip("\n")))
        return
    if out is None:
        return
    try:
        replace_files({out: found.pem.encode()})
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror}.") from error
    output.say(f"The public key {found.name} is in {out}.")


@app.command("forget")
def forget_command(
    key: Which,
    yes: Annotated[bool, typer.Option("--yes", help="Delete an own key without asking.")] = False,
    json: Json = False,
) -> None:
    """Trust a key no more. Of your own key the private half is deleted, for ever."""
    from ml_core.signing import find_key, forget_key

    found = find_key(key)
    if found.own and not yes:
        question = f"Delete your own key {found.name}? Nothing can be signed with it any more."
        typer.confirm(question, abort=True, err=True)
    forget_key(found)
    if json:
        output.print_json({"forgotten": _record(found)})
        return
    output.show(output.cell(f"{found.name} is forgotten."))


def _warn(key: PublicKey) -> None:
    """Say so where its name looks like that of another key."""
    from ml_core.signing import caution_of_name

    caution = caution_of_name(key)
    if caution:
        output.say(f"Caution: {caution}")


def _record(key: PublicKey) -> dict[str, object]:
    return {"id": key.key_id, "name": key.name, "own": key.own, "pem": key.pem}

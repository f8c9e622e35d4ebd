"""Signatures: what we sign, what others signed, and what a stranger may put in their place."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import stat
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from ml_core.cli.app import run_command
from ml_core.reading import InputError, inspect
from ml_core.reading.errors import CancelledError
from ml_core.signing import (
    PrivateKey,
    PublicKey,
    SignatureFacts,
    check_checkpoint,
    check_signature,
    find_key,
    forget_key,
    load_key,
    new_key,
    sign_files,
    sign_path,
    trust_key,
    trusted_keys,
)
from ml_core.signing.curve import new_private_key, read_private_key, read_public_key
from ml_core.signing.keys import KEYS_FILE, keys_dir, private_file
from ml_core.signing.manifest import (
    MAX_BYTES,
    MAX_FILES,
    Envelope,
    digests_of_folder,
    names_of_folder,
    pae,
    read_envelope,
    stored_members,
    write_envelope,
)
from tests.hostile.container_bytes import safetensors
from tests.hostile.doors import check_sentence

VECTORS: dict[str, Any] = json.loads(
    Path(__file__).with_name("model_signing_vectors.json").read_text()
)
DIGEST = hashlib.sha256(b"content").hexdigest()
CONFIG = {
    "model_cfg": {"embed_dim": 8,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
        "text_cfg": {"context_length": 16, "vocab_size": 100, "width": 8, "heads": 1, "layers": 1}},
}  # fmt: skip


@pytest.fixture(scope="module")
def ada() -> PrivateKey:
    return new_private_key("Ada")


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def signed(name: str) -> bytes:
    return json.dumps(VECTORS[name].get("signature", VECTORS[name])).encode()


def author() -> PublicKey:
    return read_public_key(VECTORS["public_key"].encode(), "author.pub", "Author")


def checkpoint(folder: Path, name: str = "model.safetensors") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(safetensors(bytes(8)))
    return path


def model_folder(place: Path) -> Path:
    checkpoint(place, "open_clip_model.safetensors")
    (place / "open_clip_config.json").write_text(json.dumps(CONFIG))
    (place / "README.md").write_text("hello")
    (place / "more").mkdir()
    (place / "more" / "notes.txt").write_text("x")
    return place


# What others signed


def test_what_model_signing_signed_is_accepted_and_what_we_sign_is_alike() -> None:
    one = VECTORS["one_file"]["content"]
    found = check_signature(signed("one_file"), "model.sig", {".": sha256(one)}, [author()])
    assert (found.state, found.who) == ("good", "Author")
    assert found.sentence == f"Signed by {author().key_id[:16]}…, whom you trust (Author)."
    files = {name: sha256(text) for name, text in VECTORS["folder"]["files"].items()}
    assert check_signature(signed("folder"), "model.sig", files, [author()]).state == "good"
    theirs = json.loads(base64.b64decode(VECTORS["folder"]["signature"]["dsseEnvelope"]["payload"]))
    raw = sign_files("model", files, new_private_key(), ["model.sig"])
    theirs["predicate"]["serialization"]["ignore_paths"] = ["model.sig"]
    ours = json.loads(read_envelope(raw, "x").payload)
    assert ours["predicate"].items() <= theirs["predicate"].items()
    del ours["predicate"]
    assert ours.items() <= theirs.items()


@pytest.mark.parametrize(
    ("name", "says"),
    [("shards", "signs pieces of files"), ("blake2", "uses the hash 'blake2"), ("p384", "P-256")],
)
def test_other_ways_to_sign_are_named(name: str, says: str) -> None:
    found = check_signature(signed(name), "model.sig", {".": sha256("one file")}, [author()])
    assert found.state == "unsupported"
    assert says in found.sentence


# What we sign


def test_a_file_is_signed_and_a_changed_one_does_not_fit(ada, tmp_path):
    path = checkpoint(tmp_path)
    assert sign_path(path, ada) == tmp_path / "model.sig"
    found = check_checkpoint(inspect(path), [ada.public])
    assert (found.state, found.own) == ("good", True)
    assert found.sentence == f"Signed by {ada.public.short}, your own key (Ada)."
    found = check_checkpoint(inspect(path))  # to a stranger
    assert (found.state, found.key_id) == ("unknown key", ada.public.key_id)
    assert not found.who
    assert found.sentence.startswith(f"Signed by {ada.public.short}, a key you do not know.")
    seen = inspect(path)
    path.write_bytes(safetensors(bytes(7) + b"\1"))
    assert check_checkpoint(seen, [ada.public]).state == "good"  # of what was inspected
    changed = inspect(path)
    checkpoint(tmp_path)
    for keys in ([ada.public], []):
        found = check_checkpoint(changed, keys)
        assert found.state == "bad"
    assert found.sentence == "The signature does not fit this file: it was made for other bytes."


def test_the_file_of_its_own_name_goes_first(ada: PrivateKey, tmp_path: Path) -> None:
    path, other = checkpoint(tmp_path), checkpoint(tmp_path, "other.safetensors")
    other.write_bytes(safetensors(b"\2" * 8))
    sign_path(path, ada)
    with pytest.raises(InputError, match=r"is the signature of 'model.safetensors' already"):
        sign_path(other, ada)
    assert check_checkpoint(inspect(other), [ada.public]).state == "bad"
    sign_path(other, ada, tmp_path / "other.safetensors.sig")
    found = check_checkpoint(inspect(other), [ada.public])
    assert (found.state, found.file) == ("good", "other.safetensors.sig")
    (tmp_path / "x.sig").write_bytes(b"mine")
    with pytest.raises(InputError, match="another file already"):
        sign_path(path, ada, tmp_path / "x.sig")
    with pytest.raises(InputError, match="its own signature"):
        sign_path(path, ada, path)
    sign_path(path, ada)  # its own is replaced


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: (f / "more" / "notes.txt").unlink(), "more/notes.txt is missing."),
        (lambda f: (f / "run.py").write_text("x"), "run.py is not signed."),
        (lambda f: (f / "open_clip_config.json").write_text("{}"), "config.json was changed."),
        (lambda f: (f / ".cache/huggingface/d").mkdir(parents=True), ""),
    ],
)  # fmt: skip
def test_a_folder_is_signed_whole(change, says, ada, tmp_path):
    folder = model_folder(tmp_path / "m")
    sign_path(folder, ada)
    with pytest.raises(CancelledError):
        check_checkpoint(inspect(folder), [], lambda: True)
    change(folder)
    found = check_checkpoint(inspect(folder), [ada.public])
    assert found.state == ("bad" if says else "good")
    assert found.sentence.endswith(says)


def test_what_the_signer_left_out_is_left_out_unless_it_is_read(ada, tmp_path):
    folder = model_folder(tmp_path / "m")
    for left, state in ((["more"], "good"), (["open_clip_model.safetensors"], "bad")):
        ignored = ["model.sig", *left]
        files = digests_of_folder(folder, names_of_folder(folder, ignored))
        (folder / "model.sig").write_bytes(sign_files("m", files, ada, ignored))
        found = check_checkpoint(inspect(folder), [ada.public])
        assert found.state == state, found.sentence


def test_links_are_not_signed_and_followed_only_inside(ada: PrivateKey, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "m")
    sign_path(folder, ada)
    (folder / "README.md").rename(tmp_path / "out.md")
    (folder / "README.md").symlink_to(tmp_path / "out.md")
    with pytest.raises(InputError, match=r"README.md is a link, which a signature does not cover"):
        sign_path(folder, ada)
    found = check_checkpoint(inspect(folder), [ada.public])
    assert found.state == "unsupported"
    assert "a link to a file outside the folder" in found.sentence
    (folder / "model.sig").rename(tmp_path / "out.sig")
    (folder / "model.sig").symlink_to(tmp_path / "out.sig")
    found = check_checkpoint(inspect(folder), [ada.public])
    assert found.state == "damaged"
    assert "a link to a file outside" in found.sentence


# Evidence bundles


def bundle(place: Path) -> Path:
    (place / "charts").mkdir(parents=True)
    (place / "evidence.json").write_text("{}")
    (place / "charts" / "a.svg").write_text("<svg/>")
    return place


def test_a_bundle_is_signed_as_folder_and_as_zip(ada: PrivateKey, tmp_path: Path) -> None:
    folder = bundle(tmp_path / "r.evidence")
    assert sign_path(folder, ada) == folder / "evidence.sig"
    names = names_of_folder(folder, ["evidence.sig"])
    digests = digests_of_folder(folder, names)
    raw = (folder / "evidence.sig").read_bytes()
    found = check_signature(raw, "evidence.sig", digests, [ada.public], what="this bundle")
    assert found.state == "good"
    found = check_signature(
        raw, "evidence.sig", digests | {"more": DIGEST}, [ada.public], what="this bundle"
    )
    assert found.sentence == "The signature does not fit this bundle: more is not signed."
    sign_path(folder, ada)  # again, the old one is no part of it

    packed = tmp_path / "r.evidence.zip"
    with zipfile.ZipFile(packed, "w") as made:
        for name in ("charts/a.svg", "evidence.json"):
            made.write(folder / name, name)
    for _ in range(2):
        assert sign_path(packed, ada) == packed
        with zipfile.ZipFile(packed) as made:
            assert made.namelist() == ["charts/a.svg", "evidence.json", "evidence.sig"]
            assert {entry.date_time for entry in made.infolist()} == {(1980, 1, 1, 0, 0, 0)}
            raw = made.read("evidence.sig")
        found = check_signature(raw, "evidence.sig", digests, [ada.public])
        assert found.state == "good"
    with packed.open("rb") as file:
        assert len(stored_members(file, packed.stat().st_size, "x")) == 3
    with pytest.raises(InputError, match="holds its own signature"):
        sign_path(packed, ada, tmp_path / "x.sig")


def test_a_zip_that_packs_or_lies_is_not_signed(ada: PrivateKey, tmp_path: Path) -> None:
    path = tmp_path / "r.evidence.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("evidence.json", "{}" * 100)
    before = path.read_bytes()
    with pytest.raises(InputError, match="packs its member"):
        sign_path(path, ada)
    path.write_bytes(b"more" + before)
    with pytest.raises(InputError, match="is a damaged zip"):
        sign_path(path, ada)
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("a/evidence.json", "{}")
        made.writestr("b/x", "{}")
    with pytest.raises(InputError, match="more than one folder"):
        sign_path(path, ada)


# What a stranger may put in a signature's place


def listing(*names: str, **changes: Any) -> dict[str, Any]:
    resource = {"algorithm": "sha256", "digest": DIGEST} | changes
    root = hashlib.sha256(bytes.fromhex(DIGEST) * len(names)).hexdigest()
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "m", "digest": {"sha256": root}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False},
            "resources": [{"name": name} | resource for name in names]},
    }  # fmt: skip


def statement(**changes: Any) -> dict[str, Any]:
    return listing("a") | changes


def seal(payload: bytes | dict[str, Any], key: PrivateKey) -> bytes:
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return write_envelope(Envelope(raw, key.sign(pae(raw)), key.public.key_id))


def verdict(raw: bytes, key: PrivateKey) -> SignatureFacts:
    found = check_signature(raw, "model.sig", {"a": DIGEST}, [key.public])
    check_sentence(InputError(found.sentence))
    return found


@pytest.mark.parametrize(
    ("payload", "state", "says"),
    [
        (statement(), "good", "Signed by"),
        (b'{"a": 1, "a": 2}', "damaged", "occurs twice"),
        (b'{"a": "' + b"x" * (9 << 20) + b'"}', "damaged", "too large"),
        ({}, "damaged", "it does not say so"),
        (statement(predicateType="https://slsa.dev/provenance/v1"), "damaged", "slsa.dev"),
        (statement(subject=[]), "damaged", "subject"),
        (listing("a", "a"), "damaged", "names a twice"),
        (listing("../a"), "damaged", "leads out of the model's folder"),
        (listing("b\\..\\a"), "damaged", "leads out of the model's folder"),
        (listing("a", "."), "damaged", "one file and of a folder at once"),
        (listing("a", digest="ab"), "damaged", "another length"),
        (listing("a", algorithm="sha1"), "unsupported", "'sha1'"),
        (listing("a") | {"subject": listing("a", "b")["subject"]}, "damaged", "contradicts itself"),
        (listing("."), "bad", "it is one of a single file"),
        (listing("b"), "bad", "b is missing"),
    ],
)
def test_what_a_trusted_key_may_have_signed(payload, state, says, ada):
    found = verdict(seal(payload, ada), ada)
    assert (found.state, says in found.sentence) == (state, True), found


def changed(ada: PrivateKey, **changes: Any) -> dict[str, Any]:
    return dict(json.loads(seal(statement(), ada)), **changes)


def with_dsse(ada: PrivateKey, **changes: Any) -> dict[str, Any]:
    made = changed(ada)
    made["dsseEnvelope"].update(changes)
    return made


def with_signature(ada: PrivateKey, sig: str) -> dict[str, Any]:
    return with_dsse(ada, signatures=[{"sig": sig}])


def in_base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


@pytest.mark.parametrize(
    ("make", "state", "says"),
    [
        (lambda k: changed(k, mediaType="application/json"), "damaged", "no signature in a Sig"),
        (lambda k: changed(k, verificationMaterial=None), "damaged", "what it was signed with"),
        (lambda k: changed(k, verificationMaterial={}), "damaged", "names no key"),
        (lambda k: changed(k, verificationMaterial={"certificate": {"rawBytes": "AA=="}}),
         "unsupported", "signed with a certificate"),
        (lambda k: changed(k, verificationMaterial={"publicKey": {"hint": "e845"}}),
         "damaged", "something else than its SHA-256"),
        (lambda k: changed(k, verificationMaterial={"publicKey": {}}), "good", "Signed by"),
        (lambda k: with_dsse(k, payloadType="text/plain"), "damaged", "signs 'text/plain'"),
        (lambda k: with_dsse(k, signatures=[]), "damaged", "holds no signature"),
        (lambda k: with_dsse(k, signatures=None), "damaged", "signatures should be a valid list"),
        (lambda k: with_dsse(k, payload="e30"), "damaged", "no proper base64"),
        (lambda k: with_dsse(k, payload="e30="), "bad", "The signature does not hold"),
        (lambda k: with_signature(k, ""), "damaged", "an empty signature"),
        (lambda k: with_signature(k, in_base64(b"x" * 200)), "unsupported", "P-256"),
        (lambda k: with_signature(k, in_base64(encode_dss_signature(1, 1))),
         "bad", "does not hold"),
        (lambda k: {x: y for x, y in changed(k).items() if x != "dsseEnvelope"},
         "damaged", "no list of files"),
    ],
)  # fmt: skip
def test_changed_envelopes(make, state, says, ada):
    found = verdict(json.dumps(make(ada)).encode(), ada)
    assert (found.state, says in found.sentence) == (state, True), found


def test_one_key_cannot_speak_for_another(ada: PrivateKey) -> None:
    """The hint is anybody's word: the named key decides, and a wrong name is no other's merit."""
    eve = new_private_key("Eve")
    payload = write_envelope(read_envelope(seal(statement(), eve), "x"))
    forged = payload.replace(eve.public.key_id.encode(), ada.public.key_id.encode())
    found = check_signature(forged, "model.sig", {"a": DIGEST}, [ada.public, eve.public])
    assert found.state == "bad"
    assert "which did not sign what is in it" in found.sentence
    found = check_signature(forged, "model.sig", {"a": DIGEST}, [eve.public])
    assert found.state == "unknown key"


def test_every_changed_byte_is_noticed(ada: PrivateKey) -> None:
    raw = seal(statement(), ada)
    start = raw.index(b'"payload"')
    for place in range(start, len(raw), 11):
        other = bytearray(raw)
        other[place] ^= 1
        assert verdict(bytes(other), ada).state != "good" or bytes(other).split() == raw.split()


def test_a_huge_file_is_not_read(ada: PrivateKey, tmp_path: Path) -> None:
    path = checkpoint(tmp_path)
    with (tmp_path / "model.sig").open("wb") as file:
        file.truncate(1 << 40)
    found = check_checkpoint(inspect(path), [ada.public])
    assert "too large (over 12 MB)" in found.sentence
    found = check_signature(b"{" + b" " * MAX_BYTES + b"}", "model.sig", {}, [])
    assert "too large" in found.sentence


def test_what_no_verifier_should_take_is_not_signed(ada: PrivateKey) -> None:
    for name in ("../a", "a\\b", "a\nb"):
        with pytest.raises(InputError, match="verifiers refuse"):
            sign_files("m", {name: DIGEST}, ada)
    with pytest.raises(InputError, match="no file to sign"):
        sign_files("m", {}, ada)
    with pytest.raises(InputError, match="more than 20000"):
        sign_files("m", {str(n): DIGEST for n in range(MAX_FILES + 1)}, ada)


# Keys


def test_a_private_key_is_its_owners_and_a_passphrase_locks_it() -> None:
    made = new_key("Ada")
    path = private_file(made)
    for name in ("ada", made.key_id[:8], ""):
        assert load_key(name).public == made
    assert load_key(str(path)).public.key_id == made.key_id
    assert "secret" not in repr(load_key())
    if os.name == "posix":
        for place, mode in ((path, 0o600), (keys_dir(), 0o700), (keys_dir() / KEYS_FILE, 0o600)):
            assert stat.S_IMODE(place.stat().st_mode) == mode
        path.chmod(0o640)
        with pytest.raises(InputError, match="may be read by others"):
            load_key()
    made = new_key("Eve", "hunter2")
    assert b"ENCRYPTED" in private_file(made).read_bytes()
    with pytest.raises(InputError, match="is locked: give its passphrase"):
        load_key("Eve")
    with pytest.raises(InputError, match="the passphrase is another one"):
        load_key("Eve", passphrase=lambda name: "hunter3")
    assert load_key("Eve", passphrase=lambda name: "hunter2").public == made


def test_keys_are_chosen_by_name() -> None:
    with pytest.raises(InputError, match="You have no key yet"):
        load_key()
    ada, eve = new_key("Ada"), new_key("Eve")
    assert ada.key_id != eve.key_id
    with pytest.raises(InputError, match="choose one with --key: Ada"):
        load_key()
    with pytest.raises(InputError, match="no key 'Bob'"):
        find_key("Bob")
    with pytest.raises(InputError, match="called 'ADA' already"):
        new_key("ADA")
    for name in ("", " ", "a\u202eb", "x" * 101):
        with pytest.raises(InputError, match="needs a name"):
            new_key(name)
    assert [key.name for key in trusted_keys()] == ["Ada", "Eve"]
    assert len(list(keys_dir().glob("*.pem"))) == 2
    forget_key(ada)
    assert not private_file(ada).exists()
    assert [key.name for key in trusted_keys()] == ["Eve"]


def test_a_name_that_looks_like_another_is_told(tmp_path, capsys):
    ada = new_key("Ada")
    (tmp_path / "x.pub").write_text(VECTORS["public_key"])
    name = "\N{CYRILLIC CAPITAL LETTER A}d\N{LATIN SMALL LETTER A WITH ACUTE}"
    for given, alike in ((name, True), ("Ida", False)):
        assert run_command(["key", "trust", str(tmp_path / "x.pub"), "--name", given]) == 0
        told = capsys.readouterr().err
        assert (f"looks like 'Ada', the name of your own key {ada.short}" in told) is alike
        forget_key(find_key(given))


def test_somebodys_key_is_trusted_once() -> None:
    public = VECTORS["public_key"].encode()
    made = trust_key(b"\n" + public, "a.pub", "Author")
    assert made.key_id == hashlib.sha256(public).hexdigest()
    assert not made.own
    with pytest.raises(InputError, match="trusted already, as the key of 'Author'"):
        trust_key(public, "a.pub", "Other")
    with pytest.raises(InputError, match="You have no key yet"):
        load_key("Author")
    own = new_key("Ada")
    with pytest.raises(InputError, match="your own key 'Ada'"):
        trust_key(own.pem.encode(), "a.pub", "Eve")


def public_pem(key: Any) -> bytes:
    form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(*form)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: b"", "no public key in PEM form"),
        (lambda: b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "can be read"),
        (lambda: b"-----BEGIN CERTIFICATE-----\n", "is a certificate"),
        (lambda: new_private_key().to_pem(), "nobody should hand out"),
        (lambda: VECTORS["p384_public_key"].encode(), "on the curve secp384r1; only P-256"),
        (lambda: VECTORS["public_key"].encode() * 2, "holds 2 keys"),
        (lambda: public_pem(rsa.generate_private_key(65537, 2048)), "of another kind than P-256"),
    ],
)
def test_other_keys_are_not_trusted(make: Callable[[], bytes], says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        trust_key(make(), "a.pub", "Author")
    check_sentence(caught.value)
    assert trusted_keys() == ()


def test_other_private_keys_do_not_sign() -> None:
    how = serialization
    form = how.Encoding.PEM, how.PrivateFormat.PKCS8, how.NoEncryption()
    p384, of_rsa = ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)
    for raw, says in (
        (p384.private_bytes(*form), "only P-256"), (of_rsa.private_bytes(*form), "of another kind"),
        (b"junk", "no private key in PEM form"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=says):
            read_private_key(raw, "k.pem")


def test_without_the_library_a_sentence_says_what_to_install(ada, tmp_path, monkeypatch):
    path = checkpoint(tmp_path)
    sign_path(path, ada)
    for name in [name for name in sys.modules if name.startswith("cryptography")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(InputError, match=r"pip install 'cleanclip-gui\[sign\]'"):
        new_key("Ada")
    found = check_checkpoint(inspect(path), [ada.public])
    assert found.state == "unsupported"
    assert "pip install" in found.sentence
    found = check_checkpoint(inspect(path), [])  # nothing to compute where no key is known
    assert found.state == "unknown key"


# The command line


def test_keys_and_signatures_at_the_command_line(tmp_path, capsys, monkeypatch):
    path = checkpoint(tmp_path / "c")
    assert run_command(["key", "new", "--name", "Ada", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert run_command(["key", "export", "-o", str(tmp_path / "ada.pub")]) == 0
    assert run_command(["key", "export"]) == 0
    assert capsys.readouterr().out == (tmp_path / "ada.pub").read_text() == made["pem"]
    assert run_command(["sign", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {
        "signature": str(path.parent / "model.sig"), "key_id": made["id"], "name": "Ada",
    }  # fmt: skip
    monkeypatch.setenv("CLEANCLIP_HOME", str(tmp_path / "elsewhere"))
    assert run_command(["inspect", str(path)]) == 2
    assert "a key you do not know" in " ".join(capsys.readouterr().out.split())
    assert run_command(["key", "trust", str(tmp_path / "ada.pub"), "--name", "Ada L."]) == 0
    capsys.readouterr()
    assert run_command(["inspect", str(path), "--json"]) == 2
    told = json.loads(capsys.readouterr().out)["signature"]
    assert (told["state"], told["who"], told["key_id"]) == ("good", "Ada L.", made["id"])
    assert run_command(["key", "list"]) == 0
    assert "Ada L." in capsys.readouterr().out
    assert run_command(["key", "forget", made["id"][:12]]) == 0
    assert trusted_keys() == ()
    (path.parent / "model.sig").unlink()
    capsys.readouterr()
    assert run_command(["inspect", str(path), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["signature"] is None


@pytest.mark.parametrize(
    ("signature", "key", "code", "says"),
    [
        ("whole", "ada.pub", 0, ""),
        ("whole", "Eve", 1, "is not signed with the key Eve: Signed by"),
        ("whole", "Bob", 3, "no key 'Bob'"), ("none", None, 0, ""),
        ("none", "Ada", 1, "is not signed with the key Ada: It has no signature."),
        ("of another file", None, 1, ""), ("of another file", "Ada", 1, "made for other bytes"),
    ],
)  # fmt: skip
def test_a_signature_that_does_not_hold_is_an_exit_code(
    signature, key, code, says, tiny_checkpoint, monkeypatch, capsys
):
    monkeypatch.chdir(tiny_checkpoint.parent)
    Path("ada.pub").write_text(new_key("Ada").pem)
    Path("other").write_bytes(b"other")
    new_key("Eve")
    sign_path(Path("other") if signature == "of another file" else tiny_checkpoint, load_key("Ada"))
    if signature == "none":
        Path("model.sig").unlink()
    options = [] if key is None else ["--require-signature", key]
    assert run_command(["inspect", str(tiny_checkpoint), "--json", *options]) == code
    told = capsys.readouterr()
    assert says in told.err
    assert code == 3 or json.loads(told.out)["sha256"]


@pytest.mark.skipif(os.name != "posix", reason="needs names of any bytes")
def test_a_name_that_is_no_text_is_not_signed(tmp_path, capsys):
    new_key("Ada")
    path = checkpoint(tmp_path / "c", os.fsdecode(b"model-\xff.safetensors"))
    for named in (path, path.parent):
        assert run_command(["sign", str(named)]) == 3
        assert "\\udcff.safetensors' is no UTF-8 text; rename it." in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.sig"))


def test_passphrases_at_the_command_line(tmp_path, capsys, monkeypatch):
    path = checkpoint(tmp_path)
    (tmp_path / "pass").write_bytes(b" hunter 2 \r\nmore\n")
    secret = str(tmp_path / "pass")
    assert run_command(["key", "new", "--name", "Ada", "--passphrase-file", secret]) == 0
    capsys.readouterr()
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert run_command(["sign", str(path)]) == 3
    assert "nobody can be asked" in capsys.readouterr().err
    assert run_command(["sign", str(path), "--passphrase-file", secret]) == 0
    monkeypatch.setenv("CLEANCLIP_PASSPHRASE", " hunter 2 ")
    assert run_command(["sign", str(path)]) == 0
    assert run_command(["key", "forget", "Ada", "--yes"]) == 0
    monkeypatch.setenv("CLEANCLIP_PASSPHRASE", "")
    assert run_command(["key", "new", "--passphrase"]) == 3
    assert "The passphrase is empty" in capsys.readouterr().err

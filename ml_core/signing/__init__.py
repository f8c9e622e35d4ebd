"""Signatures of checkpoints and evidence bundles: OpenSSF Model Signing 1.0 with P-256 keys."""

from ml_core.signing.check import (
    MODEL_SIGNATURE,
    SignatureFacts,
    check_checkpoint,
    check_signature,
    find_signature,
    read_signature,
)
from ml_core.signing.curve import PrivateKey, PublicKey, read_public_key
from ml_core.signing.keys import (
    caution_of_name,
    find_key,
    forget_key,
    key_to_believe,
    load_key,
    new_key,
    trust_key,
    trusted_keys,
)
from ml_core.signing.sign import EVIDENCE_SIGNATURE, sign_files, sign_path

__all__ = [
    "EVIDENCE_SIGNATURE", "MODEL_SIGNATURE", "PrivateKey", "PublicKey", "SignatureFacts",
    "caution_of_name", "check_checkpoint", "check_signature", "find_key", "find_signature",
    "forget_key", "key_to_believe", "load_key", "new_key", "read_public_key", "read_signature",
    "sign_files", "sign_path", "trust_key", "trusted_keys",
]  # fmt: skip

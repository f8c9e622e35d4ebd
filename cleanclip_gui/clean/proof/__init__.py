"""Proofs of a result: rebound test and hold-outs."""

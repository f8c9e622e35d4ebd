"""A session: the folder of an evidence bundle while it grows, and what only its machine needs.

`session.json` names what is open and where it lies on this machine; `evidence.json` is the record
of a bundle, as far as things are known. Nothing here imports torch.
"""

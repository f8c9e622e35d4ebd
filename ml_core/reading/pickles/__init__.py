"""Pickles as data: a stack machine that makes inert records and calls nothing."""

"""Readers of pictures with labels, captions or neither: files, tables, arrays, shards, Parquet."""

"""Image-caption pairs where they lie: tables, folders, COCO, shards, Parquet."""

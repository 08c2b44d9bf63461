"""Records in shards: tar files in WebDataset's layout and an index of them in Parquet."""

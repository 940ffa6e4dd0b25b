"""Running a stage over shards: what is to be done (`plan`), one shard (`shard`), batches
(`batches`), and what is said meanwhile (`report`). `socialcli.pipeline.engines` decide where."""

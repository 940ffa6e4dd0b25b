"""Running a stage over shards: what is to be done (`plan`), one shard (`shard`), batches
(`batches`), and what is said meanwhile (`report`). Engines in `socialcli.engines` decide where."""

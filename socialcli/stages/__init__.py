"""Stages: one file per subcommand that reads shards and adds members to their samples.

A stage inherits `socialcli.pipeline.stage.Stage`, which says what it has.
"""

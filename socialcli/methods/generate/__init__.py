"""Methods of `socialcli generate`."""

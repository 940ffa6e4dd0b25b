"""Methods of `socialcli train`."""

"""Methods of `socialcli invert`."""

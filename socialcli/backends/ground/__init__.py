"""Grounders: a picture and phrases in, boxes out (`socialcli.backends.roles.Grounder`)."""

"""Segmenters: a picture and boxes in, masks out (`socialcli.backends.roles.Segmenter`)."""

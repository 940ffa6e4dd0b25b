"""socialcli: personalized image generation in social context, from the command line."""

__version__ = "0.1.0"

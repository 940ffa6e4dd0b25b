"""One part of each kind, as a start for your own."""

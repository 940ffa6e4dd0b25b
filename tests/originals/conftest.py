"""These tests run in an environment of their own (`make test-originals`), and from this folder."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
for place in (HERE, HERE.parent, HERE.parent.parent):
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))

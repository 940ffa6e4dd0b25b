"""Other files' contents as sections of the page: pictures, and Markdown with its tables."""

from __future__ import annotations

import base64
import re
from html import escape
from typing import TYPE_CHECKING

from socialcli.reports.overlay import told

if TYPE_CHECKING:
    from PIL.Image import Image

TEXTS = (".md",)
PICTURES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}
MOST_BYTES = 250_000  # of a picture that is shown as it is; larger ones would make the page heavy
MOST_SIDE = 1600


def section(name: str, suffix: str, data: bytes) -> str:
    """A heading and what the file holds, nothing of it able to run or to load anything.

    Args:
        suffix: lower case, one of `TEXTS` or `PICTURES`.

    Raises:
        ValueError: the data is no picture, or no UTF-8.
    """
    heading = f'<h2 id="{escape(anchor(name))}">{told(name)}</h2>\n'
    if suffix in PICTURES:
        import io

        import PIL.Image

        kind = PICTURES[suffix]
        try:
            with PIL.Image.open(io.BytesIO(data)) as image:
                width, height = image.size
                if len(data) > MOST_BYTES:
                    kind, data = "image/jpeg", _lighter(image)
        except (PIL.UnidentifiedImageError, OSError) as error:
            raise ValueError(str(error)) from None
        coded = base64.b64encode(data).decode("ascii")
        return (
            f'{heading}<p class="shown" tabindex="0"><img alt="{told(name)}" '
            f'width="{width}" height="{height}" src="data:{kind};base64,{coded}"></p>\n'
        )
    from markdown_it import MarkdownIt

    # Raw HTML stays text; pictures and links would lead out of the page, which may not load any.
    reader = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["image", "link"])
    table = reader.render(data.decode("utf-8"))
    table = re.sub(r"<th([^>]*)></th>", r"<td\1></td>", table)  # a heading without words is none
    return f'{heading}<div class="shown" tabindex="0">{table}</div>\n'


def _lighter(image: Image) -> bytes:
    """A large picture as a JPEG of at most `MOST_SIDE` pixels a side."""
    import io

    out = io.BytesIO()
    small = image.convert("RGB")
    small.thumbnail((MOST_SIDE, MOST_SIDE))
    small.save(out, "JPEG", quality=85, optimize=True)
    return out.getvalue()


def anchor(name: str) -> str:
    """The fragment that leads to a section."""
    return "shown-" + "".join(c if c.isalnum() else "-" for c in name.lower())

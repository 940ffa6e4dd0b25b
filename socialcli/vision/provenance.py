"""What a generated picture says of itself, in its PNG's metadata.

An XMP packet with IPTC's digital source type, which search engines, platforms and picture editors
read, and IPTC's 2025.1 properties for generated pictures; ``parameters`` in the form that tools
for Stable Diffusion write and read; and ``generated.json`` itself under ``socialcli``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from socialcli import __version__, records

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.PngImagePlugin import PngInfo

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
XMP = "XML:com.adobe.xmp"  # the keyword PNG readers look for


def png(image: Image, record: records.Generated, marked: bool) -> bytes:
    """The picture as PNG.

    Args:
        marked: whether it says what it is.
    """
    import io

    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    if marked:
        info.add_itxt(XMP, packet(record))
        info.add_text("Software", f"socialcli {__version__}")
        info.add_itxt("parameters", parameters(record))
        info.add_itxt("socialcli", records.dump(record).decode())
    out = io.BytesIO()
    image.save(out, "PNG", pnginfo=info)
    return out.getvalue()


def of_sheet(shown: list[tuple[str, records.Generated]]) -> PngInfo:
    """What a sheet of pictures says of itself: what the generated ones among them would.

    Args:
        shown: key and record of the generated pictures on it, in order; may be empty.
    """
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Software", f"socialcli {__version__}")
    if shown:
        info.add_itxt(XMP, packet(shown[0][1]))
        facts = [{"key": key, **json.loads(records.dump(record))} for key, record in shown]
        info.add_itxt("socialcli", json.dumps(facts, ensure_ascii=False), zip=True)
    return info


def packet(record: records.Generated) -> str:
    """The XMP packet, one property a line."""
    prompts = record.prompt + (f"; not: {record.negative}" if record.negative else "")
    properties = {
        "Iptc4xmpExt:DigitalSourceType": SOURCE_TYPE,
        "Iptc4xmpExt:AISystemUsed": record.model.model or record.model.backend,
        "Iptc4xmpExt:AISystemVersionUsed": record.model.revision or "",
        "Iptc4xmpExt:AIPromptInformation": prompts,
        "xmp:CreatorTool": f"socialcli {__version__}",
    }
    lines = [f"   <{k}>{escape(_clean(v))}</{k}>" for k, v in properties.items() if v]
    return "\n".join(
        (
            '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>',
            '<x:xmpmeta xmlns:x="adobe:ns:meta/">',
            ' <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">',
            '  <rdf:Description rdf:about=""',
            '    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"',
            '    xmlns:xmp="http://ns.adobe.com/xap/1.0/">',
            *lines,
            "  </rdf:Description>",
            " </rdf:RDF>",
            "</x:xmpmeta>",
            '<?xpacket end="r"?>',
        )
    )


def parameters(record: records.Generated) -> str:
    """Prompt, negative prompt, and one line of settings."""
    width, height = record.size
    settings = {
        "Steps": str(record.steps),
        "Sampler": record.scheduler.removesuffix("Scheduler"),
        "CFG scale": f"{record.guidance:g}",
        "Seed": str(record.seed),
        "Size": f"{width}x{height}",
        "Model": _quoted(record.model.model or record.model.backend),
        "Method": record.method,
        "Version": f"socialcli {__version__}",
    }
    lines = [record.prompt]
    if record.negative:
        lines.append(f"Negative prompt: {record.negative}")
    lines.append(", ".join(f"{name}: {value}" for name, value in settings.items()))
    return "\n".join(lines)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False) if "," in text or ":" in text else text


def _clean(text: str) -> str:
    """Without the control characters that XML cannot hold."""
    return "".join(c for c in text if c.isprintable() or c in "\n\t")

"""Pictures of every kind and every kind of bad picture through `socialcli.vision.images`."""

from __future__ import annotations

import contextlib
import io
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy
import pace
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, PngImagePlugin

from socialcli.errors import SampleFailed
from socialcli.vision import images

pytestmark = pytest.mark.filterwarnings("ignore")


def gradient(width: int = 24, height: int = 16) -> Image.Image:
    y, x = numpy.mgrid[0:height, 0:width]
    pixels = numpy.stack([x * 10, y * 15, x * 0 + 90], axis=-1)
    return Image.fromarray(pixels.astype(numpy.uint8))


def encoded(picture: Image.Image, format: str, **options) -> bytes:
    out = io.BytesIO()
    picture.save(out, format, **options)
    return out.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 2) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IEND", b"")


def exif(orientation: int) -> bytes:
    block = Image.Exif()
    block[0x0112] = orientation
    return block.tobytes()


def reason(data: bytes, function=images.decode) -> str:
    with pytest.raises(SampleFailed) as caught:
        function(data)
    message = str(caught.value)
    assert message and "\n" not in message
    return message


# Pictures that are good


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF"])
def test_every_format_in_a_fresh_process(format):
    """The first picture a process sees may be of any format; no reader is loaded yet then."""
    data = encoded(gradient(), format)
    code = (
        "import sys; from socialcli.vision import images; d = sys.stdin.buffer.read();"
        "f = images.facts(d); p = images.decode(d); print(f.format, f.width, f.height, p.mode)"
    )
    done = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=True)
    assert done.stdout.decode().split() == [format, "24", "16", "RGB"]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_orientation_is_applied_once_in_every_format(format, orientation):
    upright = gradient()
    # What a camera stores: the picture turned so that applying the orientation turns it back.
    back = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    stored = upright if back is None else upright.transpose(Image.Transpose(back))
    lossless = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}
    data = encoded(stored, format, exif=exif(orientation), **lossless.get(format, {}))
    facts = images.facts(data)
    assert (facts.width, facts.height, facts.orientation) == (24, 16, orientation)
    assert facts.stored_size == stored.size
    decoded = images.decode(data)
    assert decoded.size == (24, 16)
    error = numpy.abs(numpy.asarray(decoded, float) - numpy.asarray(upright, float))
    assert error.mean() < 4  # a wrong turn is off by 60 and more


def test_our_turning_agrees_with_pillows():
    for orientation in range(1, 9):
        data = encoded(gradient(), "PNG", exif=exif(orientation))
        expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        assert numpy.array_equal(numpy.asarray(images.decode(data)), numpy.asarray(expected))


def test_facts_of_a_png_decode_no_pixels():
    data = png(8000, 8000, chunk(b"IDAT", b"not zlib at all"), chunk(b"eXIf", exif(6)[6:]))
    assert images.facts(data).orientation == 6  # the chunk may follow the pixels
    assert "cannot be decoded" in reason(data)


def test_a_broken_or_odd_exif_block_means_upright():
    assert images.facts(encoded(gradient(), "JPEG", exif=exif(9))).orientation == 1
    broken = b"Exif\0\0MM\0*\0\0\0\x08" + b"\xff" * 60
    assert images.facts(encoded(gradient(), "JPEG", exif=broken)).orientation == 1
    huge = Image.Exif()
    huge[0x010E] = "x" * 60_000
    huge[0x0112] = 3
    assert images.facts(encoded(gradient(), "JPEG", exif=huge.tobytes())).orientation == 3


def test_cmyk_as_adobe_writes_it():
    red = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    data = encoded(red, "JPEG", quality=95)  # Pillow writes inverted values, as Photoshop does
    assert b"Adobe" in data
    pixel = numpy.asarray(images.decode(data))[4, 4]
    assert pixel[0] > 240
    assert pixel[1:].max() < 15


def test_16_bit_grey_keeps_its_full_range():
    values = numpy.array([[0, 256, 32768, 65535]], dtype=numpy.uint16)
    data = encoded(Image.fromarray(values), "PNG")
    assert numpy.asarray(images.decode(data))[0, :, 0].tolist() == [0, 1, 128, 255]
    dark = encoded(Image.fromarray(values // 300), "PNG")  # at most 218 of 65535: black
    assert numpy.asarray(images.decode(dark)).max() == 1


def test_16_bit_rgb():
    rows = b"".join(b"\0" + struct.pack(">6H", 0, 32768, 65535, 65535, 0, 257) for _ in range(2))
    data = png(2, 2, chunk(b"IDAT", zlib.compress(rows)), depth=16)
    pixels = numpy.asarray(images.decode(data))
    assert pixels[1].tolist() == [[0, 128, 255], [255, 0, 1]]


def test_float_and_32_bit_tiff():
    scene = numpy.array([[0.0, 0.5, 1.0, float("nan")]], dtype=numpy.float32)
    pixels = numpy.asarray(images.decode(encoded(Image.fromarray(scene), "TIFF")))
    assert pixels[0, :, 1].tolist() == [0, 128, 255, 0]
    deep = Image.fromarray(numpy.array([[0, 65535]], dtype=numpy.int32))
    assert numpy.asarray(images.decode(encoded(deep, "TIFF")))[0, :, 0].tolist() == [0, 255]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "RGB", "1"])
def test_transparency_is_laid_over_white(mode):
    if mode in ("RGBA", "LA"):
        picture = Image.new(mode, (4, 4), (0, 0, 0, 0) if mode == "RGBA" else (0, 0))
        data = encoded(picture, "PNG")
    else:
        picture = Image.new(mode, (4, 4), 0)
        data = encoded(picture, "PNG", transparency=(0, 0, 0) if mode == "RGB" else 0)
    decoded = images.decode(data)
    assert decoded.mode == "RGB"
    assert numpy.asarray(decoded).min() == 255


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_an_animation_is_its_first_frame(format):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    data = encoded(frames[0], format, save_all=True, append_images=frames[1:])
    pixel = numpy.asarray(images.decode(data))[4, 4]
    assert pixel[0] > 240
    assert pixel[1:].max() < 15


def test_mpo_of_a_stereo_camera():
    left = gradient()
    data = encoded(left, "MPO", save_all=True, append_images=[left.rotate(180)])
    assert images.facts(data).format == "MPO"
    assert images.decode(data).size == (24, 16)


def test_a_picture_carries_no_metadata_on():
    data = encoded(gradient(), "JPEG", exif=exif(6), comment=b"secret")
    assert images.decode(data).info == {}


# Pictures that are refused, each with its reason


def test_nothing_html_and_noise():
    assert reason(b"", images.facts) == "the picture has zero bytes"
    assert "HTML" in reason(b"\n<!DOCTYPE html><html>404</html>", images.facts)
    assert "it starts with" in reason(bytes(range(100)), images.facts)
    assert "HEIC" in reason(b"\0\0\0\x18ftypheic" + bytes(40), images.facts)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"])
def test_cut_short(format):
    noise = numpy.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=numpy.uint8)
    data = encoded(Image.fromarray(noise), format)
    assert reason(data[: len(data) // 2])
    assert reason(data[:20], images.facts)


def test_a_damaged_header_is_called_damaged():
    data = bytearray(encoded(gradient(), "PNG"))
    data[20] ^= 0xFF  # the checksum of the header no longer fits
    assert "damaged" in reason(bytes(data), images.facts)


def peak(action) -> float:
    """MB that the process grew by at most while ``action`` ran (Linux)."""
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not reset.exists():
        pytest.skip("peak memory is read from /proc")

    def value(name: str) -> int:
        return int(re.search(name + r":\s+(\d+)", status.read_text())[1])

    reset.write_text("5")
    before = value("VmRSS")
    action()
    return (value("VmHWM") - before) / 1024


def webp(width: int, height: int) -> bytes:
    body = b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + bytes(63)
    body = b"WEBPVP8L" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", len(body)) + body


HUGE = {
    "png": png(40_000, 40_000, chunk(b"IDAT", zlib.compress(bytes(100)))),
    "long": png(50_000, 10),
    "webp": webp(16_383, 16_383),
    "gif": b"GIF89a" + struct.pack("<HH", 60_000, 60_000) + bytes(20) + b"," + bytes(12),
    "bmp": b"BM" + bytes(8) + struct.pack("<IIiiHH", 54, 40, 30_000, 30_000, 1, 24) + bytes(64),
    "ppm": b"P6 30000 30000 255\n",
}


@pytest.mark.parametrize("name", HUGE)
def test_huge_pictures_are_refused_unallocated(name):
    images.decode(encoded(gradient(), "PNG"))
    reasons: list[str] = []

    def look() -> None:
        assert peak(lambda: reasons.append(reason(HUGE[name], images.facts))) < 20
        assert peak(lambda: reasons.append(reason(HUGE[name]))) < 20

    assert pace.loops(look) < 20
    assert len(reasons) == 2 and all("refused" in text for text in reasons)


def test_the_limit_is_ours():
    images.facts(png(10_000, 10_000))
    assert "100010000 pixels" in reason(png(10_000, 10_001), images.facts)
    assert "20001x2" in reason(png(20_001, 2), images.facts)


@pytest.fixture(scope="module")
def bomb() -> bytes:
    return zlib.compress(bytes(200_000_000), 1)


@pytest.mark.parametrize(
    ("kind", "head"), [(b"zTXt", b"a\0\0"), (b"iTXt", b"a\0\1\0\0\0"), (b"iCCP", b"a\0\0")]
)
def test_bombs_in_png_notes_cost_nothing(bomb, kind, head):
    hidden = chunk(kind, head + bomb)
    pixels = chunk(b"IDAT", zlib.compress((b"\0" + bytes(6)) * 2))
    data = png(2, 2, hidden, pixels)

    def decode() -> None:
        with contextlib.suppress(SampleFailed):
            images.decode(data)

    assert pace.loops(decode) < 20
    assert peak(decode) < 30


def test_notes_of_some_megabytes_are_no_bomb():
    notes = PngImagePlugin.PngInfo()
    notes.add_itxt("XML:com.adobe.xmp", "x" * 3_000_000, zip=True)
    assert images.decode(encoded(gradient(), "PNG", pnginfo=notes)).size == (24, 16)


def tiff(tile: int, width: int = 24, height: int = 16) -> bytes:
    """A grey TIFF whose one LZW tile is ``tile`` pixels square."""
    tags = [(256, width), (257, height), (258, 8), (259, 5), (262, 1), (277, 1)]
    tags += [(322, tile), (323, tile), (324, 200), (325, 40)]
    body = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + body + bytes(4)
    return head.ljust(200, b"\0") + b"\x80\x00\x10" + bytes(60)


def test_a_tiff_tile_that_claims_gigabytes():
    assert images.facts(tiff(256)).width == 24
    assert "tiles" in reason(tiff(30_000), images.facts)
    reasons = []
    assert peak(lambda: reasons.append(reason(tiff(30_000)))) < 20


def test_a_jpeg_of_a_thousand_scans():
    data = encoded(Image.new("RGB", (3000, 3000)), "JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    many = data[:-2] + scan * 1000 + data[-2:]
    reasons: list[str] = []
    assert pace.loops(lambda: reasons.append(reason(many))) < 10
    assert "scans" in reasons[0]


def test_slow_decoders_have_a_lower_limit():
    assert "slow" in reason(b"P3 9000 9000 255\n1 2 3", images.facts)


def bmp_rle(width: int, height: int) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, 64, 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 1078) + head + bytes(1024) + bytes(64)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (bmp_rle(5000, 4000), "slow to decode"),
        (b"P6 5000 4000 1000\n" + bytes(64), "slow to decode"),
        (png(2, 20_001), "2x20001 pixels is over the limit"),
        (tiff(1100), "tiles of 1210000 pixels"),
    ],
    ids=["bmp", "ppm", "high", "tile"],
)
def test_each_limit_by_itself(data, words):
    assert words in reason(data, images.facts)


def test_what_is_just_within_a_limit_is_taken(monkeypatch):
    assert images.facts(bmp_rle(1000, 900)).format == "BMP"
    assert images.facts(png(20_000, 2)).width == 20_000
    assert images.facts(tiff(1000)).width == 24
    assert images.facts(tiff(1300, 1200, 1000)).width == 1200  # of a large picture, a large tile
    data = encoded(gradient(), "PNG")
    monkeypatch.setattr(images, "MAX_BYTES", len(data))
    assert images.facts(data).width == 24
    assert "is over the limit of" in reason(data + b"x", images.facts)
    images.refuse_sliver(Image.new("L", (200, 4)))
    with pytest.raises(SampleFailed, match="201x4 pixels is too narrow"):
        images.refuse_sliver(Image.new("L", (201, 4)))


def test_scans_of_a_stereo_camera_are_counted_too(monkeypatch):
    data = encoded(gradient(), "JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    many = data[:-2] + scan * 20 + data[-2:]
    pair = encoded(gradient(), "MPO", save_all=True, append_images=[gradient()])
    monkeypatch.setattr(images, "_MAX_SCANNED_PIXELS", 24 * 16 * 20)
    assert "scans" in reason(many)
    assert images.decode(pair).size == (24, 16)  # two scans are below the limit
    # As a camera writes them: the first picture's own scans, then the second picture.
    with Image.open(io.BytesIO(pair)) as opened:
        assert opened.format == "MPO"
    assert "scans" in reason(pair + b"\xff\xda" * 30)


def test_deep_grey_is_scaled_by_the_smallest_range_that_holds_it():
    def levels(*values: float, kind: type = numpy.int32) -> list[int]:
        picture = Image.fromarray(numpy.array([values], dtype=kind))
        return numpy.asarray(images.decode(encoded(picture, "TIFF")))[0, :, 0].tolist()

    assert levels(0, 1) == [0, 1]  # whole numbers up to 1 are no shares
    assert levels(0, 200, 255) == [0, 200, 255]
    assert levels(0, 128, 256) == [0, 0, 1]
    assert levels(0, 51, 255, kind=numpy.float32) == [0, 51, 255]
    assert levels(0, 0.2, 1, kind=numpy.float32) == [0, 51, 255]
    assert levels(-5, 70_000, 65_535) == [0, 255, 255]


def test_reasons_of_other_packages_are_one_line_and_not_endless():
    assert images._why(ValueError("a\n  b " * 200)) == ("a b " * 50)
    assert images._why(KeyError()) == "KeyError"


# Anything at all

GOOD = [
    encoded(gradient(), "JPEG", exif=exif(6)),
    encoded(gradient(), "JPEG", progressive=True),
    encoded(gradient(), "PNG", exif=exif(3)),
    encoded(gradient().convert("P"), "GIF"),
    encoded(gradient(), "WEBP", exif=exif(8)),
    encoded(gradient(), "TIFF", compression="tiff_lzw"),
    encoded(gradient(), "TIFF", compression="tiff_deflate", exif=exif(5)),
    encoded(gradient(), "BMP"),
    encoded(gradient(), "PPM"),
    encoded(gradient(), "AVIF"),
    encoded(gradient().convert("CMYK"), "JPEG"),
]


@settings(max_examples=400, deadline=5000, database=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_damage_of_any_kind_ends_in_a_picture_or_a_reason(data):
    body = bytearray(data.draw(st.sampled_from(GOOD)))
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, min(len(body) - 1, data.draw(st.sampled_from([60, 10_000])))))
        body[at] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        body = body[: data.draw(st.integers(0, len(body)))]
    try:
        facts = images.facts(bytes(body))
        picture = images.decode(bytes(body))
    except SampleFailed as error:
        assert str(error)
        assert "\n" not in str(error)
    else:
        assert picture.mode == "RGB"
        assert picture.size == (facts.width, facts.height)

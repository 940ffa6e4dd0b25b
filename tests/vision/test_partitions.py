"""Layouts as arrays: partitions, skeletons in their places, other sizes, pixel by pixel."""

from __future__ import annotations

import itertools

import numpy
import pytest
from PIL import Image

from socialcli import records
from socialcli.errors import SampleFailed
from socialcli.vision import layouts, masks


def mask(*rows: str) -> numpy.ndarray:
    return numpy.array([[character == "#" for character in row] for row in rows])


def drawn(parts: list[numpy.ndarray], names: str) -> list[str]:
    """Each pixel as the name of the mask it is in."""
    return [
        "".join(
            next((name for name, part in zip(names, parts, strict=True) if part[y, x]), ".")
            for x in range(parts[0].shape[1])
        )
        for y in range(parts[0].shape[0])
    ]


def layout(*parts: numpy.ndarray) -> records.Layout:
    height, width = parts[0].shape
    segments = [
        records.Segment(10 + n, f"#0000{n:02x}", f"thing {n}", masks.encode(part))
        for n, part in enumerate(parts)
    ]
    return records.Layout(width, height, "things", segments)


# --- partitions -----------------------------------------------------------------------------------

LONG, SHORT, FAR = mask("####.", "....."), mask("..##.", "..#.."), mask("#....", "#....")


def test_the_nearer_is_in_front_and_of_two_without_a_depth_the_smaller():
    names = "abc"
    three = [LONG, SHORT, FAR]
    parts, rest = layouts.partition(three, names)
    assert drawn(parts, names) == ["cabb.", "c.b.."]
    assert rest.tolist() == mask("....#", ".#.##").tolist()
    parts, _ = layouts.partition(three, names, [0.0, None, 3.0])  # all with a depth come first
    assert drawn(parts, names) == ["aaaa.", "c.b.."]
    parts, _ = layouts.partition(three, names, [2.0, 1.0, 3.0])
    assert drawn(parts, names) == ["aabb.", "c.b.."]


def test_what_is_left_over_goes_to_the_nearest_where_there_is_one():
    parts, rest = layouts.partition([FAR, mask("....#", "....#")], "ab", fill="nearest")
    assert drawn(parts, "ab")[0][:2] == "aa" and drawn(parts, "ab")[1][3:] == "bb"
    assert not rest.any() and sum(part.sum() for part in parts) == 10
    parts, rest = layouts.partition([FAR & False], "a", fill="nearest")
    assert rest.all() and not parts[0].any()


def test_an_overlap_names_the_one_that_is_covered_most():
    """The third mask lies on one pixel of the first and on two of the second."""
    masks_ = [mask("##...."), mask("..##.."), mask(".####.")]
    with pytest.raises(SampleFailed, match="c and b overlap in 3 pixels"):
        layouts.partition(masks_, "abc", [0, 1, 2], overlap="error")


# --- is it one? -----------------------------------------------------------------------------------


def test_one_pixel_too_few_or_too_many_is_told():
    left, right = mask("##..", "##.."), mask("..##", "..##")
    layouts.check(layout(left, right))
    with pytest.raises(SampleFailed, match=r"layout.json: 1 pixels belong to no segment"):
        layouts.check(layout(left, mask("..##", "...#")))
    over = layout(left, right, mask("...#", "...."))
    for function in (layouts.check, layouts.decoded):
        with pytest.raises(SampleFailed, match=r"segments 11 and 12 overlap \(1 pixels"):
            function(over)


def skeleton(*points: tuple[float, float, float]) -> records.Keypoints:
    return records.Keypoints([*points, *[(0.0, 0.0, 0.0)] * (17 - len(points))])


def test_half_of_the_known_joints_must_be_in_the_box_or_beside_it():
    box = (0.5, 0.25, 0.75, 0.5)
    inside, beside, beyond = (0.6, 0.3, 2.0), (0.46, 0.54, 1.0), (0.44, 0.3, 1.0)
    assert not layouts.outside(skeleton(), box)
    assert not layouts.outside(skeleton(inside, beyond), box)
    assert not layouts.outside(skeleton(beside, beyond), box)
    assert layouts.outside(skeleton(inside, beyond, beyond), box)
    assert layouts.outside(skeleton((0.6, 0.56, 2.0)), box)
    assert not layouts.outside(skeleton((0.79, 0.21, 2.0)), box)
    for at in ((0.81, 0.3, 2.0), (0.6, 0.19, 2.0)):
        assert layouts.outside(skeleton(at), box)
    # A joint that is not labelled has no place.
    assert not layouts.outside(skeleton(inside, (0.9, 0.9, 0.0), (0.9, 0.9, 0.0)), box)


def test_the_box_of_a_mask_and_the_word_of_a_segment():
    code = masks.encode(mask("........", "..###...", "..#.....", "........"))
    box = layouts.box(masks.check(code))
    assert box == (2 / 8, 1 / 4, 5 / 8, 3 / 4)
    segment = layout(mask("#")).segments[0]
    segment.prompt = " A Red Hat\n"
    assert layouts.word(segment) == "a red hat"
    segment.word = "Hat"
    assert layouts.word(segment) == "hat"


# --- drawings -------------------------------------------------------------------------------------


def test_a_drawing_is_read_as_it_is_written():
    parts = [mask("##..", "##.."), mask("..##", "..##")]
    plan = layout(*parts)
    plan.segments[0].colour, plan.segments[1].colour = "#010203", "#f00ba5"
    picture = layouts.picture(plan)
    assert picture.getpixel((0, 0)) == (1, 2, 3) and picture.getpixel((3, 1)) == (240, 11, 165)
    few = picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=2)
    for drawing in (picture, few, picture.convert("RGBA")):
        cut = layouts.of_picture(drawing, ["#010203", "#f00ba5"])
        assert all((a == b).all() for a, b in zip(cut, parts, strict=True))


def test_a_soft_edge_is_a_thousandth_of_a_drawing_and_goes_to_the_nearest():
    """In a picture of 100 x 100 ten pixels of a colour without a prompt are one, eleven a thing."""
    pixels = numpy.zeros((100, 100, 3), numpy.uint8)
    pixels[:, 50:] = (0, 0, 255)
    pixels[:10, 49] = (0, 0, 99)
    black, blue = layouts.of_picture(Image.fromarray(pixels), ["#000000", "#0000ff"])
    assert (black.sum(), blue.sum()) == (5000, 5000)  # a pixel as near to both goes to one of them
    assert not (black & blue).any() and blue[:, 50:].all() and black[:, :49].all()
    pixels[10, 49] = (0, 0, 99)
    with pytest.raises(SampleFailed, match=r"#000063 \(11 pixels\) has no prompt"):
        layouts.of_picture(Image.fromarray(pixels), ["#000000", "#0000ff"])


def test_the_first_colours_are_far_apart():
    colours = [layouts.rgb(colour) for colour in layouts.colours(28)]
    colours += [layouts.rgb(layouts.BACKGROUND), (0, 0, 0), (255, 255, 255)]
    apart = [
        sum(abs(x - y) for x, y in zip(a, b, strict=True))
        for a, b in itertools.combinations(colours, 2)
    ]
    assert min(apart) > 50


# --- other sizes ----------------------------------------------------------------------------------


def test_a_cell_that_two_cover_alike_is_the_smaller_ones():
    big = mask("###.", "###.", "####", "####")
    small = ~big
    for order in ([0, 1], [1, 0]):
        parts = [(big, small)[n] for n in order]
        shrunk = layouts.shrunk(parts, 2, 2)
        assert shrunk[order.index(1)].tolist() == [[False, True], [False, False]]
    # Of equally large ones the cell is that of the one whose first pixel comes first.
    left, right = mask("#.#.", "#.#."), mask(".#.#", ".#.#")
    with pytest.raises(SampleFailed, match=r"segment number 2 of the layout \(4 pixels\)"):
        layouts.shrunk([left, right], 1, 2)
    with pytest.raises(SampleFailed, match="segment number 1 of the layout"):
        layouts.shrunk([right, left], 1, 2)


def test_what_differs_by_rounding_alone_is_a_tie():
    """Both cover 4 of the middle cell's 28/3 pixels; added up as shares the larger one has a last
    bit more."""
    rows = (".xx.", "o..x", "o.oo", "xxxx", "..oo", "xx.o", "xx.x")
    names = "x.o"  # of 12, 9 and 7 pixels
    parts = [mask(*(row.replace(name, "#") for row in rows)) for name in names]
    assert [part.sum() for part in parts] == [12, 9, 7]
    for order in itertools.permutations(range(3)):
        shrunk = layouts.shrunk([parts[n] for n in order], 1, 3)
        assert drawn(list(shrunk), "".join(names[n] for n in order)) == ["x.o"]


def test_another_size_takes_the_pixel_at_each_middle():
    thing = mask("......", "##....", "......", "####..")
    plan = layout(thing, ~thing)
    assert layouts.resized(plan, 6, 4) is plan
    small = layouts.resized(plan, 3, 2)
    assert (small.width, small.height) == (3, 2)
    assert (masks.decode(small.segments[0].rle) == mask("#..", "##.")).all()
    layouts.check(small)
    large = layouts.resized(plan, 12, 8)
    assert (masks.decode(large.segments[0].rle) == masks.decode(plan.segments[0].rle)
            .repeat(2, 0).repeat(2, 1)).all()  # fmt: skip
    odd = layouts.resized(layout(mask("#....", "#...."), mask(".#...", ".#..."),
                                 mask("..###", "..###")), 2, 2)  # fmt: skip
    # The middles of two columns of five lie in the second and the fourth: the first one is lost.
    assert [segment.id for segment in odd.segments] == [11, 12]
    layouts.check(odd)

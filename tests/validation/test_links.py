"""Links between members, one by one: each is followed, and what cannot be known is not held
against a sample."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
import scenes

from socialcli import records
from socialcli.records import Refused
from socialcli.shards import Sample
from socialcli.validation import links
from socialcli.validation.members import check, read_members, refuse_malformed


def problems(changed: dict[str, Any] | None = None) -> list[links.Problem]:
    return check(Sample("k", scenes.members(0, changed)))


def changed(suffix: str, edit: Any) -> dict[str, Any]:
    """The member after ``edit(record)``."""
    record = scenes.all_records()[suffix]
    edit(record)
    return {suffix: scenes.raw(record)}


def setting(part: str, number: int, **fields: Any) -> Any:
    def edit(record: Any) -> None:
        for name, value in fields.items():
            setattr(getattr(record, part)[number], name, value)

    return edit


WRONG = [
    ("boxes.json", setting("boxes", 3, entity=9), "box 7 links to entity 9"),
    ("masks.json", setting("masks", 0, box=9, entity=None), "mask 1 links to box 9"),
    ("masks.json", setting("masks", 0, box=None, entity=9), "mask 1 links to entity 9"),
    ("people.json", setting("people", 1, box=9), "person 2 links to box 9"),
    ("people.json", setting("people", 1, entity=9), "person 2 links to entity 9"),
    ("interactions.json", setting("interactions", 0, subject=9), ": subject links to person 9"),
    ("interactions.json", setting("interactions", 0, object_person=9),
     ": object_person links to person 9"),
    ("interactions.json", setting("interactions", 0, subject_box=9),
     ": subject_box links to box 9"),
    ("interactions.json", setting("interactions", 0, object=9), ": object links to box 9"),
    ("layout.json", setting("segments", 1, entity=9), "segment 2 links to entity 9"),
    ("layout.json", setting("segments", 1, person=9), "segment 2 links to person 9"),
]  # fmt: skip


@pytest.mark.parametrize(("suffix", "edit", "words"), WRONG)
def test_each_link_is_followed(suffix, edit, words):
    (problem,) = problems(changed(suffix, edit))
    assert problem.member == suffix and words in problem.what and not problem.warning
    target = {"entity": "entities.json", "box": "boxes.json", "person": "people.json"}
    assert problem.what.endswith(f", which {target[words.split()[-2]]} does not have")
    assert problem.mend == links.again(suffix)
    assert str(problem) == f"{suffix}: {problem.what}: {problem.mend}"


def test_links_that_lead_nowhere_on_purpose():
    """A mask without an entity, and one whose box has none, contradict nothing."""
    alone = changed("masks.json", setting("masks", 0, entity=None))
    assert problems(alone) == []
    nobody = changed("masks.json", setting("masks", 0, box=7, entity=1))
    assert problems(nobody) == []
    both = changed("masks.json", setting("masks", 0, box=3, entity=1))
    (problem,) = problems(both)
    assert "mask 1 is of entity 1, its box 3 of entity 3" in problem.what


def test_every_row_of_identities_is_somebodys():
    rows = numpy.ones((3, 4), numpy.float32)
    array = records.identity_array([1, 2, 5], rows)
    (problem,) = problems({records.IDENTITY: records.dump_identity(array)})
    assert "row 2 links to person 5, which people.json does not have" in problem.what


def test_a_missing_member_is_a_warning_where_there_is_a_picture_and_no_command_minds():
    lacking = {"boxes.json": None}
    warnings = problems(lacking)
    assert warnings and all(problem.warning for problem in warnings)
    assert all(": warning: " in str(problem) for problem in warnings)
    sample = Sample("k", scenes.members(0, lacking))
    refuse_malformed(sample)
    assert read_members(sample)[1] == []


def test_entities_without_a_caption_have_nothing_to_match():
    assert problems({"caption.json": None}) == []


def test_a_member_that_is_made_anew_is_its_commands_business():
    spoilt = changed("boxes.json", setting("boxes", 3, entity=9))
    sample = Sample("k", scenes.members(0, spoilt))
    refuse_malformed(sample, ["boxes.json"])
    for others in ((), ["people.json", "masks.json"]):
        with pytest.raises(Refused, match="box 7 links to entity 9"):
            refuse_malformed(sample, others)


def test_all_that_a_member_is_refused_for_is_told_with_its_mend():
    def edit(record: Any) -> None:
        record.boxes[0].xyxy = (0.4, 0.2, 0.1, 0.9)
        record.boxes[1].xyxy = (0.4, 0.2, 1.5, 0.9)

    lines = [str(problem) for problem in problems(changed("boxes.json", edit))]
    assert len(lines) == 2 and "box 1" in lines[0] and "box 2" in lines[1]
    assert "left, top, right, bottom" in lines[0] and links.again("boxes.json") not in lines[0]


def test_what_the_archive_says_comes_first():
    sample = Sample("k", scenes.members(), problem="it ends early")
    (problem,) = check(sample)
    assert str(problem) == "tar: it ends early: write the shard again from its source"


def test_a_layout_that_is_no_partition_is_named_once():
    def edit(record: Any) -> None:
        del record.segments[1]

    (problem,) = problems(changed("layout.json", edit))
    assert problem.what.count("layout.json") == 0 and problem.member == "layout.json"


@pytest.mark.parametrize("size", [(121, 80), (120, 81), (80, 120)])
def test_a_member_states_the_size_of_the_picture(size):
    def edit(record: Any) -> None:
        record.width, record.height = size

    (problem,) = problems(changed("boxes.json", edit))
    assert f"is for {size[0]}x{size[1]} pixels, the picture has 120x80" in problem.what


def test_long_texts_are_told_in_short():
    assert links.short("a" * 40, 40) == "a" * 40
    assert links.short("a" * 41, 40) == "a" * 37 + "..."
    assert links.short(" a \n b ") == "a b"

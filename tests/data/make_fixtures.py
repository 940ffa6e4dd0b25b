"""Writes the data-set fixtures beside this file, each in its data set's own format.

They are committed; run this again only to change them: ``python tests/data/make_fixtures.py``.
Every picture is 64x48 as stored. Numbers are chosen so that a test can be checked by hand.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy
from PIL import Image
from scipy.io import savemat

HERE = Path(__file__).parent
CLASSES = json.loads((HERE / "../../socialcli/records/hico_classes.json").read_text())["classes"]
_COCO_80 = (
    "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,"
    "stop sign,parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,"
    "backpack,umbrella,handbag,tie,suitcase,frisbee,skis,snowboard,sports ball,kite,baseball bat,"
    "baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass,cup,fork,knife,spoon,bowl,"
    "banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,"
    "potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,cell phone,microwave,"
    "oven,toaster,sink,refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush"
)
COCO_80 = _COCO_80.split(",")


def picture(path: Path, seed: int, orientation: int = 1) -> None:
    """A 64x48 gradient, different for every seed."""
    y, x = numpy.mgrid[0:48, 0:64]
    pixels = numpy.stack([x * 4, y * 5, (x + y + seed * 37) % 256], axis=-1).astype(numpy.uint8)
    exif = Image.Exif()
    if orientation != 1:
        exif[0x0112] = orientation
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=60, exif=exif.tobytes())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(out.getvalue())


def write_json(path: Path, body: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(body))


def hoi(verb: str, thing: str) -> int:
    """Class number, from 1."""
    return CLASSES.index([verb, thing]) + 1


def structs(fields: list[str], rows: list[tuple]) -> numpy.ndarray:
    """A 1xN MATLAB struct array; () gives the empty 0x0 one MATLAB writes for no rows."""
    if not rows:
        return numpy.zeros((0, 0))
    array = numpy.empty((1, len(rows)), dtype=[(f, object) for f in fields])
    for i, row in enumerate(rows):
        for name, value in zip(fields, row, strict=True):
            array[0, i][name] = value
    return array


def mat_image(name: str, hois: list[tuple]) -> tuple:
    """hois: (class number, human boxes, object boxes, connections, invisible)."""
    box = ["x1", "x2", "y1", "y2"]
    rows = [
        (
            float(number),
            structs(box, [(float(a), float(c), float(b), float(d)) for a, b, c, d in humans]),
            structs(box, [(float(a), float(c), float(b), float(d)) for a, b, c, d in things]),
            numpy.array(links, dtype=float).reshape(-1, 2) if links else numpy.zeros((0, 0)),
            float(invisible),
        )
        for number, humans, things, links, invisible in hois
    ]
    size = structs(["width", "height", "depth"], [(64.0, 48.0, 3.0)])
    fields = ["id", "bboxhuman", "bboxobject", "connection", "invis"]
    return name, size, structs(fields, rows)


def hico() -> None:
    root = HERE / "hico_det"
    orientations = {"train2015": (1, 1, 6), "test2015": (1, 1)}
    for part, turned in orientations.items():
        for number, orientation in enumerate(turned, start=1):
            name = f"images/{part}/HICO_{part}_{number:08d}.jpg"
            picture(root / name, number, orientation)
    left, right, below = (1, 1, 32, 48), (33, 1, 64, 48), (17, 25, 64, 48)
    train = [
        # One hoi, one box of each, one connection: everything collapses to a scalar.
        mat_image(
            "HICO_train2015_00000001.jpg",
            [(hoi("race", "motorcycle"), [left], [below], [(1, 1)], 0)],
        ),
        mat_image(
            "HICO_train2015_00000002.jpg",
            [
                (hoi("walk", "dog"), [left, right], [below], [(1, 1), (2, 1)], 0),
                (hoi("hug", "dog"), [], [], [], 1),
                (hoi("no interaction", "dog"), [left], [below], [(1, 1)], 0),
            ],
        ),
        mat_image(
            "HICO_train2015_00000003.jpg",
            [(hoi("ride", "horse"), [(1, 1, 16, 12)], [(1, 1, 70, 24)], [(1, 1)], 0)],
        ),
    ]
    hug = hoi("hug", "person")
    test = [
        mat_image("HICO_test2015_00000001.jpg", [(hug, [left], [right], [(1, 1)], 0)]),
        mat_image("HICO_test2015_00000002.jpg", [(hoi("fly", "kite"), [], [], [], 1)]),
    ]
    actions = [
        (
            thing.replace(" ", "_"),
            verb.replace(" ", "_"),
            verb.replace(" ", "_") + "ing",
            *("", "", "", ""),
        )
        for verb, thing in CLASSES
    ]
    names = ["nname", "vname", "vname_ing", "syn", "def", "synset", "add_def"]
    image = ["filename", "size", "hoi"]
    body = {
        "bbox_train": structs(image, train),
        "bbox_test": structs(image, test),
        "list_action": structs(names, actions).T,
    }
    savemat(root / "anno_bbox.mat", body, do_compression=True)

    verbs = sorted({verb for verb, _ in CLASSES})
    for order, objects in (("", sorted(COCO_80)), ("_coco_order", COCO_80)):
        annotations = []
        for pairs in ([(hug, left, right)], []):
            annotations.append(
                {
                    "boxes_h": [list(map(float, human)) for _, human, _ in pairs],
                    "boxes_o": [list(map(float, thing)) for _, _, thing in pairs],
                    "hoi": [number - 1 for number, _, _ in pairs],
                    "object": [objects.index("person") for _ in pairs],
                    "verb": [verbs.index("hug") for _ in pairs],
                }
            )
        body = {
            "annotation": annotations,
            "filenames": ["HICO_test2015_00000001.jpg", "HICO_test2015_00000002.jpg"],
            "empty": [1],
            "objects": [name.replace(" ", "_") for name in objects],
            "verbs": [name.replace(" ", "_") for name in verbs],
            "correspondence": [
                [i, objects.index(thing), verbs.index(verb)]
                for i, (verb, thing) in enumerate(CLASSES)
            ],
            "size": [[64, 48], [64, 48]],
        }
        write_json(root / f"instances_test2015{order}.json", body)


def coco() -> None:
    root = HERE / "coco"
    for number, orientation in ((139, 1), (285, 6), (632, 6), (776, 1)):
        picture(root / f"val2017/{number:012d}.jpg", number, orientation)
    images = [
        {"id": 139, "width": 64, "height": 48, "license": 3},
        {"id": 285, "width": 64, "height": 48, "license": 3},  # counted in the stored pixels
        {"id": 632, "width": 48, "height": 64, "license": 1},  # counted in the upright picture
        {"id": 724, "width": 64, "height": 48, "license": 1},  # its file is missing
        {"id": 776, "width": 64, "height": 48, "license": 1},  # nothing annotated
    ]
    for image in images:
        image["file_name"] = f"{image['id']:012d}.jpg"
        image["coco_url"] = f"http://images.cocodataset.org/val2017/{image['file_name']}"
    licenses = [
        {"id": 1, "name": "Attribution-NonCommercial-ShareAlike License", "url": "http://l/1"},
        {"id": 3, "name": "Attribution-NonCommercial-NoDerivs License", "url": "http://l/3"},
    ]
    keypoints = [0] * 51
    keypoints[0:6] = [16, 6, 2, 20, 4, 1]  # nose visible, left eye hidden
    person = {
        "id": 1001, "image_id": 139, "category_id": 1, "bbox": [8, 0, 16, 24], "area": 384,
        "iscrowd": 0, "segmentation": [[8, 0, 24, 0, 24, 24, 8, 24]],
    }  # fmt: skip
    annotations = [
        person,
        # A crowd: run lengths down the columns, 48 a column. 10 columns out, 4 in, the rest out.
        {"id": 900100000139, "image_id": 139, "category_id": 1, "bbox": [10, 0, 4, 48],
         "area": 192, "iscrowd": 1,
         "segmentation": {"size": [48, 64], "counts": [480, 192, 2400]}},
        {"id": 1002, "image_id": 139, "category_id": 18, "bbox": [60, 40, 0, 4], "area": 0,
         "iscrowd": 0, "segmentation": []},
        {"id": 1003, "image_id": 139, "category_id": 18, "bbox": [48, 36, 32, 12], "area": 200,
         "iscrowd": 0, "segmentation": [[48, 36, 64, 36]]},
        {"id": 1004, "image_id": 285, "category_id": 18, "bbox": [0, 0, 32, 12], "area": 384,
         "iscrowd": 0, "segmentation": [[0, 0, 32, 0, 32, 12, 0, 12]]},
        {"id": 1005, "image_id": 632, "category_id": 18, "bbox": [0, 0, 24, 16], "area": 384,
         "iscrowd": 0, "segmentation": [[0, 0, 24, 0, 24, 16, 0, 16]]},
    ]  # fmt: skip
    people = [
        {**person, "keypoints": keypoints, "num_keypoints": 2},
    ]
    names = ["nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder",
             "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip",
             "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle"]  # fmt: skip
    captions = [
        {"image_id": 139, "id": 1, "caption": "A person stands beside a dog.\n"},
        {"image_id": 139, "id": 2, "caption": "Someone  with a dog"},
    ]
    base = {"info": {}, "licenses": licenses, "images": images}
    kinds = [
        {"supercategory": "person", "id": 1, "name": "person"},
        {"supercategory": "animal", "id": 18, "name": "dog"},
    ]
    kind = {**kinds[0], "keypoints": names, "skeleton": [[16, 14]]}
    folder = root / "annotations"
    write_json(
        folder / "instances_val2017.json", {**base, "annotations": annotations, "categories": kinds}
    )
    write_json(
        folder / "person_keypoints_val2017.json",
        {**base, "annotations": people, "categories": [kind]},
    )
    write_json(folder / "captions_val2017.json", {**base, "annotations": captions})


def gazefollow() -> None:
    root = HERE / "gazefollow"
    picture(root / "train/00000000/00000001.jpg", 1)
    picture(root / "train/00000000/00000002.jpg", 2)
    picture(root / "test2/00000000/00000003.jpg", 3)
    train = [
        # Head box with both ends swapped and one outside the picture.
        "train/00000000/00000001.jpg,7,0.25,0.5,0.5,0.6,0.25,0.25,0.5,0.5,"
        "24.0,20.0,-8.0,4.0,1,places_top,False",
        "train/00000000/00000002.jpg,8,0.1,0.1,0.2,0.2,0.5,0.5,0.9,0.5,16,12,32,24,1,coco,False",
        "train/00000000/00000001.jpg,9,0.5,0,0.5,1,0.75,0.25,-1,-1,40,6,56,18,0,places_top,False",
        "train/00000000/00000001.jpg,10,0.5,0,0,1,0.8,0.25,0.1,0.1,40,6,40,18,-1,places_top,False",
    ]
    row = "test2/00000000/00000003.jpg,{},0.0,0.0,0.5,1.0,{},{},16,12,32,24,sun,True"
    test = [
        row.format(1, "0.5,0.5", "0.7,0.5"),
        row.format(2, "0.5,0.5", "0.9,0.5"),
        row.format(3, "0.125,0.5", "0.125,0.9"),
        row.format(4, "0.5,0.5", "0.8,0.5"),
    ]
    (root / "train_annotations_release.txt").write_text("\n".join(train) + "\n")
    # The test file starts with a byte order mark, as the published one may.
    (root / "test_annotations_release.txt").write_text("\n".join(test) + "\n", "utf-8-sig")


def concept101() -> None:
    root = HERE / "concept101"
    for number, name in enumerate(
        ("scene_barn/2.jpg", "scene_barn/10.jpeg", "pet_cat1/a.jpg", "furniture_chair1/b.jpg")
    ):
        picture(root / "benchmark_dataset" / name, number)

    def concept(token: str, kind: str, folder: str) -> dict[str, str]:
        return {
            "instance_prompt": f"photo of a <{token}> {kind}",
            "class_prompt": kind,
            "instance_data_dir": f"./benchmark_dataset/{folder}",
            "class_data_dir": f"./regularization/{folder.rstrip('0123456789')}",
            "prompt_filename": f"prompts/{kind}.txt",
        }

    write_json(
        root / "dataset.json",
        [
            concept("new1", "barn", "scene_barn"),
            concept("new1", "cat", "pet_cat1"),
            concept("new1", "chair", "furniture_chair1"),
        ],
    )
    write_json(
        root / "dataset_multiconcept.json",
        [
            [
                concept("new1", "cat", "pet_cat1"),
                concept("new2", "chair", "furniture_chair1"),
                {"prompt_filename_compose": "prompts/pet_furniture.txt"},
            ]
        ],
    )
    prompts = root / "prompts"
    prompts.mkdir(exist_ok=True)
    # The last line has no line end, and some lines end in a space.
    (prompts / "barn.txt").write_text("a {} by a lake\nthe {} at night")
    (prompts / "cat.txt").write_text("a {} asleep \na {} in a box")
    (prompts / "chair.txt").write_text("a {} made of glass\na {} on a roof")
    (prompts / "pet_furniture.txt").write_text("the {0} on the {1} \nthe {1} behind the {0}")


def dreambooth() -> None:
    root = HERE / "dreambooth" / "dataset"
    for number, name in enumerate(("dog2/00.jpg", "dog2/01.jpg", "bear_plushie/00.jpg")):
        picture(root / name, number)
    end = ".format(unique_token, class_token)"
    (root / "prompts_and_classes.txt").write_text(
        "Classes\n\nsubject_name,class\nbear_plushie,stuffed animal\ndog2,dog\n\nPrompts\n\n"
        "Object Prompts\n\nprompt_list = [\n"
        f"'a {{0}} {{1}} on a shelf'{end},\n'a cube shaped {{0}} {{1}}'{end}\n]\n\n"
        "Live Subject Prompts\n\nprompt_list = [\n"
        f"'a {{0}} {{1}} wearing a scarf'{end},\n'a wet {{0}} {{1}}'{end}\n]\n"
    )
    (root / "references_and_licenses.txt").write_text(
        "References and Licenses\n\nOwners: \nSomebody\n\n"
        "bear_plushie: Photos taken by Somebody\n\n"
        "dog2: \n(credit: https://unsplash.com/@someone)\n00: https://unsplash.com/photos/abc\n"
        "01:  removed\n\nLicenses\n\ndog2: not a credit any more\n"
    )


if __name__ == "__main__":
    for make in (hico, coco, gazefollow, concept101, dreambooth):
        make()

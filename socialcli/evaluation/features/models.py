"""What can be seen in a picture, and by which models: the features that metrics name.

clip, dino, inception       the picture's embedding, ``vector`` (D,)
clip-text                   a text's, in the space of ``clip``
clip-subjects, dino-subjects   ``vector`` (K, D): one for each subject's box
faces                       ``boxes`` (normalised xyxy), ``embeddings`` (K, D) of those that
                            can be aligned
gaze                        ``heads`` and ``points``: what each head looks at, or None
gaze-objects, hoi-objects, subject-objects   ``boxes``: (label, normalised xyxy) of things
                            looked for by name
interactions                ``pairs``: (verb, object, class number or None, score)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from socialcli import records
from socialcli.backends import ModelSpec, naming
from socialcli.errors import ModelMissing, SampleFailed, UsageError
from socialcli.evaluation.features.store import Feature, Look, Value
from socialcli.vision import boxes as geometry
from socialcli.vision import people as who
from socialcli.vision.people import kind_of

if TYPE_CHECKING:
    import numpy
    from PIL.Image import Image

    from socialcli.evaluation.settings import Config

SAME_OBJECT = 0.7  # IoU from which two boxes of one label are one thing
INCEPTION = (
    "curl -L -o inception-2015-12-05.pt https://nvlabs-fi-cdn.nvidia.com/"
    "stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt"
)


def features(config: Config) -> dict[str, Feature]:
    """Every feature by its name, with the models the configuration chooses."""

    def spec(role: str, backend: str, model: str, **options: Any) -> ModelSpec:
        return ModelSpec(role, backend, model, None, config.device, config.dtype, options)

    clip = (spec("clip", config.clip_backend, config.clip_model),)
    dino = (spec("dino", config.dino_backend, config.dino_model),)
    face = [spec("face", config.face_backend, config.face_model, threshold=config.face_threshold)]
    backend = config.identity_backend or config.face_backend
    model = config.identity_model or (config.face_model if not config.identity_backend else "")
    if (backend, model) != (config.face_backend, config.face_model):  # else one object does both
        face.append(spec("face", backend, model))
    gaze = (spec("gaze", config.gaze_backend, config.gaze_model),)
    ground = (spec("ground", config.ground_backend, config.ground_model),)
    # Average precision ranks every pair, so that almost none may be cut off.
    acts = spec("interaction", config.interaction_backend, config.interaction_model, threshold=1e-3)

    def objects(name: str, least: float = config.box_threshold) -> Feature:
        limits = {"box_threshold": least, "text_threshold": min(least, config.text_threshold)}

        def run(models: list[Any], looks: list[Look]) -> list[Value | SampleFailed]:
            return _objects(models[0], looks, **limits)

        return Feature(name, ground, run, limits, asks=True)

    faces = Feature("faces", tuple(face), _faces, check=_can_see_faces, version=2)
    hoi_objects = objects("hoi-objects", config.hoi_box_threshold)
    subjects = objects("subject-objects")
    file = config.inception_model
    facts = {"model": naming.content(file)}
    made = [
        Feature("clip", clip, _vectors),
        Feature("clip-text", clip, _texts),
        Feature("dino", dino, _vectors),
        Feature("clip-subjects", clip, _crops, asks=True),
        Feature("dino-subjects", dino, _crops, asks=True),
        Feature("clip-found", clip, _crops, after=(subjects,), asks=True),
        Feature("dino-found", dino, _crops, after=(subjects,), asks=True),
        Feature("inception", (), _vectors, facts, load=lambda: Inception(file, config.device)),
        faces, Feature("gaze", gaze, _gaze, after=(faces,)), objects("gaze-objects"),
        hoi_objects, subjects,
        Feature("interactions", (acts,), _interactions, after=(faces, hoi_objects), asks=True),
    ]  # fmt: skip
    return {feature.name: feature for feature in made}


def _array(rows: Any) -> numpy.ndarray:
    """A model's output as float32 on the CPU, whatever it came as."""
    import numpy

    if hasattr(rows, "detach"):
        rows = rows.detach().float().cpu().numpy()
    return numpy.asarray(rows, numpy.float32)


def _vectors(models: list[Any], looks: list[Look]) -> list[Value | SampleFailed]:
    return _each(_array(models[0].images([look.image for look in looks])))


def _texts(models: list[Any], looks: list[Look]) -> list[Value | SampleFailed]:
    return _each(_array(models[0].texts([look.text for look in looks])))


def _each(rows: numpy.ndarray) -> list[Value | SampleFailed]:
    import numpy

    return [
        {"vector": row} if numpy.isfinite(row).all() else SampleFailed("its embedding is no number")
        for row in rows
    ]


def _crops(models: list[Any], looks: list[Look]) -> list[Value | SampleFailed]:
    """Embeddings of boxes cut out: those given, else those found; the whole picture without."""
    import numpy

    cut: list[list[Image]] = []
    for look in looks:
        assert look.image is not None
        boxes = look.extra
        if look.before:
            boxes = [box for _, box in look.before["subject-objects"]["boxes"]]
        width, height = look.image.size
        parts = []
        for box in boxes or []:
            left, top, right, bottom = geometry.clip(tuple(box))
            pixels = (
                int(left * width), int(top * height),
                max(int(right * width + 0.999), int(left * width) + 1),
                max(int(bottom * height + 0.999), int(top * height) + 1),
            )  # fmt: skip
            parts.append(look.image.crop(pixels))
        cut.append(parts or [look.image])
    rows = _array(models[0].images([part for parts in cut for part in parts]))
    ends = numpy.cumsum([len(parts) for parts in cut])[:-1]
    return [{"vector": mine} for mine in numpy.split(rows, ends)]


def _can_see_faces(models: list[Any]) -> None:
    """Raises UsageError where the backends chosen do not detect or do not embed."""
    if not hasattr(models[0], "detect"):
        raise UsageError("the face backend finds no faces, it only embeds them: see --face-backend")
    if not getattr(models[-1], "embeds", hasattr(models[-1], "embed")):
        raise UsageError("the face backend has no identity embedding: give --identity-backend")


def _faces(models: list[Any], looks: list[Look]) -> list[Value | SampleFailed]:
    import numpy

    from socialcli.vision import close_ups, faces

    detector, embedder = models[0], models[-1]
    pictures = [look.image for look in looks]
    found = close_ups.detect(detector, pictures)  # type: ignore[arg-type]
    usable = []
    for picture, mine in zip(pictures, found, strict=True):
        assert picture is not None
        size = numpy.array(picture.size)
        usable.append(
            [f for f in mine if f.landmarks and faces.alignable(numpy.asarray(f.landmarks) * size)]
        )
    rows = embedder.embed(pictures, usable)
    return [
        {"boxes": [list(map(float, f.xyxy)) for f in mine], "embeddings": _array(vectors)}
        for mine, vectors in zip(found, rows, strict=True)
    ]


def _gaze(models: list[Any], looks: list[Look]) -> list[Value | SampleFailed]:
    heads = [[who.head_of(tuple(box)) for box in look.before["faces"]["boxes"]] for look in looks]
    heads = [[head for head in mine if geometry.area(head) > 0] for mine in heads]
    found = models[0].gaze([look.image for look in looks], heads)
    return [
        {
            "heads": [list(head) for head in mine],
            "points": [
                [float(v) for v in gaze.point] if gaze is not None and gaze.point else None
                for gaze in gazes
            ],
        }
        for mine, gazes in zip(heads, found, strict=True)
    ]


def _objects(
    grounder: Any, looks: list[Look], box_threshold: float, text_threshold: float
) -> list[Value | SampleFailed]:
    """Boxes of each look's labels. A grounder that knows only kinds is asked for the kind."""
    kinds = getattr(grounder, "kinds", None)
    queries = []
    for look in looks:
        wanted = list(look.extra)
        if kinds is not None:
            wanted = sorted({kind_of(label) for label in wanted} & set(kinds))
        queries.append(wanted)
    busy = [i for i, wanted in enumerate(queries) if wanted]
    answers = {}
    if busy:
        found = grounder.ground(
            [looks[i].image for i in busy], [queries[i] for i in busy], box_threshold,
            text_threshold,
        )  # fmt: skip
        answers = dict(zip(busy, found, strict=True))
    results: list[Value | SampleFailed] = []
    for i, look in enumerate(looks):
        boxes, scores = [], []
        for number, query in enumerate(queries[i]):
            mine = [d for d in answers.get(i, []) if d.phrase == number]
            for kept in geometry.nms([d.xyxy for d in mine], [d.score for d in mine], SAME_OBJECT):  # type: ignore[arg-type]
                same = [label for label in look.extra if kind_of(label) == query]
                for label in same if kinds is not None else [query]:
                    boxes.append([label, [float(v) for v in mine[kept].xyxy]])
                    scores.append(float(mine[kept].score))
        results.append({"boxes": boxes, "scores": scores})
    return results


def _interactions(models: list[Any], looks: list[Look]) -> list[Value | SampleFailed]:
    """Every pair a recogniser sees, from the objects and faces that were found."""
    scenes = [scene(look) for look in looks]
    found = models[0].interact(
        [look.image for look in looks],
        [people for people, _ in scenes],
        [boxes for _, boxes in scenes],
        [None] * len(looks),
    )
    results: list[Value | SampleFailed] = []
    for one in found:
        if isinstance(one, SampleFailed):
            results.append(one)
            continue
        pairs = [
            [i.verb, i.object_label, i.hoi, 1.0 if i.score is None else float(i.score)]
            for i in (one.interactions if one is not None else [])
        ]
        results.append({"pairs": pairs})
    return results


def scene(look: Look) -> tuple[records.People, records.Boxes]:
    """What was found in a picture as the records a recogniser reads: boxes with their labels, and
    the people among them with their faces."""
    assert look.image is not None
    width, height = look.image.size
    found = look.before["hoi-objects"]
    boxes = [
        records.Box(number, tuple(box), label, None, score)
        for number, ((label, box), score) in enumerate(
            zip(found["boxes"], found["scores"], strict=True), 1
        )
    ]
    bodies = who.distinct([box for box in boxes if kind_of(box.label) == "person"])
    # A person found as "man" and as "person" is one; their other names are no objects.
    kept = {box.id for box in bodies}
    boxes = [box for box in boxes if box.id in kept or kind_of(box.label) != "person"]
    people = [records.Person(n, box=box.id) for n, box in enumerate(bodies, 1)]
    faces = [records.Face(tuple(box)) for box in look.before["faces"]["boxes"]]
    matched = who.match_faces(faces, people, [box.xyxy for box in bodies])
    for face, person in matched.items():
        people[person].face = faces[face]
        people[person].head = who.head_of(faces[face].xyxy)
    return records.People(width, height, people), records.Boxes(width, height, boxes)


class Inception:
    """Inception's features as FID has them: the TorchScript file of StyleGAN's authors, whose
    features are TensorFlow's to about 1e-3. It holds a program for torch's own interpreter."""

    def __init__(self, file: str, device: str) -> None:
        """Load it.

        Raises:
            ModelMissing: no file was named, or it is not there. UsageError: it is another thing.
        """
        import warnings
        from pathlib import Path

        import torch

        path = Path(file).expanduser()
        if not file or not path.is_file():
            what = f"{file}: no such file" if file else "it needs its weights"
            raise ModelMissing(
                f"--fid-features inception: {what}. Get them with: {INCEPTION} && pass "
                "--inception-model inception-2015-12-05.pt"
            )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # TorchScript is old, and so is this file
                self.network = torch.jit.load(str(path), map_location=device).eval()
        except RuntimeError as error:
            told = str(error).splitlines()[0][:200]
            raise UsageError(f"{file}: not a TorchScript file ({told})") from None
        self.device = device
        self.model = records.Model(
            "torchscript", naming.name(file), naming.revision(file), "inception"
        )

    def images(self, images: list[Image]) -> numpy.ndarray:
        """(N, D) float32; the network resizes each picture itself, as FID's does."""
        import numpy
        import torch

        rows = []
        for image in images:
            pixels = torch.from_numpy(numpy.array(image)).permute(2, 0, 1)[None]
            with torch.inference_mode():
                rows.append(self.network(pixels.to(self.device), return_features=True))
        return numpy.concatenate([_array(row).reshape(1, -1) for row in rows])

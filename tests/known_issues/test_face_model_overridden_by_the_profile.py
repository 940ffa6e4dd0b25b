"""`--face-model FOLDER` with a profile that named the identity's backend, but no model for it, made
annotate-pose load the default pack besides, which was not there."""

from __future__ import annotations

from parts import part

stage = part("stages", "annotate-pose")


def test_one_backend_named_twice_is_one_model() -> None:
    config = stage.Config(face_model="my/pack", identity_backend="insightface", with_="identity")
    assert [(m.role, m.model) for m in stage.models(config)] == [("face", "my/pack")]
    other = stage.Config(face_model="a", identity_model="b", with_="identity")
    assert [m.model for m in stage.models(other)] == ["a", "b"]
    apart = stage.Config(face_model="a", identity_backend="iresnet", with_="identity")
    assert [(m.backend, m.model) for m in stage.models(apart)] == [
        ("insightface", "a"),
        ("iresnet", ""),
    ]

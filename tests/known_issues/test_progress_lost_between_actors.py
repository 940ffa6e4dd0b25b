"""What an actor had said just before its shard was done was lost: five samples of ten counted.

The actor waited for the ear before it answered, but only for words of the last moment. What it had
said a moment earlier was still on its way, the driver read the ear, had all shards, and stopped.
"""

from types import SimpleNamespace

from socialcli.pipeline.engines._ray_actors import SAID_EVERY, Relay


def test_an_actor_waits_for_all_it_has_said() -> None:
    ear = SimpleNamespace(tell=SimpleNamespace(remote=tuple))  # answers with what it was told
    relay = Relay(ear)
    assert relay.flush() is None, "nothing was said"
    relay.said -= SAID_EVERY
    relay.advance(5)
    assert relay.flush() == (("advance", 5),), "the end of a shard waits for this"
    relay.warn("late")
    assert relay.flush() == (("warn", "late"),)

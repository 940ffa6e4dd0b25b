"""A small rendered social world with perfect ground truth.

`scene(seed, index, size, split)` draws one scene; `members(scene)` turns it into the records that
the stages write. See ``docs/mini.md``.
"""

from socialcli.miniature.world.scenes import Scene, plan, scene

__all__ = ["Scene", "plan", "scene"]

"""Loading a model printed lines of diffusers and transformers that say nothing to whoever runs the
command: a warning about a list of no modules, advice to install a package that is not needed."""

from __future__ import annotations

import logging

import pytest

from socialcli.backends import quiet


def test_a_list_of_no_modules_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    """The real warning of diffusers, as long as there is one."""
    import torch
    from diffusers import AutoencoderKL

    log = logging.getLogger("diffusers.models.modeling_utils")
    log.addHandler(caplog.handler)
    caplog.set_level(logging.WARNING, logger=log.name)  # another test's command may have changed it
    for one in [one for one in log.filters if isinstance(one, quiet._Without)]:
        log.removeFilter(one)
    network = AutoencoderKL(block_out_channels=(4,), norm_num_groups=2, layers_per_block=1)
    network.to(torch.float32)
    assert [line for line in caplog.messages if "kept in float32: []" in line]
    caplog.clear()
    quiet.without_noise()
    network.to(torch.float32)
    assert not caplog.messages
    log.warning("There are modules in X that should be kept in float32: ['norm'].")
    assert {line[-9:] for line in caplog.messages} == {"['norm']."}  # a list of some modules is
    log.removeHandler(caplog.handler)


def test_it_is_left_out_once_however_often_it_is_asked() -> None:
    for _ in range(3):
        quiet.without_noise()
    for name, _ in quiet.NOTHING_SAID:
        filters = logging.getLogger(name).filters
        assert sum(isinstance(one, quiet._Without) for one in filters) == 1

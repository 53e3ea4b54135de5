"""Scans of single elements against the recurrence, and Mamba's mixer against the public one."""

import pytest
import torch

from edgepack.exporters.architectures.blocks._scan import scan
from edgepack.exporters.architectures.blocks._selective import SelectiveMixer


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize(("length", "limit"), [(1, 8), (5, 8), (8, 64), (70, 512), (70, 100)])
def test_a_scan_is_the_recurrence(length, limit, *, backward):
    generator = torch.Generator().manual_seed(length)
    decay, update = torch.rand(2, 2, length, 3, generator=generator).unbind(0)
    decay[:, ::3] *= 1e-30  # as good as forgotten
    state = torch.rand(2, 3, generator=generator)
    got = scan(decay, update, limit, initial=state, backward=backward)
    for t in reversed(range(length)) if backward else range(length):
        state = decay[:, t] * state + update[:, t]
        torch.testing.assert_close(got[:, t], state)


@pytest.mark.slow
def test_the_mixer_is_mambas():
    from transformers import MambaConfig
    from transformers.models.mamba.modeling_mamba import MambaMixer

    torch.manual_seed(0)
    config = MambaConfig(hidden_size=16, state_size=4, num_hidden_layers=1, time_step_rank=1)
    theirs, ours = MambaMixer(config, layer_idx=0).eval(), SelectiveMixer(16, 4, 64).eval()
    names = {
        "in_proj.weight": "project.weight", "x_proj.weight": "ways.weight", "dt_proj.weight": "size.weight",
        "dt_proj.bias": "size.bias", "out_proj.weight": "out.weight", "A_log": "log_rate", "D": "skip",
        "conv1d.bias": "near.bias", "conv1d.weight": "near.weight",
    }  # fmt: skip
    given = {names[name]: value for name, value in theirs.state_dict().items()}
    given["near.weight"] = given["near.weight"].unsqueeze(2)
    ours.load_state_dict(given)
    x = torch.randn(2, 21, 16)
    with torch.no_grad():
        whole, _, _ = ours(x)
        torch.testing.assert_close(whole, theirs(x), atol=1e-5, rtol=1e-4)
        _, _, states = ours(x[:, :9])
        for t in range(9, 21):
            got, _, states = ours.step(x[:, t], states)
            torch.testing.assert_close(got, whole[:, t], atol=1e-5, rtol=1e-4)

"""What every system of a prefill and a decode part is asked: steps after a prompt equal the whole sequence."""

import numpy as np
import torch


def steps_equal_the_whole(model, atol=2e-5):
    """Plays a model's rollout in torch, prefill and single steps, against its expected outputs."""
    states: list[torch.Tensor] = []
    for call in model.rollout():
        given = [torch.from_numpy(value) for value in call.inputs.values()]
        with torch.no_grad():
            logits, *states = model.parts[call.part].module(
                *given, *(states if call.part == "decode" else ())
            )
        np.testing.assert_allclose(logits.numpy(), call.outputs["logits"], atol=atol)

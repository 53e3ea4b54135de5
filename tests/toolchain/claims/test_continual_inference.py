"""The continual ST-GCN at the claim's own sizes: its stream is as long as its clips, and both sides say the same."""

import pytest
import torch

from edgepack.toolchain.cache import Cache
from edgepack.toolchain.claims.base import Settings, claims
from edgepack.toolchain.claims.comparing import COMPARISONS, measure
from edgepack.toolchain.errors import UsageError

claims.names()  # imports them
COMPARISON = COMPARISONS["continual-inference"]
LENGTHS = [COMPARISON.lengths[0], pytest.param(COMPARISON.lengths[-1], marks=pytest.mark.slow)]


@pytest.mark.parametrize("length", LENGTHS)
def test_a_stream_is_played_until_its_clips_are_full_and_gives_the_scores_of_the_clips_anew(
    length: int,
) -> None:
    step, anew = (side.build("paper", length) for side in COMPARISON.sides)
    clip = anew.parts["main"].module
    clip.load_state_dict(step.parts["skeleton"].module.state_dict())  # biases are not the same in both
    assert step.rollout is not None
    calls = step.rollout()
    expected = [torch.from_numpy(call.outputs["scores"]) for call in calls if call.outputs]
    assert [bool(call.outputs) for call in calls] == [t >= length - 1 for t in range(len(calls))]
    assert len(expected) > 1, "the stream moves on after its first score"
    frames = torch.stack([torch.from_numpy(call.inputs["frame"]) for call in calls], 2)
    with torch.no_grad():
        first, last = clip(frames[:, :, :length]), clip(frames[:, :, -length:])
    torch.testing.assert_close(first[:, 0], expected[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(last[:, 0], expected[-1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("size", "length"), [("paper", 80), ("tiny", 4)])
def test_a_clip_that_is_shorter_than_what_a_score_looks_at_is_refused(
    tmp_path, size: str, length: int
) -> None:
    with Cache(tmp_path / "cache") as cache:
        settings = Settings(tmp_path / "out", cache, sizes=(size,), inputs=(300, length))
        with pytest.raises(UsageError) as refused:
            measure(COMPARISON, settings, lambda *_: None)
    assert f"At size {size} this claim's shortest length is {length + 1} steps of a clip" in str(
        refused.value
    )
    assert f"Give {length + 1} or more" in str(refused.value)

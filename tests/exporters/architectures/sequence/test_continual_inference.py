"""Row 93: what a step costs against its clip, torch's own encoder layer, and adapters that are fused."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from edgepack.exporters.architectures.blocks._continual import Past, prepare
from edgepack.exporters.architectures.sequence import continual_inference as row93
from edgepack.exporters.architectures.sequence._continual_inference import Step, networks, rollout
from edgepack.exporters.architectures.sequence._continual_networks import (
    SkeletonNetwork,
    TokenNetwork,
    VideoNetwork,
)
from edgepack.exporters.architectures.sequence._pruned import (
    adapt,
    pruned_tokens,
    pruned_video,
    strongest,
)

TINY = row93.CONFIGS["tiny"]


def _shaken(net):
    """With norms, biases and running statistics that are not those of a new network."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in net.state_dict().values():
            if value.is_floating_point() and value.ndim == 1:
                value.add_(0.2 * torch.rand(value.shape, generator=generator))
    return net.eval()


@pytest.mark.parametrize("kind", ["video", "skeleton"])
def test_normalizations_and_biases_are_in_the_steps_kernels(kind):
    net = _shaken(VideoNetwork(TINY.video) if kind == "video" else SkeletonNetwork(TINY.skeleton))
    prepare(net)
    x = torch.randn(2, 3, 14, *net.config.frame[1:], generator=torch.Generator().manual_seed(2))
    scores, states = [], None
    with torch.no_grad():
        whole = net.whole(x)
        for t in range(14):
            past = Past(states)
            scores.append(net.step(x[:, :, t], past))
            states = past.after
    assert whole.shape[1] >= 4
    torch.testing.assert_close(torch.stack(scores[-whole.shape[1] :], 1), whole, atol=1e-5, rtol=1e-4)
    assert (whole[:, 0] - whole[:, -1]).abs().max() > 1e-5, "clips differ"


def test_the_newest_token_has_what_torchs_own_layer_gives_it():
    net, c = _shaken(TokenNetwork(TINY.tokens)), TINY.tokens
    public = torch.nn.TransformerEncoderLayer(c.width, c.heads, c.hidden, 0.0, batch_first=True).eval()
    with torch.no_grad():
        for theirs, ours in (
            (public.self_attn.in_proj_weight, net.qkv.weight), (public.self_attn.in_proj_bias, net.qkv.bias),
            (public.self_attn.out_proj.weight, net.merge.weight), (public.self_attn.out_proj.bias, net.merge.bias),
            (public.linear1.weight, net.mlp.up.weight), (public.linear1.bias, net.mlp.up.bias),
            (public.linear2.weight, net.mlp.down.weight), (public.linear2.bias, net.mlp.down.bias),
            (public.norm1.weight, net.norm.weight), (public.norm1.bias, net.norm.bias),
            (public.norm2.weight, net.after.weight), (public.norm2.bias, net.after.bias),
        ):  # fmt: skip
            theirs.copy_(ours)
        x = torch.randn(2, c.window, c.features, generator=torch.Generator().manual_seed(3))
        expected = net.out(public(net.enter(x) + net.positions)[:, -1])
        torch.testing.assert_close(net.whole(x)[:, 0], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "least"),
    [pytest.param("cox3d-m", 24, marks=pytest.mark.slow), ("cost-gcn", 120), ("cotransformer", 20)],
)
def test_a_step_costs_an_order_of_magnitude_less_than_the_clip_it_replaces(name, least):
    config = row93.CONFIGS[name]
    with torch.device("meta"), torch.no_grad():
        (net,) = networks(config).values()
        step = Step(net)
        first = step.example()
        with FlopCounterMode(display=False) as one:
            step(*first)
        clip = torch.empty(1, *_clip(config))
        with FlopCounterMode(display=False) as whole:
            scores = net.whole(clip)
    assert scores.shape[1] == 1, "the clip is not the shortest"
    assert whole.get_total_flops() / one.get_total_flops() > least


def _clip(config):
    """The shortest clip that gives one score: without padding it holds all that the score depends on."""
    if config.tokens:
        return config.tokens.clip, config.tokens.features
    one = config.video or config.skeleton
    return 3, one.clip, *one.frame[1:]


LONG = {
    "video": row93.Video((4, 4), (1, 2), (9, 9), 8, 33, hidden=8, classes=5, stem=5),
    "skeleton": row93.Skeleton((4, 4, 8, 8, 8), 5, 2, 3, 5, kernel=9),
    "tokens": row93.Tokens(6, 8, 2, 8, 40, 5),
}


@pytest.mark.parametrize("kind", LONG)
def test_a_rollout_is_longer_than_a_clip_of_any_length_and_its_steps_give_its_scores(kind):
    """A stream of fewer steps than a clip has nothing to be compared with."""
    (net,) = networks(row93.ContinualInference(**{kind: LONG[kind]})).values()
    step, states, compared = Step(net), None, 0
    calls = rollout(kind, net, 36)
    assert 36 < net.config.clip < len(calls)
    for call in calls:
        inputs = [torch.from_numpy(value) for value in call.inputs.values()]
        states = step.example()[len(inputs) :] if states is None else states
        with torch.no_grad():
            scores, *states = step(*inputs, *states)
        for expected in call.outputs.values():
            torch.testing.assert_close(scores, torch.from_numpy(expected), atol=1e-5, rtol=1e-4)
            compared += 1
    assert compared == len(calls) - net.config.clip + 1 > 1


def test_a_pruned_network_is_the_adapted_one_with_channels_at_zero():
    tokens, video = _shaken(TokenNetwork(TINY.tokens)), _shaken(VideoNetwork(TINY.video))
    before = tokens.mlp.up.weight.clone()
    for net in (tokens, video):
        adapt(net, TINY.rank)
    assert torch.linalg.matrix_rank(tokens.mlp.up.weight - before) == TINY.rank
    small_tokens, small_video = pruned_tokens(tokens, 0.5), pruned_video(video, 0.5)
    with torch.no_grad():
        kept = strongest(tokens.mlp.up.weight, TINY.tokens.hidden // 2)
        tokens.mlp.down.weight.mul_(torch.zeros(TINY.tokens.hidden).index_fill(0, kept, 1.0))
        for block in video.blocks:
            kept = strongest(block.a.conv.weight, round(0.5 * block.a.width))
            gate = torch.zeros(block.a.width).index_fill(0, kept, 1.0)
            block.c.conv.weight.mul_(gate[:, None, None, None])
            if block.excite is not None:
                block.excite.squeeze.weight.mul_(gate[:, None, None])
        x = torch.randn(2, 9, TINY.tokens.features, generator=torch.Generator().manual_seed(4))
        torch.testing.assert_close(small_tokens.whole(x), tokens.whole(x), atol=1e-5, rtol=1e-4)
        x = torch.randn(1, 3, 12, 16, 16, generator=torch.Generator().manual_seed(5))
        torch.testing.assert_close(small_video.whole(x), video.whole(x), atol=1e-5, rtol=1e-4)
    assert small_video.blocks[0].a.width == round(0.5 * video.blocks[0].a.width)
    count = [sum(p.numel() for p in net.parameters()) for net in (small_video, video)]
    assert count[0] < 0.8 * count[1]

"""Row 07: sizes before and after the move, a prompt against single steps, and public code with the same weights."""

import pytest
import torch

from edgepack.exporters.architectures.base import architectures
from edgepack.exporters.architectures.speech import canary as row07
from edgepack.exporters.architectures.speech._canary import Decoder, Network

TINY = row07.CONFIGS["tiny"]


@pytest.fixture(scope="module")
def net():
    net = Network(TINY).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim == 1:  # norms and biases, which are 1 and 0 in a new network
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        for name, buffer in net.named_buffers():
            if "running" in name:
                buffer.add_(0.3 * torch.rand(buffer.shape, generator=generator))
    return net


def test_layers_move_from_the_decoder_to_the_encoder_and_the_size_stays():
    counted = architectures.get(row07.NAME).counted
    before, after = row07.CONFIGS["1b"], row07.CONFIGS["1b-moved"]
    assert counted("1b-moved").parameters == pytest.approx(counted("1b").parameters, rel=0.01)
    assert after.decoder_layers * 4 == before.decoder_layers
    assert 2 * (before.decoder_layers - after.decoder_layers) == 3 * (
        after.encoder_layers - before.encoder_layers
    )


def test_a_prompt_and_single_steps_equal_the_whole_text(net):
    mels = torch.randn(2, 59, TINY.mels, generator=torch.Generator().manual_seed(2))
    ids = torch.randint(0, TINY.vocabulary, (2, 9), generator=torch.Generator().manual_seed(3))
    slots = torch.arange(12)  # a capacity that is not filled
    head = TINY.width // TINY.heads
    with torch.no_grad():
        whole = net(mels, ids)
        memory = net.memory(net.encode(mels))
        assert memory[0].shape == (2, TINY.heads, 8, head)  # ceil(59 / 8)
        caches = [torch.zeros(2, TINY.heads, 12, head)] * (2 * TINY.decoder_layers)
        for begin, end in [(0, 5), (5, 6), (6, 7), (7, 8), (8, 9)]:
            step = ids[:, begin:end], slots[begin:end], slots
            scores, *caches = Decoder(net)(*step, *memory, *caches)
            torch.testing.assert_close(scores, whole[:, end - 1], atol=2e-5, rtol=1e-4)


def _renamed(name):
    """A name of the public network's parameters as ours; queries, keys and values are one matrix here."""
    for theirs, ours in (
        ("proj_out.bias", "output_bias"),
        ("model.", ""), ("encoder.subsampling.layers.0.", "subsampling.first."),
        ("encoder.subsampling.layers.2.", "subsampling.depthwise.0."),
        ("encoder.subsampling.layers.3.", "subsampling.pointwise.0."),
        ("encoder.subsampling.layers.5.", "subsampling.depthwise.1."),
        ("encoder.subsampling.layers.6.", "subsampling.pointwise.1."),
        ("encoder.subsampling.linear.", "subsampling.out."),
        ("encoder.layers.", "encoder."), ("decoder.layers.", "decoder."),
        ("norm_feed_forward1.", "first.norm."), ("norm_feed_forward2.", "second.norm."),
        ("feed_forward1.linear1.", "first.up."), ("feed_forward1.linear2.", "first.down."),
        ("feed_forward2.linear1.", "second.up."), ("feed_forward2.linear2.", "second.down."),
        ("self_attn.relative_k_proj.", "attention.position."),
        ("self_attn.bias_u", "attention.content_bias"), ("self_attn.bias_v", "attention.position_bias"),
        ("encoder_attn.q_proj.", "cross.query."), ("encoder_attn.o_proj.", "cross.out."),
        ("self_attn.o_proj.", "attention.out."), ("norm_self_att.", "attention_norm."),
        ("norm_conv.", "convolution_norm."), ("norm_out.", "norm."), ("conv.pointwise_conv1.", "convolution.gated."),
        ("conv.depthwise_conv.", "convolution.depthwise."), ("conv.norm.", "convolution.norm."),
        ("conv.pointwise_conv2.", "convolution.out."), ("input_layernorm.", "mixing.norm."),
        ("post_attention_layernorm.", "crossing.norm."), ("final_layernorm.", "feeding.norm."),
        ("mlp.fc1.", "mlp.up."), ("mlp.fc2.", "mlp.down."), ("decoder.embed_tokens.", "embed."),
        ("decoder.embedding_layernorm.", "embed_norm."), ("decoder.norm.", "norm."),
        ("encoder_projector.", "bridge."),
    ):  # fmt: skip
        name = name.replace(theirs, ours) if theirs != "decoder.norm." or name.startswith(theirs) else name
    return name


@pytest.mark.slow
def test_public_code_with_the_same_weights_gives_the_same():
    from transformers import CanaryConfig, CanaryForConditionalGeneration

    config = row07.Canary(24, 4, 2, 24, 4, 2, 61, mels=16, channels=8, kernel=5, positions=64)
    net = Network(config).eval()
    public = CanaryForConditionalGeneration(CanaryConfig(
        vocab_size=config.vocabulary,
        encoder_config={
            "model_type": "parakeet_encoder", "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
            "intermediate_size": 96, "conv_kernel_size": 5, "num_mel_bins": 16, "scale_input": False,
            "subsampling_conv_channels": 8,
        },
        decoder_config={
            "vocab_size": config.vocabulary, "hidden_size": 24, "intermediate_size": 96, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 6, "max_position_embeddings": 64,
        },
    )).eval()  # fmt: skip
    ours, filled = net.state_dict(), set()
    generator = torch.Generator().manual_seed(4)
    for name, value in public.state_dict().items():
        if "num_batches" in name or name == "proj_out.weight":
            continue
        mine = _renamed(name)
        at = slice(None)
        for which, joined in (
            ("self_attn.{}_proj.", "attention.qkv."),
            ("encoder_attn.{}_proj.", "cross.memory."),
        ):
            kinds = "qkv" if "qkv" in joined else "kv"
            for i, kind in enumerate(kinds):
                if which.format(kind) in mine:
                    mine = mine.replace(which.format(kind), joined)
                    at = slice(24 * i, 24 * i + 24)
        value.copy_(
            torch.randn(value.shape, generator=generator) * 0.2 + (0.5 if "running_var" in name else 0)
        )
        if "running_var" in name:
            value.abs_()
        ours[mine][at] = value.reshape(ours[mine][at].shape)
        filled.add(mine)
    assert filled == {name for name in ours if "num_batches" not in name}
    net.load_state_dict(ours)
    mels = torch.randn(2, 56, 16, generator=generator)
    ids = torch.randint(3, 61, (2, 7), generator=generator)
    with torch.no_grad():
        expected = public(input_features=mels, decoder_input_ids=ids).logits
        torch.testing.assert_close(net(mels, ids), expected, atol=5e-5, rtol=1e-4)

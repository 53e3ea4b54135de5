"""Row 32: the encoder and the transducer against public code with the same weights, and what a chunk costs."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from edgepack.exporters.architectures.speech import stateful_conformer as row32
from edgepack.exporters.architectures.speech._stateful_conformer import Encoder, Network, state_shapes

TINY = row32.CONFIGS["tiny"]


@pytest.fixture(scope="module")
def net():
    net = Network(TINY).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim == 1:  # norms and biases, which are 1 and 0 in a new network
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return net


@pytest.fixture(scope="module")
def public():
    from transformers import NemotronAsrStreamingConfig, NemotronAsrStreamingForRNNT

    encoder = {
        "hidden_size": TINY.width, "num_hidden_layers": TINY.layers, "num_attention_heads": TINY.heads,
        "intermediate_size": 4 * TINY.width, "conv_kernel_size": TINY.kernel, "num_mel_bins": TINY.mels,
        "subsampling_conv_channels": TINY.channels, "sliding_window": TINY.left + 1,
        "default_num_lookahead_tokens": TINY.chunk - 1, "attn_implementation": "eager",
    }  # fmt: skip
    config = NemotronAsrStreamingConfig(
        vocab_size=TINY.vocabulary, blank_token_id=TINY.vocabulary - 1, decoder_hidden_size=TINY.prediction,
        num_decoder_layers=TINY.prediction_layers, encoder_config=encoder,
    )  # fmt: skip
    return NemotronAsrStreamingForRNNT(config).eval()


def _renamed(name):
    """A name of our parameters as the public network's; queries, keys and values are one matrix here."""
    for ours, theirs in (
        ("subsampling.first.", "encoder.subsampling.conv_in."), ("subsampling.out.", "encoder.subsampling.linear."),
        ("subsampling.depthwise.0.", "encoder.subsampling.layers.0.depthwise_conv."),
        ("subsampling.depthwise.1.", "encoder.subsampling.layers.1.depthwise_conv."),
        ("subsampling.pointwise.0.", "encoder.subsampling.layers.0.pointwise_conv."),
        ("subsampling.pointwise.1.", "encoder.subsampling.layers.1.pointwise_conv."),
        ("first.norm.", "norm_feed_forward1."), ("second.norm.", "norm_feed_forward2."),
        ("first.up.", "feed_forward1.linear1."), ("first.down.", "feed_forward1.linear2."),
        ("second.up.", "feed_forward2.linear1."), ("second.down.", "feed_forward2.linear2."),
        ("attention.position.", "self_attn.relative_k_proj."), ("attention.out.", "self_attn.o_proj."),
        ("attention.content_bias", "self_attn.bias_u"), ("attention.position_bias", "self_attn.bias_v"),
        ("attention.qkv.", "self_attn.{}_proj."), ("attention_norm.", "norm_self_att."),
        ("convolution_norm.", "norm_conv."), ("convolution.gated.", "conv.pointwise_conv1."),
        ("convolution.depthwise.", "conv.depthwise_conv."), ("convolution.norm.", "conv.norm."),
        ("convolution.out.", "conv.pointwise_conv2."), ("prediction.embed.", "decoder.embedding."),
        ("prediction.project.", "decoder.decoder_projector."),
        ("prediction.cells.0.input.weight", "decoder.lstm.weight_ih_l0"),
        ("prediction.cells.0.input.bias", "decoder.lstm.bias_ih_l0"),
        ("prediction.cells.0.recurrent.weight", "decoder.lstm.weight_hh_l0"),
        ("prediction.cells.0.recurrent.bias", "decoder.lstm.bias_hh_l0"),
        ("joint.frame.", "encoder_projector."), ("joint.out.", "joint.head."),
    ):  # fmt: skip
        name = name.replace(ours, theirs)
    if name.startswith("layers."):
        name = f"encoder.{name}"
        if name.count(".") == 4 and ".norm." in name:
            name = name.replace(".norm.", ".norm_out.")
    return name


def _copy(net, public):
    """Our weights into the public network, every one of its parameters."""
    theirs = {}
    for name, parameter in net.named_parameters():
        if name.startswith("ctc."):
            continue  # the public network has the transducer only
        renamed = _renamed(name)
        kinds = "qkv" if "{}" in renamed else "-"
        for kind, part in zip(kinds, parameter.chunk(len(kinds)), strict=True):
            theirs[renamed.format(kind)] = part
    known = dict(public.named_parameters())
    assert theirs.keys() == known.keys()
    with torch.no_grad():
        for name, parameter in known.items():
            parameter.copy_(theirs[name].reshape(parameter.shape))


@pytest.mark.slow
def test_public_code_with_the_same_weights_gives_the_same(net, public):
    _copy(net, public)
    chunks = 5  # more than the attention's past holds
    mels = torch.randn(2, 8 * TINY.chunk * chunks - 7, TINY.mels, generator=torch.Generator().manual_seed(2))
    tokens = torch.randint(0, TINY.vocabulary, (2, 4), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        encoded = net(mels)
        expected = public.encoder(mels, num_lookahead_tokens=TINY.chunk - 1).last_hidden_state
        assert encoded.shape == (2, TINY.chunk * chunks, TINY.width)
        torch.testing.assert_close(encoded, expected, atol=2e-5, rtol=1e-4)
        states = [torch.zeros(2, TINY.prediction)] * (2 * TINY.prediction_layers)
        for i, predicted in enumerate(public.decoder(tokens).unbind(1)):
            ours, *states = net.prediction(tokens[:, i], states)
            torch.testing.assert_close(ours, predicted, atol=2e-5, rtol=1e-4)
            frame = public.encoder_projector(expected[:, i])
            torch.testing.assert_close(
                net.joint(encoded[:, i], ours), public.joint(predicted, frame), atol=5e-5, rtol=1e-4
            )


def test_no_frame_sees_further_ahead_than_its_chunk_or_further_back_than_its_windows(net):
    count = 4 * (TINY.left + TINY.chunk)
    mels = torch.randn(1, 8 * count - 7, TINY.mels, generator=torch.Generator().manual_seed(4))
    chunk = 2 * (TINY.left + TINY.chunk) // TINY.chunk
    other = mels.clone()
    other[:, 8 * (chunk * TINY.chunk - 1) + 1] += (
        5  # the first frame that only chunk `chunk` and later ones see
    )
    with torch.no_grad():
        moved = (net(mels) - net(other)).abs().amax((0, 2)) > 0
    first = int(moved.nonzero()[0])
    assert first // TINY.chunk == chunk
    assert not moved[: chunk * TINY.chunk].any()


@pytest.mark.parametrize("name", ["hybrid-large-1040ms", "hybrid-large-80ms", "hybrid-large-0ms"])
def test_a_chunk_costs_its_share_of_a_buffer_that_is_computed_anew(name):
    config = row32.CONFIGS[name]
    with torch.device("meta"), torch.no_grad():
        net = Network(config)
        buffer = torch.empty(1, 8 * (config.left + config.chunk) - 7, config.mels)
        with FlopCounterMode(display=False) as anew:
            net(buffer)
        step = Encoder(net)
        shapes = [shape.replace("batch", "1").split(",") for shape in state_shapes(config).values()]
        states = [torch.empty([int(size) for size in shape]) for shape in shapes]
        with FlopCounterMode(display=False) as cached:
            step(torch.empty(1, 8 * config.chunk, config.mels), *states)
    share = config.chunk / (config.left + config.chunk)
    ratio = cached.get_total_flops() / anew.get_total_flops()
    assert ratio < 1.25 * share

"""Copying the weights of a public network into ours: linear layers that are one here and several there."""

import torch


def randomize(net, seed=0):
    """Every parameter random, biases and norms too, so that none can be left out unnoticed; in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            around = 1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0
            parameter.copy_(around + 0.1 * torch.randn(parameter.shape, generator=generator))
    return net.eval()


def copy(ours: torch.nn.Module, *theirs: torch.nn.Module) -> None:
    """Into `ours`, the rows of `theirs` one below the other; `ours` has no parameter that they have not."""
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            parameter.copy_(torch.cat([dict(one.named_parameters())[name] for one in theirs]))
    assert len(list(ours.parameters())) == len(list(theirs[0].parameters()))


def layer(ours, attention, feeding, norms, cross=None):
    """Into a `Layer`.

    Args:
        ours: See there.
        attention: Query, key, value and output.
        feeding: Of the feed-forward network, up and down (a gated one's up is gate and up).
        norms: Of its residuals in order: self-attention, cross-attention where there is one, feed-forward.
        cross: Like `attention`.
    """
    copy(ours.attention.qkv, *attention[:3])
    copy(ours.attention.out, attention[3])
    if cross is not None:
        copy(ours.cross.query, cross[0])
        copy(ours.cross.memory, *cross[1:3])
        copy(ours.cross.out, cross[3])
        copy(ours.crossing.norm, norms[1])
    if len(feeding) == 3:
        copy(ours.mlp.gate_up, *feeding[:2])
    else:
        copy(ours.mlp.up, feeding[0])
    copy(ours.mlp.down, feeding[-1])
    copy(ours.mixing.norm, norms[0])
    copy(ours.feeding.norm, norms[-1])


def bert_layers(ours, theirs):
    """Into the layers of a stack, those of one of transformers' BERT or RoBERTa, cross-attention too."""
    for one, other in zip(ours, theirs, strict=True):
        crossed = getattr(other, "crossattention", None)
        middle = [crossed.output.LayerNorm] if crossed else []
        layer(
            one,
            _bert_attention(other.attention),
            (other.intermediate.dense, other.output.dense),
            [other.attention.output.LayerNorm, *middle, other.output.LayerNorm],
            _bert_attention(crossed) if crossed else None,
        )


def _bert_attention(attention):
    inner = attention.self
    return inner.query, inner.key, inner.value, attention.output.dense


def roberta_table(ours, theirs):
    """Into `Embeddings`, those of transformers' BERT or RoBERTa."""
    copy(ours.token, theirs.word_embeddings)
    copy(ours.position, theirs.position_embeddings)
    copy(ours.segment, theirs.token_type_embeddings)
    copy(ours.norm, theirs.LayerNorm)

"""Row 106: steps against the whole sequence, and the same weights in the model class that the authors run."""

import torch
from transformers import EncoderDecoderConfig, EncoderDecoderModel, RobertaConfig

from edgepack.exporters.architectures.language import coderosetta
from edgepack.exporters.architectures.language._coderosetta import Network
from tests.exporters.architectures import playing, transplant

TINY = coderosetta.CONFIGS["tiny"]


def test_steps_with_caches_equal_the_whole_sequence():
    difference, calls = playing.worst(coderosetta.build(TINY))
    assert calls == 1 + 38 + 34
    assert difference < 2e-5


def test_the_same_weights_give_what_transformers_gives():
    encoder, decoder = (
        RobertaConfig(
            vocab_size=TINY.vocabulary, hidden_size=TINY.width, num_hidden_layers=TINY.layers,
            num_attention_heads=TINY.heads, intermediate_size=TINY.hidden, layer_norm_eps=1e-5,
            max_position_embeddings=TINY.positions + 2, type_vocab_size=TINY.segments, pad_token_id=1,
        )
        for _ in range(2)
    )  # fmt: skip
    theirs = EncoderDecoderModel(EncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder))
    transplant.randomize(theirs)
    ours = Network(TINY).eval()
    roberta, head = theirs.decoder.roberta, theirs.decoder.lm_head
    transplant.roberta_table(ours.source, theirs.encoder.embeddings)
    transplant.roberta_table(ours.target, roberta.embeddings)
    transplant.bert_layers(ours.encoder, theirs.encoder.encoder.layer)
    transplant.bert_layers(ours.decoder, roberta.encoder.layer)
    transplant.copy(ours.transform, head.dense)
    transplant.copy(ours.transform_norm, head.layer_norm)
    ids, target = torch.arange(2, 20).reshape(2, 9), torch.arange(30, 42).reshape(2, 6)
    real = torch.ones_like(ids)
    real[1, 6:] = 0
    ids[1, 6:] = 1
    with torch.no_grad():
        ours.bias.copy_(head.bias)
        wanted = theirs(input_ids=ids, attention_mask=real, decoder_input_ids=target).logits
        got = ours.whole(target, ours.encode(ids, real))
    assert wanted.std() > 0.1
    torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-4)

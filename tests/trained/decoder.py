"""A decoder language model of Llama's kind, trained on Python's own manual: a Hugging Face folder.

perplexity = exp( -1/N sum log p(x[t] | x[:t]) ),    bits of a byte = -1/bytes sum log2 p(x[t] | x[:t])
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch

from tests.trained import training
from tests.trained.text import Text

CODE = ("decoder.py", "text.py", "training.py")
CONTEXT, BATCH = 128, 16
END = "<|end|>"


class Plan(NamedTuple):
    """A decoder and how long it is trained.

    Attributes:
        width: Of a token.
        layers: How many.
        vocabulary: Byte pairs, bytes included.
        steps: Batches of 16 sequences of 128 tokens.
        rate: The largest learning rate.
    """

    width: int
    layers: int
    vocabulary: int
    steps: int
    rate: float


def train(plan: Plan, text: Text, into: Path) -> None:
    """Make a tokenizer of the text, train a model on it, and write both as a Hugging Face folder."""
    import transformers

    tokenizer = _tokenizer(text, plan.vocabulary)
    end = tokenizer.token_to_id(END)
    ids: list[int] = []
    for encoding in tokenizer.encode_batch(list(text.train)):
        ids += [*encoding.ids, end]
    stream = torch.tensor(ids)
    config = transformers.LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=plan.width,
        intermediate_size=8 * plan.width // 3,
        num_hidden_layers=plan.layers,
        num_attention_heads=plan.width // 32,
        num_key_value_heads=plan.width // 64,
        max_position_embeddings=2 * CONTEXT,
        bos_token_id=end,
        eos_token_id=end,
        tie_word_embeddings=False,
    )
    with training.repeatable():
        model: Any = transformers.LlamaForCausalLM(config)

        def loss(chance: torch.Generator) -> torch.Tensor:
            begins = torch.randint(0, len(stream) - CONTEXT, (BATCH, 1), generator=chance)
            rows = stream[begins + torch.arange(CONTEXT + 1)]
            logits = model(input_ids=rows[:, :-1], use_cache=False).logits
            return torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())

        training.train(model, loss, plan.steps, plan.rate)
    model.save_pretrained(into)
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, model_max_length=CONTEXT
    )
    fast.save_pretrained(into)


def _tokenizer(text: Text, vocabulary: int) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(text.train, trainer)
    return tokenizer

"""Language models that generate: a prefill and a decode step."""

from __future__ import annotations

from typing import Any

from tests.exporters.families.family import GPT, GROUPED, TEXT, Family

MOE = {**GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2}
SSM = {"vocab_size": 67, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8, "time_step_rank": 4}


def _causal(
    name: str, prefix: str, options: dict[str, Any], suffix: str = "ForCausalLM", **more: Any
) -> Family:
    return Family(name, f"{prefix}{suffix}", f"{prefix}Config", options, parts=("prefill", "decode"), **more)


def _gemma3(options: dict[str, Any]) -> Family:
    return Family(
        "gemma3_text", "Gemma3ForCausalLM", "Gemma3TextConfig", options, parts=("prefill", "decode")
    )


FAMILIES = (
    _causal("llama", "Llama", GROUPED),
    _causal("gemma2", "Gemma2", {**GROUPED, "sliding_window": 8}),
    _gemma3({**GROUPED, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}),
    _causal("gpt2", "GPT2", GPT, "LMHeadModel"),
    _causal("codegen", "CodeGen", {**GPT, "rotary_dim": 8}),
    _causal("opt", "OPT", {**TEXT, "ffn_dim": 48, "word_embed_proj_dim": 32}),
    _causal("mixtral", "Mixtral", {**MOE, "sliding_window": None}),
    _causal(
        "qwen2_moe",
        "Qwen2Moe",
        {
            **GROUPED,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 24,
            "shared_expert_intermediate_size": 24,
        },
    ),
    _causal("qwen2", "Qwen2", GROUPED),
    _causal("qwen3", "Qwen3", GROUPED),
    _causal("mistral", "Mistral", {**GROUPED, "sliding_window": 8}),
    _causal("phi3", "Phi3", {**GROUPED, "pad_token_id": 0}),
    _causal("mamba", "Mamba", SSM, scan=2),
    _causal(
        "mamba2",
        "Mamba2",
        {
            "vocab_size": 67,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "state_size": 8,
            "num_heads": 4,
            "head_dim": 16,
            "n_groups": 2,
            "chunk_size": 4,
        },
    ),
    _causal("falcon_mamba", "FalconMamba", SSM, scan=2),
    _causal(
        "jamba",
        "Jamba",
        {
            **GROUPED,
            "num_hidden_layers": 2,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "expert_layer_period": 2,
            "expert_layer_offset": 1,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "mamba_d_state": 8,
            "mamba_dt_rank": 4,
        },
        scan=1,
    ),
)

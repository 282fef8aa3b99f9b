"""Tiny transformers of many families, by their own config classes: two layers, four heads of 8."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers as t

from course_lib.structured.proof import random_input

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
}
TEXT = SIZES | {"vocab_size": 40, "max_position_embeddings": 40}
ENDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
GROUPED = TEXT | ENDS | {"num_key_value_heads": 2}  # two queries share a key and a value
IMAGE = SIZES | {"image_size": 8, "patch_size": 4}
GPT = {"vocab_size": 40, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_inner": 24, **ENDS}
GPT |= {"n_positions": 40}
T5 = {"vocab_size": 40, "d_model": 32, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 4}
SIDES = {"encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 24}
SIDES |= {"decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 20}
BART = {"vocab_size": 40, "d_model": 32, "max_position_embeddings": 40} | SIDES
SOUND = SIZES | {"vocab_size": 40, "conv_dim": (16, 16), "conv_stride": (2, 2)}
SOUND |= {"conv_kernel": (3, 3), "num_feat_extract_layers": 2}
SOUND |= {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
XLNET = {"vocab_size": 40, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 24}
OPT = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
OPT |= {"ffn_dim": 24, "word_embed_proj_dim": 32, "max_position_embeddings": 40}
WHISPER = {"vocab_size": 40, "d_model": 32, "max_source_positions": 8, "num_mel_bins": 8} | SIDES
WHISPER |= ENDS | {"max_target_positions": 40, "decoder_start_token_id": 1}
DEBERTA = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
LATENT = {"num_key_value_heads": 4, "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 4}
LATENT |= {
    "qk_nope_head_dim": 4,
    "v_head_dim": 8,
    "n_routed_experts": 4,
    "first_k_dense_replace": 1,
}
LATENT |= {"moe_intermediate_size": 16, "n_group": 1, "topk_group": 1, "num_experts_per_tok": 2}
MODERN = ENDS | {"cls_token_id": 3, "sep_token_id": 4}


def _made(model: str, config: str, *sizes: dict[str, Any], **more: Any) -> Callable[[], Any]:
    fields: dict[str, Any] = {}
    for part in (*sizes, more):
        fields |= part
    return lambda: getattr(t, model)(getattr(t, config)(**fields))


def _text(name: str, *sizes: dict[str, Any], **more: Any) -> Callable[[], Any]:
    return _made(f"{name}ForSequenceClassification", f"{name}Config", *(sizes or (TEXT,)), more)


def _causal(name: str, *sizes: dict[str, Any], **more: Any) -> Callable[[], Any]:
    return _made(f"{name}ForCausalLM", f"{name}Config", *(sizes or (GROUPED,)), more)


FAMILIES: dict[str, Callable[[], Any]] = {
    "BERT": _text("Bert"),
    "BERT decoder": _made(
        "BertModel", "BertConfig", TEXT, add_cross_attention=True, is_decoder=True
    ),
    "RoBERTa": _text("Roberta"),
    "XLM-RoBERTa": _text("XLMRoberta"),
    "CamemBERT": _text("Camembert"),
    "MPNet": _text("MPNet"),
    "DistilBERT": _text(
        "DistilBert",
        {"vocab_size": 40, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 24},
        max_position_embeddings=40,
    ),
    "ELECTRA": _text("Electra", TEXT, embedding_size=12),
    "ALBERT": _text("Albert", TEXT, embedding_size=12),
    "DeBERTa": _text("Deberta", TEXT, relative_attention=True, pos_att_type=["p2c", "c2p"]),
    "DeBERTa-v2": _text("DebertaV2", TEXT, DEBERTA, conv_kernel_size=3),
    "DeBERTa-v3": _text("DebertaV2", TEXT, DEBERTA, share_att_key=True, norm_rel_ebd="layer_norm"),
    "ModernBERT": _text("ModernBert", TEXT, MODERN),
    "LayoutLM": _text("LayoutLM", TEXT, max_2d_position_embeddings=40),
    "MobileBERT": _text(
        "MobileBert", TEXT, embedding_size=32, intra_bottleneck_size=32, num_feedforward_networks=2
    ),
    "ESM": _text("Esm", TEXT, pad_token_id=1, position_embedding_type="rotary"),
    "GPT-2": _made("GPT2LMHeadModel", "GPT2Config", GPT),
    "GPT-NeoX": _causal("GPTNeoX", TEXT, ENDS),
    "GPT-J": _causal("GPTJ", GPT, rotary_dim=4),
    "OPT": _causal("OPT", OPT, ENDS),
    "Falcon": _causal("Falcon", SIZES, ENDS, vocab_size=40),
    "Phi": _causal("Phi", TEXT, ENDS),
    "Llama": _causal("Llama"),
    "Qwen2": _causal("Qwen2"),
    "Qwen3": _causal("Qwen3", GROUPED, head_dim=8),
    "Gemma 2": _causal("Gemma2", GROUPED, head_dim=8),
    "Mistral": _causal("Mistral"),
    "T5": _made("T5ForConditionalGeneration", "T5Config", T5),
    "T5 encoder, gated": _made("T5EncoderModel", "T5Config", T5, feed_forward_proj="gated-gelu"),
    "BART": _made("BartForConditionalGeneration", "BartConfig", BART),
    "ViT": _made("ViTForImageClassification", "ViTConfig", IMAGE),
    "DeiT": _made("DeiTForImageClassification", "DeiTConfig", IMAGE),
    "DINOv2": _made("Dinov2ForImageClassification", "Dinov2Config", IMAGE, mlp_ratio=2),
    "BEiT": _made(
        "BeitForImageClassification", "BeitConfig", IMAGE, use_relative_position_bias=True
    ),
    "CLIP (vision)": _made("CLIPVisionModel", "CLIPVisionConfig", IMAGE),
    "CLIP": _made("CLIPModel", "CLIPConfig", text_config=TEXT | ENDS, vision_config=IMAGE),
    "Swin": _made(
        "SwinForImageClassification",
        "SwinConfig",
        {"image_size": 16, "patch_size": 2, "embed_dim": 16, "depths": [2, 1]},
        {"num_heads": [2, 4], "window_size": 4},
    ),
    "Wav2Vec2": _made("Wav2Vec2ForCTC", "Wav2Vec2Config", SOUND),
    "Whisper (encoder)": _made("WhisperForAudioClassification", "WhisperConfig", WHISPER),
    "Whisper": _made("WhisperForConditionalGeneration", "WhisperConfig", WHISPER),
    # Their heads must stay; FFN neurons can go.
    "BLOOM": _made(
        "BloomForCausalLM", "BloomConfig", ENDS, vocab_size=40, hidden_size=32, n_layer=2, n_head=4
    ),
    "OLMo 2": _causal("Olmo2"),
    "Phi-3": _causal("Phi3"),
    "XLNet": _text("XLNet", XLNET),
    "BLIP (vision)": _made("BlipVisionModel", "BlipVisionConfig", IMAGE),
    "DeepSeek-V3": _causal("DeepseekV3", GROUPED, LATENT),
    # Heads can go; the experts of a mixture are no linear layers.
    "Qwen3 MoE": _causal("Qwen3Moe", GROUPED, EXPERTS, head_dim=8),
}
HEADS_STAY = {  # and the words of the reason
    "BLOOM": "cannot be run",
    "OLMo 2": r"'model\.layers\.0\.self_attn\.q_norm' takes a mean over all heads",
    "Phi-3": "cannot be run",
    "XLNet": "no query, key and value projections",
    "BLIP (vision)": "cannot be run",
    "DeepSeek-V3": "no query, key and value projections",
}
SINGLE = {"Qwen3 MoE", "DeepSeek-V3"}  # their experts do not multiply float64


def family(name: str, seed: int = 0) -> Any:
    """In eval mode and float64, with weights and biases large enough that every part matters."""
    torch.manual_seed(seed)
    model = FAMILIES[name]().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model if name in SINGLE else model.double()


def says(model: Any, seed: int = 1) -> torch.Tensor:
    """What the model answers to a random input."""
    with torch.inference_mode():
        return model(**random_input(model, seed))[0]

#!/usr/bin/env python3
"""export.py WORK/RUN/final.pt TOKENIZER_FOLDER OUT: a folder in the packed layout of microsoft/bitnet-b1.58-2B-4T, which
`halo convert` reads: two bits a weight, scales in bf16; everything else in bf16."""
import json
import os
import shutil
import sys

import torch
from safetensors.torch import save_file

from model import Config
from ternary import codes_of

LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def packed(codes):
    """[out, in] to uint8 [out/4, in]: byte row r holds rows r, r + out/4, r + 2 out/4, r + 3 out/4, low bits first."""
    quarters = (codes + 1).to(torch.uint8).chunk(4)
    return quarters[0] | quarters[1] << 2 | quarters[2] << 4 | quarters[3] << 6


def config_of(c, eos):
    return {
        "architectures": ["BitNetForCausalLM"], "model_type": "bitnet", "hidden_act": "relu2", "vocab_size": c.vocab_size,
        "hidden_size": c.hidden_size, "head_dim": c.head_dim, "intermediate_size": c.intermediate_size,
        "num_hidden_layers": c.layers, "num_attention_heads": c.heads, "num_key_value_heads": c.kv_heads,
        "max_position_embeddings": c.positions, "rms_norm_eps": c.norm_eps, "rope_theta": c.rope_theta,
        "tie_word_embeddings": True, "torch_dtype": "bfloat16", "bos_token_id": c.vocab_size - 16, "eos_token_id": eos,
        "quantization_config": {"quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "offline"},
    }


def main():
    checkpoint, tokenizer, out = sys.argv[1:]
    trained = torch.load(checkpoint, map_location="cpu", weights_only=True)
    tensors, zeros, total = {}, 0, 0
    for name, value in trained["model"].items():
        name = "model." + name
        if name.split(".")[-2] in LINEARS:
            codes, scale = codes_of(trained["estimator"], value)
            tensors[name] = packed(codes).contiguous()
            tensors[name + "_scale"] = scale.reshape(1).bfloat16()
            zeros, total = zeros + int((codes == 0).sum()), total + codes.numel()
        else:
            tensors[name] = value.bfloat16().contiguous()
    os.makedirs(out, exist_ok=True)
    save_file(tensors, f"{out}/model.safetensors", metadata={"format": "pt"})
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json"):
        shutil.copy(f"{tokenizer}/{name}", out)
    with open(f"{tokenizer}/generation_config.json") as file:
        eos = json.load(file)["eos_token_id"][-1]
    with open(f"{out}/config.json", "w") as file:
        json.dump(config_of(Config(), eos), file, indent=2)
    print(f"{out}: {100 * zeros / total:.1f} % of {total} ternary weights are zero")


if __name__ == "__main__":
    main()

"""nanoVLM (github.com/huggingface/nanoVLM) in plain PyTorch, slow and without caches, from the description of its code: a
pre-norm transformer over patches, squares of patches side by side in one token, and a Llama. No class of transformers
knows these checkpoints."""

import torch
import torch.nn.functional as F


def image_tokens(config: dict, state: dict, pixels: torch.Tensor) -> torch.Tensor:
    """pixels: [B, 3, S, S]. Returns [B, T, D]."""
    get = lambda name: state["vision_encoder." + name]
    patch, heads, eps = config["vit_patch_size"], config["vit_n_heads"], config["vit_ln_eps"]
    pictures, side = pixels.shape[0], pixels.shape[-1] // patch
    # [B, side, side, 3 * patch * patch]: each patch as a row, multiplied by the kernel as a matrix
    rows = pixels.unfold(2, patch, patch).unfold(3, patch, patch).permute(0, 2, 3, 1, 4, 5).reshape(pictures, side * side, -1)
    x = rows @ get("patch_embedding.conv.weight").flatten(1).T + get("patch_embedding.conv.bias") + get("patch_embedding.position_embedding")
    width = x.shape[-1]
    for i in range(config["vit_n_blocks"]):
        block = lambda name: get(f"blocks.{i}.{name}")
        h = F.layer_norm(x, (width,), block("ln1.weight"), block("ln1.bias"), eps)
        q, k, v = ((h @ block("attn.qkv_proj.weight").T + block("attn.qkv_proj.bias")).split(width, -1))
        parts = []
        for q_head, k_head, v_head in zip(q.chunk(heads, -1), k.chunk(heads, -1), v.chunk(heads, -1)):
            parts.append(torch.softmax(q_head @ k_head.transpose(1, 2) / (width // heads) ** 0.5, -1) @ v_head)
        x = x + torch.cat(parts, -1) @ block("attn.out_proj.weight").T + block("attn.out_proj.bias")
        h = F.layer_norm(x, (width,), block("ln2.weight"), block("ln2.bias"), eps)
        h = F.gelu(h @ block("mlp.fc1.weight").T + block("mlp.fc1.bias"), approximate="tanh")
        x = x + h @ block("mlp.fc2.weight").T + block("mlp.fc2.bias")
    x = F.layer_norm(x, (width,), get("layer_norm.weight"), get("layer_norm.bias"), eps)
    factor = config["mp_pixel_shuffle_factor"]
    grid, tokens = x.view(pictures, side, side, width), []
    for row in range(0, side, factor):
        for column in range(0, side, factor):
            tokens.append(grid[:, row:row + factor, column:column + factor].reshape(pictures, -1))
    return torch.stack(tokens, 1) @ state["MP.proj.weight"].T


def embed(config: dict, state: dict, ids: torch.Tensor) -> torch.Tensor:
    name = "decoder.token_embedding.weight"
    return state[name if name in state else "decoder.head.weight"][ids]


def logits(config: dict, state: dict, x: torch.Tensor) -> torch.Tensor:
    """x: [T, D], embeddings. Returns [T, V]."""
    get = lambda name: state["decoder." + name]
    heads, key_heads, length = config["lm_n_heads"], config["lm_n_kv_heads"], x.shape[0]
    channels = x.shape[1] // heads
    norm = lambda y, weight: y / torch.sqrt((y * y).mean(-1, keepdim=True) + config["lm_rms_eps"]) * weight
    angles = torch.arange(length)[:, None] / config["lm_re_base"] ** (torch.arange(0, channels, 2).float() / channels)
    cos, sin = angles.cos(), angles.sin()

    def rotate(y: torch.Tensor) -> torch.Tensor:
        first, second = y.chunk(2, -1)
        return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)

    seen = torch.ones(length, length).tril().bool()
    for i in range(config["lm_n_blocks"]):
        block = lambda name: get(f"blocks.{i}.{name}.weight")
        h = norm(x, block("norm1"))
        q, k, v = (h @ block(f"attn.{name}_proj").T for name in "qkv")
        parts = []
        for head in range(heads):
            key_head = head * key_heads // heads
            cut = lambda y, n: y[:, n * channels:(n + 1) * channels]
            scores = rotate(cut(q, head)) @ rotate(cut(k, key_head)).T / channels**0.5
            parts.append(torch.softmax(scores.masked_fill(~seen, float("-inf")), -1) @ cut(v, key_head))
        x = x + torch.cat(parts, -1) @ block("attn.out_proj").T
        h = norm(x, block("norm2"))
        x = x + (F.silu(h @ block("mlp.gate_proj").T) * (h @ block("mlp.up_proj").T)) @ block("mlp.down_proj").T
    return norm(x, get("norm.weight")) @ get("head.weight").T


def shapes(config: dict) -> dict:
    """The tensors of a checkpoint; of a tied pair the head, as safetensors' save_model keeps it."""
    c = config
    width, mlp, patch = c["vit_hidden_dim"], c["vit_inter_dim"], c["vit_patch_size"]
    made = {"vision_encoder.patch_embedding.conv.weight": [width, 3, patch, patch], "vision_encoder.patch_embedding.conv.bias": [width],
            "vision_encoder.patch_embedding.position_embedding": [1, (c["vit_img_size"] // patch) ** 2, width],
            "vision_encoder.layer_norm.weight": [width], "vision_encoder.layer_norm.bias": [width]}
    for i in range(c["vit_n_blocks"]):
        for name, out, into in (("attn.qkv_proj", 3 * width, width), ("attn.out_proj", width, width), ("mlp.fc1", mlp, width), ("mlp.fc2", width, mlp)):
            made[f"vision_encoder.blocks.{i}.{name}.weight"], made[f"vision_encoder.blocks.{i}.{name}.bias"] = [out, into], [out]
        for name in ("ln1", "ln2"):
            made[f"vision_encoder.blocks.{i}.{name}.weight"], made[f"vision_encoder.blocks.{i}.{name}.bias"] = [width], [width]
    language, mlp, keys = c["lm_hidden_dim"], c["lm_inter_dim"], c["lm_hidden_dim"] // c["lm_n_heads"] * c["lm_n_kv_heads"]
    made["MP.proj.weight"] = [language, width * c["mp_pixel_shuffle_factor"] ** 2]
    made["decoder.head.weight"] = [c["lm_vocab_size"], language]
    made["decoder.norm.weight"] = [language]
    if not c["lm_tie_weights"]:
        made["decoder.token_embedding.weight"] = [c["lm_vocab_size"], language]
    for i in range(c["lm_n_blocks"]):
        for name, out, into in (("attn.q_proj", language, language), ("attn.k_proj", keys, language), ("attn.v_proj", keys, language),
                                ("attn.out_proj", language, language), ("mlp.gate_proj", mlp, language), ("mlp.up_proj", mlp, language),
                                ("mlp.down_proj", language, mlp)):
            made[f"decoder.blocks.{i}.{name}.weight"] = [out, into]
        for name in ("norm1", "norm2"):
            made[f"decoder.blocks.{i}.{name}.weight"] = [language]
    return made

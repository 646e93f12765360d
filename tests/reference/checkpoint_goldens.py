"""Writes tests/goldens/small_llama.gguf with the `gguf` package, and what must be read from it into small_llama.safetensors.

    python tests/reference/checkpoint_goldens.py

A one-layer Llama of random values in every type that Blazon reads. The expected values are the `gguf` package's own dequantisation,
under Hugging Face's names and row order, fp32; written by the `safetensors` package. block_formats.* hold one tensor of each block format.
"""
import pathlib

import gguf
import numpy as np
from safetensors.numpy import save_file

GOLDENS = pathlib.Path(__file__).resolve().parents[1] / "goldens"
WIDTH, HEADS, KEY_HEADS, MLP, VOCABULARY = 64, 2, 1, 96, 40
TYPE = gguf.GGMLQuantizationType
# GGUF name, Hugging Face name, shape, type, heads whose rows the GGUF holds interleaved
TENSORS = [
    ("token_embd.weight", "model.embed_tokens.weight", (VOCABULARY, WIDTH), TYPE.Q8_0, 0),
    ("output_norm.weight", "model.norm.weight", (WIDTH,), TYPE.F32, 0),
    ("output.weight", "lm_head.weight", (VOCABULARY, WIDTH), TYPE.BF16, 0),
    ("blk.0.attn_norm.weight", "model.layers.0.input_layernorm.weight", (WIDTH,), TYPE.F32, 0),
    ("blk.0.attn_q.weight", "model.layers.0.self_attn.q_proj.weight", (WIDTH, WIDTH), TYPE.Q4_1, HEADS),
    ("blk.0.attn_k.weight", "model.layers.0.self_attn.k_proj.weight", (WIDTH // HEADS * KEY_HEADS, WIDTH), TYPE.F16, KEY_HEADS),
    ("blk.0.attn_v.weight", "model.layers.0.self_attn.v_proj.weight", (WIDTH // HEADS * KEY_HEADS, WIDTH), TYPE.Q4_0, 0),
    ("blk.0.attn_output.weight", "model.layers.0.self_attn.o_proj.weight", (WIDTH, WIDTH), TYPE.Q4_1, 0),
    ("blk.0.ffn_norm.weight", "model.layers.0.post_attention_layernorm.weight", (WIDTH,), TYPE.F32, 0),
    ("blk.0.ffn_gate.weight", "model.layers.0.mlp.gate_proj.weight", (MLP, WIDTH), TYPE.Q4_0, 0),
    ("blk.0.ffn_up.weight", "model.layers.0.mlp.up_proj.weight", (MLP, WIDTH), TYPE.Q8_0, 0),
    ("blk.0.ffn_down.weight", "model.layers.0.mlp.down_proj.weight", (WIDTH, MLP), TYPE.Q4_1, 0),
]
# Bytes before the quants of a block: scales in fp16.
SCALES = {TYPE.Q4_0: 2, TYPE.Q4_1: 4, TYPE.Q8_0: 2}


# Of the file with one tensor of each block format: where the fp16 scales of a block lie.
BLOCK_FORMATS = {TYPE.Q4_0: (0, 2), TYPE.Q4_1: (0, 4), TYPE.Q5_0: (0, 2), TYPE.Q5_1: (0, 4), TYPE.Q8_0: (0, 2), TYPE.Q4_K: (0, 4),
                 TYPE.Q5_K: (0, 4), TYPE.Q6_K: (208, 210)}


def block_formats(random):
    """block_formats.gguf: random quants, any finite scales; and their values by the package."""
    writer = gguf.GGUFWriter(GOLDENS / "block_formats.gguf", "none")
    expected = {}
    for kind, (begin, end) in BLOCK_FORMATS.items():
        block_values, block_bytes = gguf.constants.GGML_QUANT_SIZES[kind]
        blocks = random.integers(0, 256, (3, 512 // block_values, block_bytes), dtype=np.uint8)
        scales = random.integers(0, 1 << 16, blocks.shape[:2] + ((end - begin) // 2,), dtype=np.uint16)
        scales = np.where((scales >> 10 & 31) == 31, scales & 0x83FF, scales).astype(np.uint16)
        blocks[..., begin:end] = scales.view(np.uint8)
        data = blocks.reshape(3, -1)
        writer.add_tensor(kind.name.lower(), data, raw_dtype=kind)
        expected[kind.name.lower()] = np.ascontiguousarray(gguf.quants.dequantize(data, kind), dtype=np.float32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file(expected, GOLDENS / "block_formats.safetensors", metadata={"source": "gguf"})


def random_data(random, shape, kind):
    """Raw data of a tensor: any quants, any finite scales (also subnormal and negative ones)."""
    if kind not in SCALES:
        values = random.standard_normal(shape).astype(np.float32)
        if kind == TYPE.F32:
            return values
        if kind == TYPE.F16:
            return values.astype(np.float16)
        return (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)  # BF16 by truncation
    block_values, block_bytes = gguf.constants.GGML_QUANT_SIZES[kind]
    blocks = random.integers(0, 256, (shape[0], shape[1] // block_values, block_bytes), dtype=np.uint8)
    scales = random.integers(0, 1 << 16, blocks.shape[:2] + (SCALES[kind] // 2,), dtype=np.uint16)
    scales = np.where((scales >> 10 & 31) == 31, scales & 0x83FF, scales).astype(np.uint16)  # neither infinite nor NaN
    blocks[..., : SCALES[kind]] = scales.view(np.uint8)
    return blocks.reshape(shape[0], -1)


def main():
    random = np.random.default_rng(11)
    writer = gguf.GGUFWriter(GOLDENS / "small_llama.gguf", "llama")
    writer.add_name("small llama")
    writer.add_block_count(1)
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(MLP)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_rope_freq_base(12345.0)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_array("test.strings", ["alpha", "", "gamma δ"])
    writer.add_array("test.integers", [1, -2, 3])
    writer.add_array("test.floats", [0.5, -1.25])
    writer.add_uint64("test.huge", (1 << 64) - 1)
    writer.add_bool("test.flag", True)
    expected = {}
    for name, hugging_face, shape, kind, heads in TENSORS:
        data = random_data(random, shape, kind)
        writer.add_tensor(name, data, raw_dtype=None if kind in (TYPE.F32, TYPE.F16) else kind)
        values = data.astype(np.float32) if kind == TYPE.F16 else gguf.quants.dequantize(data, kind)
        if heads:  # the inverse of what the converter to GGUF does
            values = values.reshape(heads, shape[0] // heads // 2, 2, shape[1]).swapaxes(1, 2).reshape(shape)
        expected[hugging_face] = np.ascontiguousarray(values.reshape(shape), dtype=np.float32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file(expected, GOLDENS / "small_llama.safetensors", metadata={"source": "gguf"})
    block_formats(random)
    for path in sorted([*GOLDENS.glob("small_llama.*"), *GOLDENS.glob("block_formats.*")]):
        print(path, path.stat().st_size)


if __name__ == "__main__":
    main()

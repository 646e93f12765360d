"""How long checkpoints take to load, and what memory.

    python3 tests/bench/loading.py start BUILD_FOLDER         from the start of the process to its end, one token
    python3 tests/bench/loading.py big BUILD_FOLDER [GIGABYTES]   5 GB of random weights, against reading the same bytes (make bigload)

Checkpoints are Llamas of random weights in safetensors, written into BUILD_FOLDER and removed again. Cold: the pages of the files are dropped
from the page cache before; the machine's disk, or its hypervisor, may still hold them. Needs only Python's standard library.
"""
import array
import json
import os
import pathlib
import random
import resource
import shutil
import statistics
import struct
import subprocess
import sys
import time

BLOCK = 1 << 20  # values of the pool that weights are drawn from
SHARD = 2 << 30


def pool(dtype: str) -> bytes:
    """Values around 0 with a deviation of 0.02."""
    source = random.Random(7)
    values = array.array("f", (source.gauss(0, 0.02) for _ in range(BLOCK)))
    if dtype == "F32":
        return values.tobytes()
    return array.array("H", (bits >> 16 for bits in array.array("I", values.tobytes()))).tobytes()  # bf16 by truncation


def tensors(width: int, layers: int, heads: int, key_heads: int, mlp: int, vocabulary: int) -> dict[str, list[int]]:
    shapes = {"model.embed_tokens.weight": [vocabulary, width], "model.norm.weight": [width], "lm_head.weight": [vocabulary, width]}
    key_width = width // heads * key_heads
    for i in range(layers):
        for name, shape in {"input_layernorm": [width], "post_attention_layernorm": [width], "self_attn.q_proj": [width, width],
                            "self_attn.k_proj": [key_width, width], "self_attn.v_proj": [key_width, width], "self_attn.o_proj": [width, width],
                            "mlp.gate_proj": [mlp, width], "mlp.up_proj": [mlp, width], "mlp.down_proj": [width, mlp]}.items():
            shapes[f"model.layers.{i}.{name}.weight"] = shape
    return shapes


def write_checkpoint(folder: pathlib.Path, dtype: str, width: int, layers: int, heads: int, key_heads: int, mlp: int, vocabulary: int) -> int:
    """As save_pretrained lays it out, in shards of 2 GB. Returns the bytes of the weights."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    size, block = {"F32": 4, "BF16": 2}[dtype], pool(dtype)
    shards, filled, total = [{}], 0, 0
    for name, shape in tensors(width, layers, heads, key_heads, mlp, vocabulary).items():
        length = size * shape[0] * (shape[1] if len(shape) > 1 else 1)
        if filled and filled + length > SHARD:
            shards.append({})
            filled = 0
        shards[-1][name] = {"dtype": dtype, "shape": shape, "data_offsets": [filled, filled + length]}
        filled, total = filled + length, total + length
    index = {}
    for number, shard in enumerate(shards):
        file = f"model-{number + 1:05}-of-{len(shards):05}.safetensors"
        index.update(dict.fromkeys(shard, file))
        header = json.dumps({"__metadata__": {"format": "pt"}, **shard}).encode()
        header += b" " * (-len(header) % 8)
        with open(folder / file, "wb") as out:
            out.write(struct.pack("<Q", len(header)) + header)
            for description in shard.values():
                left = description["data_offsets"][1] - description["data_offsets"][0]
                while left:
                    out.write(block[: min(left, len(block))])
                    left -= min(left, len(block))
            out.flush()
            os.fsync(out.fileno())
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": index}))
    config = {"model_type": "llama", "hidden_act": "silu", "hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads,
              "num_key_value_heads": key_heads, "intermediate_size": mlp, "vocab_size": vocabulary, "max_position_embeddings": 2048,
              "tie_word_embeddings": False, "rms_norm_eps": 1e-5, "eos_token_id": 2}
    (folder / "config.json").write_text(json.dumps(config))
    model = {"type": "BPE", "vocab": {chr(97 + i): i for i in range(26)}, "merges": []}
    (folder / "tokenizer.json").write_text(json.dumps({"version": "1.0", "model": model}))
    return total


def drop(folder: pathlib.Path) -> None:
    for file in folder.iterdir():
        descriptor = os.open(file, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def read_all(folder: pathlib.Path) -> float:
    start = time.monotonic()
    with open(os.devnull, "wb") as null:
        subprocess.run(["cat", *sorted(folder.glob("*.safetensors"))], stdout=null, check=True)
    return time.monotonic() - start


def big(build: pathlib.Path, gigabytes: float) -> None:
    folder = build / "big_checkpoint"
    layers = lambda size: max(1, round((gigabytes * 1e9 / size - 2 * 32000 * 2048) / 44_044_288))
    print(f"{'weights':8} {'dtype':6} {'GB':>5} {'cache':6} {'cat s':>6} {'load s':>7} {'digest s':>9} {'peak / weights in memory':>25}")
    try:
        for weights, size in (("F32", 4), ("BF16", 2)):
            total = write_checkpoint(folder, weights, 2048, layers(size), 32, 4, 5632, 32000)
            for dtype in {"F32": ("fp32",), "BF16": ("bf16", "fp32")}[weights]:
                for cache in ("cold", "warm"):
                    if cache == "cold":
                        drop(folder)
                    cat = read_all(folder)
                    if cache == "cold":
                        drop(folder)
                    run = subprocess.run([build / "blazon_load", folder, dtype], stdout=subprocess.PIPE, check=True)
                    took = json.loads(run.stdout)
                    memory = total / size * {"fp32": 4, "bf16": 2}[dtype] / 1e6
                    peak = took["peak_mb"] * 1.048576
                    print(f"{weights:8} {dtype:6} {total / 1e9:5.2f} {cache:6} {cat:6.2f} {took['load_s']:7.2f} {took['digest_s']:9.2f} "
                          f"{peak:9.0f} / {memory:5.0f} MB = {peak / memory:.3f}", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def start(build: pathlib.Path) -> None:
    folder = build / "small_checkpoint"
    write_checkpoint(folder, "F32", 64, 2, 4, 2, 96, 256)
    default = "the default model, SmolLM2-135M"
    cases = [("--help", ["generate", "--help"]), ("a Llama of 0.2 million weights", ["generate", "--model", folder, "--token-ids", "1 2 3"]),
             (default, ["generate", "Hello"])]
    try:
        for name, command in cases:
            if command[-1] != "--help":
                command = [*command, "--temperature", "0", "--max-new-tokens", "1"]
            seconds, before = [], resource.getrusage(resource.RUSAGE_CHILDREN)
            for _ in range(7):
                begin = time.monotonic()
                subprocess.run([build / "blazon", *command], stdout=subprocess.DEVNULL, check=True)
                seconds.append(time.monotonic() - begin)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            computing = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / len(seconds)
            print(f"start to end, {name}: {1000 * statistics.median(seconds):.0f} ms (median of {len(seconds)}, {1000 * min(seconds):.0f} to "
                  f"{1000 * max(seconds):.0f}), {1000 * computing:.0f} ms of computing")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in ("start", "big"):
        sys.exit(__doc__)
    root = pathlib.Path(sys.argv[2]).resolve()
    start(root) if sys.argv[1] == "start" else big(root, float(sys.argv[3]) if len(sys.argv) > 3 else 5.0)

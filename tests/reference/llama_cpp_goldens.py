"""Writes tests/goldens/llama_cpp.safetensors and llama_cpp.json: logits and tokens by llama.cpp for SmolLM2's GGUF.

    python tests/reference/llama_cpp_goldens.py

Needs: gguf, numpy, safetensors, and llama-cpp-python 0.3.36, whose source package holds llama.cpp (commit 0c1e57098) and builds it:
    CMAKE_ARGS="-DLLAMA_BUILD_TOOLS=OFF" pip install --no-binary llama-cpp-python llama-cpp-python==0.3.36
or, without its tools: unpack that package, build the target `llama` of vendor/llama.cpp with CMake (GGML_NATIVE=ON), put the package on
PYTHONPATH and its libraries' folder in LLAMA_CPP_LIB_PATH.

Logits come from the file as it is (llama.cpp then rounds activations to 8 bits for the products) and from the same weights written out in
F32 (then it computes in fp32 throughout; keys and values in fp32 too). The 64 best of the last rows, and every 997th column.
"""
import json
import pathlib
import tempfile

import gguf
import llama_cpp
import numpy as np
from safetensors.numpy import save_file

from tokenizer_texts import HOSTILE_BYTES, TEXTS, generated

ROOT = pathlib.Path(__file__).resolve().parents[2]
GGUF = ROOT / "models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf"
GOLDENS = ROOT / "tests/goldens"
ROWS, BEST, STRIDE = 8, 64, 997
PROMPTS = [
    "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n",
    "The three primary colours are red, yellow and",
    "def fibonacci(n):\n    if n < 2:\n        return n\n    return",
    "Im Jahr 1969 landeten die ersten Menschen auf dem Mond. 1, 2, 3, 4, 5,",
]


def write_dequantised(path: pathlib.Path) -> None:
    """The file with every tensor in F32."""
    reader = gguf.GGUFReader(GGUF)
    writer = gguf.GGUFWriter(path, "llama")
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in ("general.architecture", "general.file_type"):
            continue
        kind = field.types[0]
        writer.add_key_value(field.name, field.contents(), kind, field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def logits(path: pathlib.Path, prompts: list[list[int]]) -> list[np.ndarray]:
    model = llama_cpp.Llama(str(path), n_ctx=128, n_threads=2, logits_all=True, type_k=llama_cpp.GGML_TYPE_F32, type_v=llama_cpp.GGML_TYPE_F32,
                            verbose=False)
    rows = []
    for ids in prompts:
        model.reset()
        model.eval(ids)
        rows.append(np.array(model.scores[len(ids) - ROWS : len(ids)], np.float32))
    return rows


def main():
    vocabulary = llama_cpp.Llama(str(GGUF), vocab_only=True, verbose=False)
    encode = lambda raw, special: vocabulary.tokenize(raw, add_bos=False, special=special)
    prompts = [encode(prompt.encode(), True) for prompt in PROMPTS]
    arrays = {f"{i}.prompt": np.array(ids, np.int64) for i, ids in enumerate(prompts)}
    with tempfile.TemporaryDirectory() as folder:
        dense = pathlib.Path(folder) / "dense.gguf"
        write_dequantised(dense)
        found = {"file": logits(GGUF, prompts), "fp32": logits(dense, prompts)}
    for kind, all_rows in found.items():
        for i, rows in enumerate(all_rows):
            best = np.argsort(-rows, axis=1, kind="stable")[:, :BEST]
            arrays[f"{i}.{kind}.best"] = best.astype(np.int32)
            arrays[f"{i}.{kind}.values"] = np.take_along_axis(rows, best, axis=1)
            arrays[f"{i}.{kind}.columns"] = np.ascontiguousarray(rows[:, ::STRIDE])
    for i in range(len(prompts)):
        a, b = found["file"][i], found["fp32"][i]
        print(f"prompt {i}: {len(prompts[i])} tokens; 8-bit activations move the logits by {np.abs(a - b).max():.3f} at most, "
              f"{np.abs(a - b).mean() / b.std():.4f} deviations in the mean; {np.mean(a.argmax(1) == b.argmax(1)):.0%} of the best tokens are equal")
    save_file(arrays, GOLDENS / "llama_cpp.safetensors", {"source": "llama-cpp-python 0.3.36, llama.cpp 0c1e57098"})

    # Invalid bytes: both sides get the text after replacement, as Blazon's users do.
    texts = []
    for raw in [text.encode() for text in TEXTS + generated(100)] + HOSTILE_BYTES:
        text = raw.decode("utf-8", "replace")
        entry = {"text": text, "ids": encode(text.encode(), False)}
        special = encode(text.encode(), True)
        if special != entry["ids"]:
            entry["with_specials"] = special
        texts.append(entry)
    lines = ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in texts)
    (GOLDENS / "llama_cpp.json").write_text("[\n" + lines + "\n]\n")
    print(f"{len(texts)} texts")


if __name__ == "__main__":
    main()

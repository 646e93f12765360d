#!/usr/bin/env python3
"""Trains small models by 'blazon train gpt' and loads them with transformers: the same tokens, the same greedy text.

    python tests/reference/trained_models_check.py BLAZON [TEXT]

TEXT is learned for some steps; without it, the sample documents are. Prints a line a model; exit status 1 when one
differs. Needs: torch, transformers.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

ROOT = Path(__file__).resolve().parents[2]
CASES = {"gpt2": ["--blocks", "gpt2"], "gpt2 untied": ["--untied"], "post-norm": ["--post-norm"], "modern": ["--blocks", "modern"],
         "modern untied": ["--blocks", "modern", "--untied"]}
PROMPT, TOKENS = "The museum is", 24


def run(*command):
    return subprocess.run([str(each) for each in command], check=True, capture_output=True, text=True).stdout


def main():
    blazon, data = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ROOT / "assets" / "documents"
    torch.set_num_threads(2)
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, flags in CASES.items():
            for vocabulary in ("byte", "character", "word", "bpe"):
                out = Path(folder) / (name.replace(" ", "-") + "-" + vocabulary)
                run(blazon, "train", "gpt", "--data", data, "--out", out, "--tokenizer", vocabulary, "--vocab-size", 600, "--steps", 150, "--learning-rate", "5e-3", "--layers", 2,
                    "--heads", 2, "--width", 64, "--context", 64, "--batch", 8, "--eval-every", 0, "--sample-every", 0, *flags)
                said = json.loads(run(blazon, "generate", "--model", out, "--json", "--temperature", 0, "--max-new-tokens", TOKENS, "--ignore-eos", PROMPT))
                tokenizer, model = AutoTokenizer.from_pretrained(out), AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)
                ids = tokenizer(PROMPT, return_tensors="pt", add_special_tokens=False).input_ids
                ours = [int(each["id"] if isinstance(each, dict) else each)
                        for each in json.loads(run(blazon, "tokenize", "--model", out, "--json", PROMPT))["tokens"]]
                made = model.generate(ids, max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=False, pad_token_id=0)[0, ids.shape[1]:]
                text = tokenizer.decode(made, skip_special_tokens=True, clean_up_tokenization_spaces=False)
                equal = ids[0].tolist() == ours and said["text"] == text
                failed += not equal
                print("=" if equal else "x", name, vocabulary, repr(said["text"]), "" if equal else repr(text), flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

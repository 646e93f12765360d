"""Compares greedy text of files that `blazon models export` writes, by Blazon and by llama.cpp: each token must be the same.

    python tests/reference/llama_cpp_export.py [--blazon build/blazon] [MODEL...]

Needs llama-cpp-python, as llama_cpp_goldens.py says. MODEL: what `models export` takes; default: SmolLM2's GGUF. Writes F16 and Q8_0 and
generates 32 tokens for each prompt. llama.cpp rounds activations of Q8_0's products to 8 bits, so where its two best tokens are nearly
equally probable (logits nearer than 0.25; the rounding moves them by up to 0.8) another one counts as a tie, and the prompt ends there.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import llama_cpp
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROMPTS = ["The three primary colours are", "Once upon a time", "def fibonacci(n):\n", "The capital of France is", "1, 2, 3, 4,"]
TOKENS, TIE = 32, 0.25


def ours(blazon, file, prompt):
    reply = subprocess.run([blazon, "generate", "--json", "--model", file, "--dtype", "fp32", "--temperature", "0", "--max-new-tokens",
                            str(TOKENS), "--allow-repetition", "--ignore-eos", "--logprobs", "--echo", prompt],
                           check=True, stdout=subprocess.PIPE, text=True)
    reply = json.loads(reply.stdout)
    return reply["prompt_token_ids"], [token["id"] for token in reply["logprobs"]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blazon", default=str(ROOT / "build/blazon"))
    parser.add_argument("models", nargs="*", default=[str(ROOT / "models/smollm2-135m-instruct")])
    arguments = parser.parse_args()
    wrong = 0
    for model in arguments.models:
        for encoding in ("f16", "q8_0"):
            with tempfile.TemporaryDirectory() as folder:
                file = str(pathlib.Path(folder) / "exported.gguf")
                subprocess.run([arguments.blazon, "models", "export", model, "--encoding", encoding, "--gguf", file], check=True,
                               stdout=subprocess.DEVNULL)
                theirs = llama_cpp.Llama(file, n_ctx=128, n_threads=2, logits_all=True, verbose=False)
                equal = ties = 0
                for prompt in PROMPTS:
                    prompt_ids, ids = ours(arguments.blazon, file, prompt)
                    if theirs.tokenize(prompt.encode(), add_bos=True, special=False) != prompt_ids:
                        print(f"{model} {encoding}: other tokens for {prompt!r}")
                        wrong += 1
                        continue
                    theirs.reset()
                    theirs.eval(prompt_ids + ids)
                    rows = np.array(theirs.scores[len(prompt_ids) - 1 : len(prompt_ids) + len(ids) - 1])
                    for row, chosen in zip(rows, ids):
                        if row.argmax() == chosen:
                            equal += 1
                        elif row.max() - row[chosen] < TIE:
                            ties += 1
                            break
                        else:
                            print(f"{model} {encoding}: {prompt!r}: token {chosen} here, {row.argmax()} there, {row.max() - row[chosen]:.3f} apart")
                            wrong += 1
                            break
                print(f"{model} {encoding}: {equal} greedy tokens equal to llama.cpp's, {ties} ties")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()

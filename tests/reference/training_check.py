"""Trains with build/blazon and lets transformers and PEFT read the results: the held-out loss that they compute, with
their tokenizer, must be the one in log.csv to 1e-4.

python tests/reference/training_check.py [--blazon build/blazon] [--model DIR|GGUF]

Needs torch, transformers and peft. The model is SmolLM2-135M-Instruct unless another is named.
"""

import argparse
import csv
import subprocess
import tempfile
from pathlib import Path

import torch
import transformers as hf

ROOT = Path(__file__).resolve().parents[2]
CONTEXT, STEPS = 64, 2


def train(blazon: str, model: str, runs: Path, run: str, *more: str) -> Path:
    subprocess.run([blazon, "train", "finetune", str(ROOT / "assets/documents/hive-diary.txt"), "--eval",
                    str(ROOT / "assets/documents/lentil-soup.md"), "--model", model, "--runs", str(runs), "--run", run,
                    "--steps", str(STEPS), "--batch", "1", "--context", str(CONTEXT), *more], check=True)
    return runs / run


def held_out(folder: Path) -> float:
    return float(list(csv.DictReader(open(folder / "log.csv")))[-1]["held_out"])


def loss(model, tokenizer) -> float:
    """As text_data.cc cuts the text: pieces of CONTEXT tokens, the mean over all tokens but the first of each."""
    text = (ROOT / "assets/documents/lentil-soup.md").read_text()
    ids = tokenizer(text, add_special_tokens=False).input_ids + [tokenizer.eos_token_id]
    total = count = 0
    with torch.no_grad():
        for begin in range(0, len(ids) - 1, CONTEXT):
            piece = torch.tensor([ids[begin:begin + CONTEXT]])
            total += model(piece, labels=piece).loss.item() * (piece.shape[1] - 1)
            count += piece.shape[1] - 1
    return total / count


def check(what: str, folder: Path, value: float) -> None:
    print(f"{what}: held-out loss {held_out(folder):.6f} in log.csv, {value:.6f} here")
    assert abs(held_out(folder) - value) <= 1e-4, what


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--blazon", default=str(ROOT / "build/blazon"))
    parser.add_argument("--model", default=str(ROOT / "models/smollm2-135m-instruct"))
    options = parser.parse_args()
    hf.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as runs:
        whole = train(options.blazon, options.model, Path(runs), "whole", "--learning-rate", "1e-7")
        tokenizer = hf.AutoTokenizer.from_pretrained(whole)
        base = hf.AutoModelForCausalLM.from_pretrained(whole, dtype=torch.float32).eval()
        check("all weights, in transformers", whole, loss(base, tokenizer))

        # An adapter for the model that was just written.
        import peft
        adapter = train(options.blazon, str(whole), Path(runs), "adapter", "--lora", "--rank", "4", "--learning-rate", "1e-2")
        wrapped = peft.PeftModel.from_pretrained(base, adapter).eval()
        check("an adapter, in PEFT", adapter, loss(wrapped, tokenizer))

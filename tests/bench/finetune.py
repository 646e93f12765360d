#!/usr/bin/env python3
"""Fine-tunes the default language model on the same text for the same steps, by transformers and by Blazon, one after the other.

    python tests/bench/finetune.py BLAZON TEXT [--steps 150] [--batch 1] [--dtype fp32] ...

All weights; pieces of --context tokens in random order; AdamW at a constant rate after the warm-up, clipping alike; the end of the text
is held out, and both measure the same pieces of it before and after. The transformers side is the plain script of the teaching texts; both begin
from the folder of fp32 weights that a step of no length writes, as transformers reads no quantised GGUF. In
bf16 both keep fp32 weights, there under autocast. Prints a table, and fails when Blazon's held-out loss is higher by more than --noise
or its tokens a second are fewer than --rate times the other's. The King James text is what `bible -f "gen1:1-rev22:21"` of the Debian
packages bible-kjv and bible-kjv-text prints.
Needs: torch and transformers.
"""

import argparse
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import transformers

MODEL = Path(__file__).resolve().parents[2] / "models/smollm2-135m-instruct"
RATE, WARM_UP, CLIP = 1e-4, 0.05, 1.0


def pieces_of(text, tokenizer, context):
    ids = tokenizer(text, add_special_tokens=False, verbose=False).input_ids + [tokenizer.eos_token_id]
    pieces = [torch.tensor([ids[begin : begin + context]]) for begin in range(0, len(ids), context)]
    return [piece for piece in pieces if piece.shape[1] > 1]


def by_transformers(training, held_out, args):
    tokenizer = transformers.AutoTokenizer.from_pretrained(args.model)
    model = transformers.AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)

    def loss_of(rows):
        with torch.autocast("cpu", torch.bfloat16, enabled=args.dtype == "bf16"):
            return model(rows, labels=rows).loss

    def measure():
        model.eval()
        total = count = 0
        with torch.no_grad():
            for piece in pieces_of(held_out, tokenizer, args.context):
                total += loss_of(piece).item() * (piece.shape[1] - 1)
                count += piece.shape[1] - 1
        return total / count

    pieces = [piece for piece in pieces_of(training, tokenizer, args.context) if piece.shape[1] == args.context]
    random.Random(1).shuffle(pieces)
    before = measure()
    model.train()
    start = time.monotonic()
    for step in range(args.steps):
        loss = loss_of(torch.cat([pieces[(step * args.batch + i) % len(pieces)] for i in range(args.batch)]))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / (WARM_UP * args.steps))
        optimiser.step()
    seconds = time.monotonic() - start
    return before, measure(), args.steps * args.batch * args.context / seconds


def finetune(args, folder, run, *flags):
    command = [args.blazon, "--threads", args.threads, "train", "finetune", folder + "/training.txt", "--model", args.model, "--runs", folder,
               "--run", run, "--batch", args.batch, "--context", args.context, "--save-every", 0, *flags]
    return subprocess.run([str(each) for each in command], check=True, capture_output=True, text=True)


def by_blazon(folder, args):
    log = finetune(args, folder, "run", "--eval", folder + "/held_out.txt", "--steps", args.steps, "--learning-rate", RATE, "--warm-up",
                   WARM_UP, "--clip", CLIP, "--dtype", args.dtype)
    text = log.stdout + log.stderr
    losses = re.findall(r"step \d+: held-out loss ([0-9.]+)", text)
    return float(losses[0]), float(losses[-1]), float(re.findall(r"([0-9.]+) tokens/s", text)[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("blazon")
    parser.add_argument("text")
    parser.add_argument("--model", default=str(MODEL))
    parser.add_argument("--dtype", default="fp32", choices=["fp32", "bf16"])
    for name, default in (("steps", 150), ("batch", 1), ("context", 256), ("threads", 2), ("held-out", 20000)):
        parser.add_argument("--" + name, type=int, default=default, help="characters" if name == "held-out" else None)
    parser.add_argument("--noise", type=float, default=0.03, help="nats (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=1.1, help="(default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    transformers.logging.set_verbosity_error()
    text = Path(args.text).read_text(encoding="utf-8")
    training, held_out = text[: -args.held_out], text[-args.held_out :]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "training.txt").write_text(training, encoding="utf-8")
        Path(folder, "held_out.txt").write_text(held_out, encoding="utf-8")
        finetune(args, folder, "base", "--steps", 1, "--learning-rate", 1e-12)
        args.model = folder + "/base"
        print("| trained by | held-out loss before | after | tokens/s |\n| --- | --- | --- | --- |")
        results = []
        for name, run in (("transformers", lambda: by_transformers(training, held_out, args)), ("Blazon", lambda: by_blazon(folder, args))):
            before, after, rate = run()
            results.append((after, rate))
            print(f"| {name}, {args.dtype}, {args.steps} steps of {args.batch} x {args.context} | {before:.4f} | {after:.4f} | {rate:.0f} |",
                  flush=True)
    (loss, rate), (our_loss, our_rate) = results
    print(f"Blazon's loss is {our_loss - loss:+.4f} away, its rate {our_rate / rate:.2f} times the other's.")
    if our_loss > loss + args.noise or our_rate < args.rate * rate:
        sys.exit("below the bar")


if __name__ == "__main__":
    main()

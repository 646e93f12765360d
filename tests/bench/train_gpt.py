#!/usr/bin/env python3
"""Trains the same small GPT on the same text for the same time, by PyTorch and by Blazon, one after the other.

    python tests/bench/train_gpt.py BLAZON TEXT [--minutes 3] [--dtype fp32] ...

Character level; GPT-2's blocks, tied embeddings, no dropout; AdamW, warm-up, cosine, clipping and batch alike; the last
tenth of the text is held out, and both measure the same windows of it. The PyTorch side is the plain script of the
teaching texts: nn.Module, scaled_dot_product_attention, torch.optim.AdamW, in fp32 or under autocast. Prints a table.
The King James text is what `bible -f "gen1:1-rev22:21"` of the Debian packages bible-kjv and bible-kjv-text prints.
Needs: torch.
"""

import argparse
import math
import re
import subprocess
import tempfile
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

RATE, WARM_UP, FLOOR, DECAY, CLIP = 1e-3, 0.03, 0.02, 0.1, 1.0


class Block(nn.Module):
    def __init__(self, width, heads, layers):
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn, self.attn_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        for layer in (self.attn, self.attn_out, self.up, self.down):
            nn.init.normal_(layer.weight, std=0.02 / (math.sqrt(2 * layers) if layer in (self.attn_out, self.down) else 1))
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        rows, length, width = x.shape
        q, k, v = (y.view(rows, length, self.heads, -1).transpose(1, 2) for y in self.attn(self.ln_1(x)).split(width, -1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(rows, length, width)
        x = x + self.attn_out(y)
        return x + self.down(F.gelu(self.up(self.ln_2(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self, vocabulary, args):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocabulary, args.width), nn.Embedding(args.context, args.width)
        nn.init.normal_(self.wte.weight, std=0.02)
        nn.init.normal_(self.wpe.weight, std=0.02)
        self.blocks = nn.ModuleList(Block(args.width, args.heads, args.layers) for _ in range(args.layers))
        self.ln_f = nn.LayerNorm(args.width)

    def forward(self, tokens, targets):
        x = self.wte(tokens) + self.wpe.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.ln_f(x), self.wte.weight)
        return F.cross_entropy(logits.float().view(-1, logits.shape[-1]), targets.reshape(-1))


def factor(progress):
    progress = min(1.0, progress)
    if progress < WARM_UP:
        return max(progress, WARM_UP / 20) / WARM_UP
    return FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP)))


def by_pytorch(text, args):
    torch.manual_seed(1)
    characters = sorted(set(text))
    ids = {character: i + 2 for i, character in enumerate(characters)}  # as Blazon's, behind two special tokens
    data = torch.tensor([ids[character] for character in text])
    held_out = math.ceil(0.1 * len(data))
    training, validation = data[:-held_out], data[-held_out:]
    model = Gpt(len(characters) + 2, args)
    weights = list(model.parameters())
    optimiser = torch.optim.AdamW([{"params": [w for w in weights if w.dim() > 1], "weight_decay": DECAY},
                                   {"params": [w for w in weights if w.dim() == 1], "weight_decay": 0.0}],
                                  lr=RATE, betas=(0.9, 0.99), fused=args.fused)

    def loss_of(rows):
        with torch.autocast("cpu", torch.bfloat16, enabled=args.dtype == "bf16"):
            return model(rows[:, :-1], rows[:, 1:])

    start, step, progress = time.monotonic(), 0, 0.0
    while progress < 1:
        step += 1
        begins = torch.randint(len(training) - args.context, (args.batch,))
        loss = loss_of(torch.stack([training[begin : begin + args.context + 1] for begin in begins]))
        optimiser.zero_grad()
        loss.backward()
        progress = (time.monotonic() - start) / (60 * args.minutes)
        torch.nn.utils.clip_grad_norm_(weights, CLIP)
        for group in optimiser.param_groups:
            group["lr"] = RATE * factor(progress)
        optimiser.step()
    seconds = time.monotonic() - start
    whole = (len(validation) - 1) // args.context
    windows = min(whole, args.windows)
    with torch.no_grad():
        losses = []
        for first in range(0, windows, args.batch):
            begins = [i * whole // windows * args.context for i in range(first, min(windows, first + args.batch))]
            losses += [loss_of(torch.stack([validation[b : b + args.context + 1] for b in begins])).item()] * len(begins)
    return sum(losses) / len(losses), step, step * args.batch * args.context / seconds


def by_blazon(path, args):
    with tempfile.TemporaryDirectory() as folder:
        command = [args.blazon, "train", "gpt", "--data", path, "--out", folder + "/model", "--tokenizer", "character", "--steps", "1000000",
                   "--minutes", args.minutes, "--layers", args.layers, "--heads", args.heads, "--width", args.width, "--context", args.context,
                   "--batch", args.batch, "--eval-every", 0, "--eval-windows", args.windows, "--sample-every", 0, "--dtype", args.dtype,
                   "--threads", torch.get_num_threads()]
        log = subprocess.run([str(each) for each in command], check=True, capture_output=True, text=True).stderr
    step, loss = re.findall(r"step (\d+): held-out loss ([0-9.]+)", log)[-1]
    return float(loss), int(step), float(re.findall(r"([0-9]+) tokens/s", log)[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("blazon")
    parser.add_argument("text")
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--dtype", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--fused", action="store_true", help="PyTorch's fused AdamW")
    for name, default in (("layers", 4), ("heads", 4), ("width", 128), ("context", 128), ("batch", 16), ("windows", 512), ("threads", 2)):
        parser.add_argument("--" + name, type=int, default=default)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    text = Path(args.text).read_text()
    print("| trained by | held-out loss | steps | tokens/s |\n| --- | --- | --- | --- |")
    for name, run in (("PyTorch", lambda: by_pytorch(text, args)), ("Blazon", lambda: by_blazon(args.text, args))):
        loss, steps, rate = run()
        print(f"| {name}, {args.dtype}, {args.minutes:g} minutes | {loss:.4f} | {steps} | {rate:.0f} |", flush=True)


if __name__ == "__main__":
    main()

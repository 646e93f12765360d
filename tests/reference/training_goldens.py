"""Makes tests/goldens/training.json with PyTorch and transformers, for tests/service/pretraining_test.

python tests/reference/training_goldens.py

Small networks whose weights both sides compute (formula_weights.py), trained for ten steps: the loss of each step.
torch.optim.AdamW on transformers' GPT-2, GPT and Llama, on nn.LSTM and on nn.Transformer; and the logits of the LSTM
and the encoder-decoder model before the first step. Needs: torch, transformers.
"""

import json
import math
from pathlib import Path

import numpy as np
import torch
import transformers as hf
from torch import nn
from torch.nn import functional as F

import formula_weights

ROOT = Path(__file__).resolve().parents[2]
STEPS, ROWS, LENGTH, VOCABULARY, CONTEXT, WIDTH, LAYERS, HEADS = 10, 4, 24, 61, 32, 48, 3, 4
RATE, DECAY, CLIP, WARM_UP, FLOOR = 3e-3, 0.1, 1.0, 0.2, 0.02
BETAS = (0.9, 0.99)
LEARNED = "start"  # names begin with it, so that they differ from those of other goldens


def factor(progress):
    if progress < WARM_UP:
        return max(progress, WARM_UP / 20) / WARM_UP
    rest = (progress - WARM_UP) / (1 - WARM_UP)
    return FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * rest))


def tokens(step, rows=ROWS, length=LENGTH + 1, salt=0):
    """Rows that go on by a rule, which can be learned."""
    return torch.tensor([[(7 * row + 3 * step + salt + i * (1 + (row + step) % 3)) % VOCABULARY for i in range(length)]
                         for row in range(rows)])


def start(state):
    """The formula's weights, smaller where they are matrices."""
    with torch.no_grad():
        for name, tensor in state.items():
            made = torch.from_numpy(formula_weights.weight(LEARNED + "." + name, list(tensor.shape)))
            tensor.copy_(made * (0.5 if tensor.dim() > 1 else 1.0))


def train(weights, loss_of):
    optimiser = torch.optim.AdamW([{"params": [w for w in weights if w.dim() > 1], "weight_decay": DECAY},
                                   {"params": [w for w in weights if w.dim() == 1], "weight_decay": 0.0}],
                                  lr=RATE, betas=BETAS, eps=1e-8)
    losses = []
    for step in range(1, STEPS + 1):
        loss = loss_of(step)
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, CLIP)
        for group in optimiser.param_groups:
            group["lr"] = RATE * factor(step / STEPS)
        optimiser.step()
    return losses


def of_decoder(model):
    start(dict(model.named_parameters()))
    model.train()

    def loss_of(step):
        rows = tokens(step)
        logits = model(input_ids=rows[:, :-1]).logits
        return F.cross_entropy(logits.reshape(-1, VOCABULARY), rows[:, 1:].reshape(-1))

    return train(list(model.parameters()), loss_of)


class Lstm(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.lstm = nn.LSTM(WIDTH, WIDTH, LAYERS, batch_first=True)
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)

    def forward(self, rows):
        return self.head(self.lstm(self.embedding(rows))[0])


def of_lstm():
    model = Lstm()
    start(dict(model.named_parameters()))
    logits = model(tokens(1)[:1, :-1])[0, -1].tolist()

    def loss_of(step):
        rows = tokens(step)
        return F.cross_entropy(model(rows[:, :-1]).reshape(-1, VOCABULARY), rows[:, 1:].reshape(-1))

    return {"losses": train(list(model.parameters()), loss_of), "logits": logits}


class Seq2Seq(nn.Module):
    def __init__(self, pre_norm):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        layer = dict(d_model=WIDTH, nhead=HEADS, dim_feedforward=4 * WIDTH, dropout=0.0, batch_first=True, norm_first=pre_norm)
        norm = (lambda: nn.LayerNorm(WIDTH)) if pre_norm else (lambda: None)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(**layer), LAYERS, norm(), enable_nested_tensor=False)
        self.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(**layer), LAYERS, norm())

    def embed(self, rows):
        position = torch.arange(rows.shape[1], dtype=torch.float64).unsqueeze(1)
        angle = position * torch.exp(torch.arange(0, WIDTH, 2, dtype=torch.float64) * (-math.log(10000.0) / WIDTH))
        table = torch.zeros(rows.shape[1], WIDTH, dtype=torch.float64)
        table[:, 0::2], table[:, 1::2] = angle.sin(), angle.cos()
        return self.embedding(rows) * math.sqrt(WIDTH) + table.float()

    def forward(self, sources, present, targets):
        memory = self.encoder(self.embed(sources), src_key_padding_mask=~present)
        causal = nn.Transformer.generate_square_subsequent_mask(targets.shape[1])
        out = self.decoder(self.embed(targets), memory, tgt_mask=causal, memory_key_padding_mask=~present, tgt_is_causal=True)
        return out @ self.embedding.weight.T


def of_seq2seq(pre_norm):
    model = Seq2Seq(pre_norm)
    start(dict(model.named_parameters()))
    present = torch.arange(11).unsqueeze(0) < torch.tensor([[11], [7], [9], [3]])

    def run(step):
        sources, targets = tokens(step, length=11), tokens(step, length=10, salt=5)
        return model(sources * present, present, targets[:, :-1]), targets[:, 1:]

    logits = run(1)[0].reshape(-1, VOCABULARY)[::9].tolist()

    def loss_of(step):
        out, wanted = run(step)
        return F.cross_entropy(out.reshape(-1, VOCABULARY), wanted.reshape(-1))

    return {"losses": train(list(model.parameters()), loss_of), "logits": logits}


def main():
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float32)
    off = dict(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    gpt = dict(vocab_size=VOCABULARY, n_positions=CONTEXT, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, **off)
    llama = dict(vocab_size=VOCABULARY, hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS, intermediate_size=128,
                 max_position_embeddings=CONTEXT, rms_norm_eps=1e-5)
    golden = {
        "gpt2": of_decoder(hf.GPT2LMHeadModel(hf.GPT2Config(**gpt))),
        "gpt2_untied": of_decoder(hf.GPT2LMHeadModel(hf.GPT2Config(**gpt, tie_word_embeddings=False))),
        "post_norm": of_decoder(hf.OpenAIGPTLMHeadModel(hf.OpenAIGPTConfig(**gpt))),
        "modern": of_decoder(hf.LlamaForCausalLM(hf.LlamaConfig(**llama, tie_word_embeddings=True))),
        "lstm": of_lstm(),
        "seq2seq_pre_norm": of_seq2seq(True),
        "seq2seq_post_norm": of_seq2seq(False),
    }
    (ROOT / "tests" / "goldens" / "training.json").write_text(json.dumps(golden) + "\n")
    for name, value in golden.items():
        print(name, np.round(value["losses"] if isinstance(value, dict) else value, 4))


if __name__ == "__main__":
    main()

"""Makes tests/goldens/reader.safetensors with PyTorch and transformers, for tests/service/reader_test.

python tests/reference/reader_goldens.py
"""

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers import AutoTokenizer, BertModel

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "models" / "all-minilm-l6-v2"
TEXTS = ["When does the museum close?", "Opening hours: On Thursdays it stays open until 20:00."]
WIDTH, HEADS, LAYERS, MLP, COPIED, FEATURES, HEAD = 32, 4, 3, 48, 2, 5, 64
STEPS, RATE, HEAD_RATE, DECAY, REFUSAL = 6, 3e-3, 1e-2, 0.01, 0.5
# Two questions: one answered by its first sentence, one by none. Lengths in tokens.
QUESTIONS, SENTENCES, ANSWERED = [5, 3], [[6, 4, 7], [5, 8]], [True, False]


def encoder_states():
    """States of the real encoder before its last two layers."""
    tokenizer, model = AutoTokenizer.from_pretrained(MODEL), BertModel.from_pretrained(MODEL, add_pooling_layer=False).eval()
    found = {}
    with torch.no_grad():
        for i, text in enumerate(TEXTS):
            hidden = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states
            for layer in (4, 5):
                found[f"encoder.{i}.{layer}"] = hidden[layer][0].clone()
    return found


def start():
    tensors = {}

    def draw(name, *shape, scale=1.0):
        tensors[name] = torch.randn(*shape) * scale / math.sqrt(shape[-1])

    for layer in range(LAYERS - COPIED, LAYERS):
        prefix = f"encoder.layer.{layer}."
        for name in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            draw(prefix + name + ".weight", WIDTH, WIDTH)
            draw(prefix + name + ".bias", WIDTH)
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            tensors[prefix + name + ".weight"] = 1 + 0.1 * torch.randn(WIDTH)
            draw(prefix + name + ".bias", WIDTH)
        draw(prefix + "intermediate.dense.weight", MLP, WIDTH)
        draw(prefix + "intermediate.dense.bias", MLP)
        draw(prefix + "output.dense.weight", WIDTH, MLP)
        draw(prefix + "output.dense.bias", WIDTH)
    draw("sentence_type", COPIED, WIDTH)
    for name in ("head.first", "head.mean"):
        draw(name + ".weight", HEAD, WIDTH)
        draw(name + ".bias", HEAD)
    draw("head.out.weight", 2, HEAD)
    draw("head.out.bias", 2)
    draw("features.weight", 2, FEATURES)
    draw("features.bias", 2)
    tensors["feature_mean"] = 0.3 * torch.randn(FEATURES)
    tensors["feature_scale"] = 0.5 + torch.rand(FEATURES)
    return tensors


def score(p, question, sentence, features):
    """One pair, without padding: question [Q, D], sentence COPIED of [T, D], features [F]; returns [2]."""
    heads = lambda x: x.view(-1, HEADS, WIDTH // HEADS).transpose(0, 1)
    linear = lambda x, name: F.linear(x, p[name + ".weight"], p[name + ".bias"])
    norm = lambda x, name: F.layer_norm(x, (WIDTH,), p[name + ".weight"], p[name + ".bias"], 1e-12)
    x = question
    for i in range(COPIED):
        prefix = f"encoder.layer.{LAYERS - COPIED + i}."
        seen = torch.cat([x, sentence[i] + p["sentence_type"][i]])
        q, k, v = (heads(linear(y, prefix + "attention.self." + name)) for y, name in ((x, "query"), (seen, "key"), (seen, "value")))
        attended = F.scaled_dot_product_attention(q[None], k[None], v[None])[0].transpose(0, 1).reshape(-1, WIDTH)
        x = norm(x + linear(attended, prefix + "attention.output.dense"), prefix + "attention.output.LayerNorm")
        x = norm(x + linear(F.gelu(linear(x, prefix + "intermediate.dense")), prefix + "output.dense"), prefix + "output.LayerNorm")
    head = torch.tanh(linear(x[0], "head.first") + linear(x.mean(0), "head.mean"))
    return linear((features - p["feature_mean"]) / p["feature_scale"], "features") + linear(head, "head.out")


def loss_of(scores, answered):
    rank, answers = scores[:, 0], scores[:, 1]
    no = -F.logsigmoid(-answers)
    if not answered:
        return REFUSAL * (no.max() + no.mean())
    return F.cross_entropy(rank[None], torch.tensor([0])) + REFUSAL * (-F.logsigmoid(answers[0]) + no[1:].mean())


def main():
    torch.manual_seed(7)
    golden = encoder_states()
    tensors = start()
    golden |= {"start." + name: tensor.clone() for name, tensor in tensors.items()}
    pairs = []
    for i, length in enumerate(QUESTIONS):
        question = torch.randn(length, WIDTH)
        golden[f"question.{i}"] = question
        for j, tokens in enumerate(SENTENCES[i]):
            sentence, features = torch.randn(COPIED, tokens, WIDTH), torch.randn(FEATURES)
            golden[f"sentence.{i}.{j}"], golden[f"features.{i}.{j}"] = sentence, features
            pairs.append((i, question, sentence, features))
    fixed = ("feature_mean", "feature_scale")
    parameters = {name: tensor if name in fixed else tensor.requires_grad_(True) for name, tensor in tensors.items()}
    copied = [t for n, t in parameters.items() if n.startswith("encoder.")]
    fresh = [t for n, t in parameters.items() if not n.startswith("encoder.") and n not in fixed]
    optimiser = torch.optim.AdamW([{"params": copied, "lr": RATE}, {"params": fresh, "lr": HEAD_RATE}], betas=(0.9, 0.99), weight_decay=DECAY)
    losses = []
    for step in range(STEPS):
        scores = torch.stack([score(parameters, q, s, f) for _, q, s, f in pairs])
        if step == 0:
            golden["scores"] = scores.detach().clone()
        loss = torch.stack([loss_of(scores[[k for k, pair in enumerate(pairs) if pair[0] == i]], answered) for i, answered in enumerate(ANSWERED)]).mean()
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(copied + fresh, 1.0)
        optimiser.step()
    golden["losses"] = torch.tensor(losses)
    print("losses", losses)
    save_file({name: tensor.detach().contiguous() for name, tensor in golden.items()}, ROOT / "tests" / "goldens" / "reader.safetensors")


if __name__ == "__main__":
    main()

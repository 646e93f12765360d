"""Makes tests/goldens/sampler.json with transformers' logits processors, for tests/language/sampler_test.

python tests/reference/sampler_goldens.py
"""

import json
from pathlib import Path

import torch
from transformers.generation import logits_process as lp

VOCABULARY = 40
HISTORY = [3, 9, 4, 3, 9, 12, 7, 3, 9]
ROWS = [
    {},
    {"temperature": 0.7},
    {"temperature": 2.5},
    {"top_k": 1},
    {"top_k": 7},
    {"top_p": 0.5},
    {"top_p": 0.93, "temperature": 1.4},
    {"min_p": 0.1},
    {"min_p": 0.05, "temperature": 3.0},
    {"top_k": 12, "top_p": 0.8, "min_p": 0.08},
    {"repetition_penalty": 1.8},
    {"repetition_penalty": 0.6, "temperature": 0.9},
    {"no_repeat_ngram_size": 1},
    {"no_repeat_ngram_size": 2},
    {"no_repeat_ngram_size": 3, "repetition_penalty": 1.2},
    {"typical_p": 0.2},
    {"typical_p": 0.6},
    {"typical_p": 0.95, "temperature": 1.7},
    {"typical_p": 0.5, "top_k": 15, "top_p": 0.9},
    {"logit_bias": {"3": -4.5, "12": -6.0, "30": 5.25}},
    {"logit_bias": {"9": 2.0, "4": -3.0}, "repetition_penalty": 1.5, "no_repeat_ngram_size": 2},
    {"no_repeat_ngram_size": 2, "repetition_penalty": 1.3, "temperature": 0.8, "top_k": 20, "top_p": 0.9, "min_p": 0.02},
]


def processors(o: dict) -> lp.LogitsProcessorList:
    """In the order in which transformers' generate applies them."""
    out = lp.LogitsProcessorList()
    if "logit_bias" in o: out.append(lp.SequenceBiasLogitsProcessor([[[int(t)], b] for t, b in o["logit_bias"].items()]))
    if "repetition_penalty" in o: out.append(lp.RepetitionPenaltyLogitsProcessor(o["repetition_penalty"]))
    if "no_repeat_ngram_size" in o: out.append(lp.NoRepeatNGramLogitsProcessor(o["no_repeat_ngram_size"]))
    if "temperature" in o: out.append(lp.TemperatureLogitsWarper(o["temperature"]))
    if "top_k" in o: out.append(lp.TopKLogitsWarper(o["top_k"]))
    if "top_p" in o: out.append(lp.TopPLogitsWarper(o["top_p"]))
    if "min_p" in o: out.append(lp.MinPLogitsWarper(o["min_p"]))
    if "typical_p" in o: out.append(lp.TypicalLogitsWarper(o["typical_p"]))
    return out


if __name__ == "__main__":
    torch.manual_seed(5)
    logits = (torch.randn(VOCABULARY) * 2).round(decimals=4)
    logits[[3, 9, 4, 12]] += torch.tensor([2.0, 1.0, 1.5, 2.5])  # so that bans and penalties matter
    history = torch.tensor([HISTORY])
    rows = []
    for options in ROWS:
        scores = processors(options)(history, logits.clone()[None])[0]
        rows.append({"options": options, "probabilities": [round(p, 8) for p in scores.double().softmax(0).tolist()]})
    golden = {"history": HISTORY, "logits": [round(x, 5) for x in logits.tolist()], "rows": rows}
    path = Path(__file__).resolve().parents[1] / "goldens" / "sampler.json"
    path.write_text(json.dumps(golden) + "\n")

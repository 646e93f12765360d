"""Beam search as plainly as it can be written: no cache, no batch, sequences as lists. Groups are diverse beam search.

The definition that language/beam_sequence.h follows: Vijayakumar et al. 2016 (arXiv 1610.02424), algorithm 1, with the
Hamming distance; within a group the rules of transformers 5 for what is looked at, kept and finished.
"""

import torch


def bans(tokens: list, size: int) -> set:
    """Tokens that would complete an n-gram of `size` that stands in `tokens` already."""
    if size == 0 or len(tokens) < size:
        return set()
    head = tokens[len(tokens) - size + 1:]
    return {tokens[i + size - 1] for i in range(len(tokens) - size + 1) if tokens[i:i + size - 1] == head}


def search(next_logprobs, prompt: list, *, num_beams: int, num_beam_groups: int = 1, diversity_penalty: float = 0.0,
           length_penalty: float = 1.0, early_stopping=False, max_new_tokens: int, eos: list = (), bias: dict = {},
           repetition_penalty: float = 1.0, no_repeat_ngram_size: int = 0) -> list:
    """The hypotheses [(tokens with the ending one, score)], best first. next_logprobs(tokens) -> float32 [V]."""
    size = num_beams // num_beam_groups
    groups = [{"running": [([], torch.tensor(0.0))], "finished": []} for _ in range(num_beam_groups)]
    for length in range(1, max_new_tokens + 1):
        chosen = []  # by the groups before, in this step
        for group in groups:
            candidates = []
            for tokens, total in group["running"]:
                scores = next_logprobs(prompt + tokens).clone()
                for token, value in bias.items():
                    scores[token] += value
                for token in set(prompt + tokens) if repetition_penalty != 1 else ():
                    scores[token] = scores[token] * repetition_penalty if scores[token] < 0 else scores[token] / repetition_penalty
                for token in bans(prompt + tokens, no_repeat_ngram_size):
                    scores[token] = -torch.inf
                for token in chosen:
                    scores[token] -= diversity_penalty
                candidates += [(total + score, tokens + [token]) for token, score in enumerate(scores) if score > -torch.inf]
            candidates.sort(key=lambda candidate: -float(candidate[0]))
            running = []
            for rank, (total, tokens) in enumerate(candidates[:max(2, 1 + len(eos)) * size]):
                if tokens[-1] not in eos and length < max_new_tokens:
                    running.append((tokens, total))
                elif rank < size:
                    group["finished"].append((tokens, float(total / length**length_penalty)))
            group["finished"] = sorted(group["finished"], key=lambda hypothesis: -hypothesis[1])[:size]
            group["running"] = running[:size]
            if len(group["finished"]) == size and group["running"]:
                longest = max_new_tokens if early_stopping == "never" and length_penalty > 0 else length
                best = float(group["running"][0][1] / longest**length_penalty)
                if early_stopping is True or best <= group["finished"][-1][1]:
                    group["running"] = []
            chosen += [tokens[-1] for tokens, _ in group["running"]]
    hypotheses = [hypothesis for group in groups for hypothesis in group["finished"]]
    return sorted(hypotheses, key=lambda hypothesis: -hypothesis[1])

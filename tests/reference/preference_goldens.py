"""Makes tests/goldens/preferences.json with PyTorch and transformers, for tests/service/preference_parity_test.

python tests/reference/preference_goldens.py

Everything is written out from the papers' formulas, on two models of families.json, all of whose weights are trained by
torch.optim.AdamW:
- losses, accuracies and margins of direct preference optimisation (Rafailov et al. 2023, equation 7), step by step;
- losses and rewards of a reward model (Bradley and Terry) with a linear head on the last token's state;
- losses of clipped policy optimisation with and without a value head, over the same completions several times;
- advantages, within a group and generalised.
"""

import json
from pathlib import Path

import torch
import torch.nn.functional as F
import transformers as hf

import family_goldens
import formula_weights

ROOT = Path(__file__).resolve().parents[2]
GOLDENS = ROOT / "tests" / "goldens"
STEPS, RATE, PAIRS = 5, 2e-4, 3
PROMPT, CHOSEN, REJECTED = 9, 7, 5
DPO = {"gpt2.tied": dict(beta=0.1, label_smoothing=0.0), "llama.grouped": dict(beta=0.4, label_smoothing=0.1)}
POLICY = {"gpt2.tied": dict(clip=0.2, kl=0.04, by_text=True, temperature=1.0),
          "llama.grouped": dict(clip=0.1, kl=0.0, by_text=False, temperature=0.7, value_weight=0.5, value_clip=0.1)}
LENGTHS = [4, 9, 1, 6]  # of the completions


def model(name: str) -> torch.nn.Module:
    case = json.loads((GOLDENS / "families.json").read_text())[name]
    state = {key: family_goldens.weight(key, tensor) for key, tensor in case["tensors"].items()}
    return family_goldens.reload(case["config"], state).eval()


def tokens(vocabulary: int, start: int, length: int) -> torch.Tensor:
    """Not 0, which pads: PyTorch does not train its embedding."""
    return 1 + family_goldens.prompt(vocabulary - 1, start, length)


def pair(vocabulary: int, step: int, i: int) -> tuple:
    start = 5 * step + 17 * i
    return (tokens(vocabulary, start, PROMPT), tokens(vocabulary, start + 40, CHOSEN), tokens(vocabulary, start + 70, REJECTED))


def logprobs(policy: torch.nn.Module, prompt: torch.Tensor, completion: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """Of each token of the completion."""
    logits = policy(torch.cat([prompt, completion])[None]).logits[0, len(prompt) - 1:-1] / temperature
    return logits.log_softmax(-1).gather(1, completion[:, None])[:, 0]


def states(policy: torch.nn.Module, text: torch.Tensor) -> torch.Tensor:
    return policy.base_model(text[None]).last_hidden_state[0]


def optimise(parameters, losses) -> None:
    """Steps of AdamW on what `losses` yields."""
    optimiser = torch.optim.AdamW(parameters, lr=RATE, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    for loss in losses:
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()


def dpo(name: str, beta: float, label_smoothing: float) -> dict:
    policy, reference = model(name), model(name)
    out = dict(loss=[], accuracy=[], margin=[], chosen=[], rejected=[])

    def steps():
        for step in range(STEPS):
            losses, chosen_rewards, rejected_rewards = [], [], []
            for i in range(PAIRS):
                prompt, chosen, rejected = pair(policy.config.vocab_size, step % 2, i)
                with torch.no_grad():
                    base_chosen, base_rejected = (logprobs(reference, prompt, text).sum() for text in (chosen, rejected))
                up = logprobs(policy, prompt, chosen).sum() - base_chosen
                down = logprobs(policy, prompt, rejected).sum() - base_rejected
                margin = beta * (up - down)
                losses.append(-(1 - label_smoothing) * F.logsigmoid(margin) - label_smoothing * F.logsigmoid(-margin))
                chosen_rewards.append((beta * up).item())
                rejected_rewards.append((beta * down).item())
            loss = torch.stack(losses).mean()
            margins = torch.tensor(chosen_rewards) - torch.tensor(rejected_rewards)
            for key, value in (("loss", loss.item()), ("accuracy", (margins > 0).float().mean().item()), ("margin", margins.mean().item()),
                               ("chosen", sum(chosen_rewards) / PAIRS), ("rejected", sum(rejected_rewards) / PAIRS)):
                out[key].append(value)
            yield loss

    optimise(policy.parameters(), steps())
    return dict(beta=beta, label_smoothing=label_smoothing, **out)


def reward(name: str) -> dict:
    scorer = model(name)
    width = states(scorer, tokens(scorer.config.vocab_size, 0, 3)).shape[-1]
    head = torch.nn.Linear(width, 1, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(formula_weights.weight("score.weight", (1, width))))
    out = dict(loss=[], chosen=[], rejected=[])

    def steps():
        for step in range(STEPS):
            rewards = [[head(states(scorer, torch.cat([prompt, text]))[-1])[0] for text in (chosen, rejected)]
                       for prompt, chosen, rejected in (pair(scorer.config.vocab_size, step % 2, i) for i in range(PAIRS))]
            loss = torch.stack([-F.logsigmoid(up - down) for up, down in rewards]).mean()
            out["loss"].append(loss.item())
            out["chosen"].append([up.item() for up, _ in rewards])
            out["rejected"].append([down.item() for _, down in rewards])
            yield loss

    optimise([*scorer.parameters(), head.weight], steps())
    return out


def policy_steps(name: str, clip: float, kl: float, by_text: bool, temperature: float, value_weight: float = 0.0,
                 value_clip: float = 0.0) -> dict:
    policy = model(name)
    vocabulary = policy.config.vocab_size
    texts = [(tokens(vocabulary, 11 * i, PROMPT), tokens(vocabulary, 50 + 13 * i, length)) for i, length in enumerate(LENGTHS)]
    width = states(policy, texts[0][0]).shape[-1]
    head = torch.nn.Linear(width, 1)
    rollouts = []
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(formula_weights.weight("value.weight", (1, width))))
        head.bias.zero_()
        for i, (prompt, completion) in enumerate(texts):
            now, place = logprobs(policy, prompt, completion, temperature), torch.arange(len(completion))
            rollouts.append(dict(logprobs=now + 0.15 * torch.cos(place + i), reference=now + 0.3 * torch.sin(2.0 * place + i),
                                 advantages=torch.cos(3.0 * i + 0.1 * place), values=torch.sin(1.0 * i + place),
                                 returns=torch.cos(2.0 * i - 0.5 * place)))
    count = sum(LENGTHS)
    out = dict(loss=[], kl=[], clipped=[], value=[])

    def steps():
        for _ in range(STEPS):
            loss, divergence, clipped, value_loss = 0, 0, 0, 0
            for (prompt, completion), known in zip(texts, rollouts):
                weight = 1 / (len(completion) * len(texts)) if by_text else 1 / count
                now = logprobs(policy, prompt, completion, temperature)
                ratio = torch.exp(now - known["logprobs"])
                free, bound = ratio * known["advantages"], torch.clamp(ratio, 1 - clip, 1 + clip) * known["advantages"]
                loss = loss - weight * torch.minimum(free, bound).sum()
                clipped = clipped + weight * (bound < free).float().sum()
                gap = known["reference"] - now
                divergence = divergence + weight * (torch.exp(gap) - gap - 1).sum()
                if value_weight:
                    value = head(states(policy, torch.cat([prompt, completion]))[len(prompt) - 1:-1])[:, 0]
                    near = known["values"] + torch.clamp(value - known["values"], -value_clip, value_clip)
                    worse = torch.maximum((value - known["returns"]) ** 2, (near - known["returns"]) ** 2)
                    value_loss = value_loss + 0.5 * weight * worse.sum()
            loss = loss + kl * divergence + value_weight * value_loss
            for key, term in (("loss", loss), ("kl", divergence), ("clipped", clipped), ("value", value_loss)):
                out[key].append(float(term))
            yield loss

    optimise([*policy.parameters(), *(head.parameters() if value_weight else [])], steps())
    options = dict(clip=clip, kl=kl, by_text=by_text, temperature=temperature, value_weight=value_weight, value_clip=value_clip)
    return dict(options=options, rollouts=[{key: value.tolist() for key, value in known.items()} for known in rollouts], **out)


def advantages() -> dict:
    rewards = [1.0, 0.0, 0.0, 2.5, -1.0]
    group = torch.tensor(rewards)
    steps, values = torch.tensor([0.1, -0.2, 0.0, 1.5]), torch.tensor([0.3, 0.2, -0.4, 0.9])
    gamma, lam = 0.98, 0.9
    surprises = steps + gamma * torch.cat([values[1:], torch.zeros(1)]) - values
    generalised = [sum((gamma * lam) ** (j - i) * surprises[j] for j in range(i, 4)).item() for i in range(4)]
    return dict(rewards=rewards, group=((group - group.mean()) / (group.std() + 1e-4)).tolist(), steps=steps.tolist(),
                values=values.tolist(), gamma=gamma, **{"lambda": lam}, generalised=generalised)


if __name__ == "__main__":
    torch.set_num_threads(1)
    hf.logging.set_verbosity_error()
    golden = {"rate": RATE, "pairs": PAIRS, "prompt": PROMPT, "chosen": CHOSEN, "rejected": REJECTED, "lengths": LENGTHS,
              "dpo": {name: dpo(name, **options) for name, options in DPO.items()},
              "reward": {name: reward(name) for name in DPO},
              "policy": {name: policy_steps(name, **options) for name, options in POLICY.items()},
              "advantages": advantages(),
              "made_with": {"torch": torch.__version__, "transformers": hf.__version__}}
    (GOLDENS / "preferences.json").write_text(json.dumps(golden) + "\n")
    print(json.dumps(golden["dpo"], indent=1))
    print({name: made["loss"] for name, made in golden["reward"].items()})
    print({name: {key: made[key] for key in ("loss", "kl", "clipped", "value")} for name, made in golden["policy"].items()})

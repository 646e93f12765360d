"""Makes tests/goldens/beam_search.json, for tests/language/beam_search_test: hypotheses and scores of transformers'
generate(num_beams=n), and of tests/reference/beam_search.py where there are groups, on the small Llamas of llama_goldens.py.

python tests/reference/beam_goldens.py
"""

import json

import torch
from transformers import LlamaConfig, LlamaForCausalLM

import beam_search
import formula_weights
from llama_goldens import GOLDENS, SMALL

EOS = [5, 17, 60, 101]  # several, so that hypotheses end at many lengths
CASES = [
    dict(num_beams=4),
    dict(num_beams=4, eos=EOS),
    dict(num_beams=2, eos=EOS, length_penalty=0.0),
    dict(num_beams=3, eos=EOS, length_penalty=2.0),
    dict(num_beams=4, eos=EOS, length_penalty=-1.0),
    dict(num_beams=4, eos=EOS, early_stopping=True),
    dict(num_beams=4, eos=EOS, early_stopping="never"),
    dict(num_beams=5, eos=EOS, early_stopping="never", length_penalty=0.5),
    dict(num_beams=7, eos=EOS[:1], max_new_tokens=9),
    dict(num_beams=4, eos=EOS, no_repeat_ngram_size=2),
    dict(num_beams=4, eos=EOS, repetition_penalty=1.3),
    dict(num_beams=4, eos=EOS, repetition_penalty=0.8, no_repeat_ngram_size=3, length_penalty=0.7),
    dict(num_beams=4, eos=EOS, bias={7: 4.0, 17: 2.5, 101: -100.0}),
    dict(num_beams=4, eos=EOS, bias={30: 6.0}, repetition_penalty=1.2, no_repeat_ngram_size=2, early_stopping=True),
    dict(num_beams=4, eos=EOS, num_beam_groups=2, diversity_penalty=0.7),
    dict(num_beams=4, eos=EOS, num_beam_groups=4, diversity_penalty=2.0),
    dict(num_beams=6, eos=EOS, num_beam_groups=3, diversity_penalty=0.4, length_penalty=0.0),
    dict(num_beams=6, eos=EOS, num_beam_groups=2, diversity_penalty=5.0, no_repeat_ngram_size=2, early_stopping=True),
]
PROMPTS = {"grouped": [[3, 40, 77, 114], [9], [150, 2, 2, 150, 2]], "tied": [[1, 2, 3], [70, 70, 8, 30, 99, 4]]}
MAX_NEW_TOKENS = 14


def load(options: dict) -> LlamaForCausalLM:
    options = dict(options)
    config = LlamaConfig(**{k: v for k, v in options.items() if k != "rope_theta"}, attn_implementation="eager",
                         rope_parameters={"rope_type": "default", "rope_theta": options["rope_theta"]})
    model = LlamaForCausalLM(config).float().eval()
    tied = options["tie_word_embeddings"]
    model.load_state_dict({key: torch.from_numpy(formula_weights.weight(key, tuple(value.shape)))
                           for key, value in model.state_dict().items() if not (tied and key == "lm_head.weight")}, strict=not tied)
    return model


def transformers_search(model, prompt, case) -> list:
    eos = case.get("eos")
    found = model.generate(
        torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), do_sample=False, num_beams=case["num_beams"],
        num_return_sequences=case["num_beams"], max_new_tokens=case.get("max_new_tokens", MAX_NEW_TOKENS), eos_token_id=eos,
        pad_token_id=0, length_penalty=case.get("length_penalty", 1.0), early_stopping=case.get("early_stopping", False),
        repetition_penalty=case.get("repetition_penalty", 1.0), no_repeat_ngram_size=case.get("no_repeat_ngram_size", 0),
        sequence_bias=[[[token], value] for token, value in case["bias"].items()] if "bias" in case else None,
        return_dict_in_generate=True, output_scores=True)
    out = []
    for tokens, score in zip(found.sequences[:, len(prompt):].tolist(), found.sequences_scores.tolist()):
        ends = [i for i, token in enumerate(tokens) if token in (eos or [])]
        out.append((tokens[:ends[0] + 1] if ends else tokens, score))
    return out


def main():
    torch.manual_seed(0)
    rows, compared = [], 0
    for name, prompts in PROMPTS.items():
        model = load(SMALL[name])

        def next_logprobs(tokens):
            with torch.no_grad():
                return model(torch.tensor([tokens])).logits[0, -1].float().log_softmax(-1)

        for prompt in prompts:
            for case in CASES:
                arguments = {"max_new_tokens": MAX_NEW_TOKENS, **case}
                found = plain = beam_search.search(next_logprobs, prompt, **arguments)
                if case.get("num_beam_groups", 1) == 1:
                    found = transformers_search(model, prompt, case)
                    assert [tokens for tokens, _ in found] == [tokens for tokens, _ in plain], (name, prompt, case, found, plain)
                    assert all(abs(a - b) < 1e-4 + 1e-6 * abs(a) for (_, a), (_, b) in zip(found, plain)), (found, plain)
                    compared += 1
                options = {**arguments, "eos": case.get("eos", []), "early_stopping": str(case.get("early_stopping", False)).lower(),
                           "bias": [[token, value] for token, value in case.get("bias", {}).items()]}
                rows.append({"model": name, "prompt": prompt, "options": options,
                             "hypotheses": [{"tokens": tokens, "score": round(score, 6)} for tokens, score in found]})
    lengths = {len(hypothesis["tokens"]) for row in rows for hypothesis in row["hypotheses"]}
    print(f"{len(rows)} searches, {compared} of them with transformers; lengths {sorted(lengths)}")
    assert len(lengths) > 5, "the hypotheses all end at the same place: the data is trivial"
    (GOLDENS / "beam_search.json").write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")


if __name__ == "__main__":
    main()

"""Makes tests/goldens/finetuning.json and tests/goldens/peft/ with PyTorch, transformers, PEFT and TRL, for
tests/service/training_parity_test.

python tests/reference/finetuning_goldens.py

- The first 10 losses of two models of families.json (GPT-2's and Llama's shape) under torch.optim.AdamW.
- Adapters as PEFT saves them, and the logits of the models with them.
- The first 10 losses of a captioner: a connector and PEFT's adapter, learned together by the loss on captions.
- Which tokens TRL's SFTTrainer learns of prompts with completions, with SmolLM2's tokenizer.
"""

import argparse
import json
import math
import shutil
import tempfile
from pathlib import Path

import numpy as np
import peft
import torch
import transformers as hf
import trl
from datasets import Dataset

import family_goldens
import formula_weights
import tokenizer_goldens

ROOT = Path(__file__).resolve().parents[2]
GOLDENS = ROOT / "tests" / "goldens"
STEPS, BATCH, LENGTH, RATE, DECAY, CLIP = 10, 3, 24, 3e-3, 0.1, 1.0
CAPTIONER = dict(steps=10, batch=3, cells=6, channels=20, hidden=24, rank=3, connector_rate=3e-3, adapter_rate=5e-3, decay=0.01,
                 end=7)
ADAPTERS = {
    "llama.grouped": dict(r=3, lora_alpha=6, target_modules=["q_proj", "v_proj", "down_proj"]),
    "gpt2.tied": dict(r=2, lora_alpha=5, target_modules=["c_attn", "c_fc"], use_rslora=True, fan_in_fan_out=True),
}
RECORDS = [
    {"prompt": "The capital of France is", "completion": " Paris."},
    {"prompt": "Q: How many legs has a spider?\nA:", "completion": " 8\n"},
    {"prompt": "1 2 3", "completion": " 4 5 6"},
    {"prompt": "Grüße,", "completion": " schöne Welt! 漢字"},
]
CHATS = [[("user", "Hello?"), ("assistant", "Hi there.")],
         [("system", "Be brief."), ("user", "What is 2 + 2?"), ("assistant", "4"), ("user", "And 3 + 3?"), ("assistant", " 6\n")]]
# SmolLM2's template says one message so; with marks around what the assistant says, transformers tells it apart.
MESSAGE = "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
MARKED = ("{{'<|im_start|>' + message['role'] + '\n'}}{% if message['role'] == 'assistant' %}{% generation %}"
          "{{message['content'] + '<|im_end|>'}}{% endgeneration %}{% else %}{{message['content'] + '<|im_end|>'}}{% endif %}{{'\n'}}")


def model(name: str) -> torch.nn.Module:
    case = json.loads((GOLDENS / "families.json").read_text())[name]
    state = {key: family_goldens.weight(key, tensor) for key, tensor in case["tensors"].items()}
    return family_goldens.reload(case["config"], state)


def losses(name: str) -> list:
    """All weights; matrices decay; the mean over all tokens but the first of each text; a constant rate."""
    trained = model(name)
    vocabulary = trained.config.vocab_size
    groups = [{"params": [p for p in trained.parameters() if (p.dim() > 1) == matrix], "weight_decay": DECAY * matrix}
              for matrix in (True, False)]
    optimiser = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.999), eps=1e-8)
    out = []
    for step in range(STEPS):
        # Not 0, which pads: PyTorch does not train its embedding.
        tokens = torch.stack([1 + family_goldens.prompt(vocabulary - 1, 5 * step + 17 * i, LENGTH) for i in range(BATCH)])
        loss = trained(tokens, labels=tokens).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained.parameters(), CLIP)
        optimiser.step()
        optimiser.zero_grad()
        out.append(loss.item())
    return out


def adapted(name: str, options: dict) -> list:
    """Saves the adapter; returns the logits of the last of 24 tokens with it."""
    wrapped = peft.get_peft_model(model(name), peft.LoraConfig(task_type="CAUSAL_LM", **options)).eval()
    with torch.no_grad():
        for key, parameter in wrapped.named_parameters():
            if ".lora_" in key:
                key = key.replace(".default", "")
                parameter.copy_(torch.from_numpy(formula_weights.weight(key, tuple(parameter.shape))))
        logits = wrapped(family_goldens.prompt(wrapped.config.vocab_size, 0, LENGTH)[None]).logits[0, -1]
        plain = model(name)(family_goldens.prompt(wrapped.config.vocab_size, 0, LENGTH)[None]).logits[0, -1]
    assert (logits - plain).abs().max() > 0.1
    folder = GOLDENS / "peft" / name
    shutil.rmtree(folder, ignore_errors=True)
    wrapped.save_pretrained(folder)
    for path in folder.iterdir():
        if path.name not in ("adapter_config.json", "adapter_model.safetensors"):
            path.unlink()
    return logits.tolist()


def captioner() -> dict:
    """Pictures' cells through LayerNorm, Linear, GELU, Linear and a vector a place, between the tokens of a prompt; the mean over
    captions and their ends; AdamW, clipped at 1, after half a cosine down to 0.02."""
    made, case = argparse.Namespace(**CAPTIONER), "llama.grouped"
    language = model(case)
    width, vocabulary = language.config.hidden_size, language.config.vocab_size
    options = peft.LoraConfig(task_type="CAUSAL_LM", r=made.rank, lora_alpha=2 * made.rank,
                              target_modules=["q_proj", "k_proj", "v_proj", "o_proj"])
    wrapped = peft.get_peft_model(language, options)
    connector = torch.nn.Sequential(torch.nn.LayerNorm(made.channels, eps=1e-5), torch.nn.Linear(made.channels, made.hidden),
                                    torch.nn.GELU(), torch.nn.Linear(made.hidden, width))
    place = torch.nn.Parameter(torch.from_numpy(formula_weights.weight("connector.position", (made.cells, width))))
    with torch.no_grad():
        for name, parameter in connector.named_parameters():
            name = "connector." + name.replace("0.", "norm.").replace("1.", "fc1.").replace("3.", "fc2.")
            value = torch.from_numpy(formula_weights.weight(name, tuple(parameter.shape)))
            parameter.copy_(value - 1 if name.endswith("bias") else value)
        for name, parameter in wrapped.named_parameters():
            if ".lora_" in name:
                value = torch.from_numpy(formula_weights.weight(name.replace(".default", ""), tuple(parameter.shape)))
                parameter.copy_(value * 0.1 if ".lora_B" in name else value)
    groups = [{"params": [*connector.parameters(), place], "lr": made.connector_rate},
              {"params": [p for p in wrapped.parameters() if p.requires_grad], "lr": made.adapter_rate}]
    optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.99), eps=1e-8, weight_decay=made.decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda done: 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * ((done + 1) / made.steps - 0.03) / 0.97)))
    embed = wrapped.get_input_embeddings()
    out = []
    for step in range(1, made.steps + 1):
        logits, targets = [], []
        for i in range(made.batch):
            before, after = family_goldens.prompt(vocabulary, 1, 2), family_goldens.prompt(vocabulary, 3 + i, 4 + i)
            caption = family_goldens.prompt(vocabulary, 5 * i + step % 3, 3 + 2 * i)
            cells = torch.from_numpy(formula_weights.weight(f"cells.{step}.{i}", (made.cells, made.channels)))
            row = torch.cat([embed(before), connector(cells) + place, embed(after), embed(caption)])
            logits.append(wrapped(inputs_embeds=row[None]).logits[0, -len(caption) - 1:])
            targets.append(torch.cat([caption, torch.tensor([made.end])]))
        loss = torch.nn.functional.cross_entropy(torch.cat(logits), torch.cat(targets))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for group in groups for p in group["params"]], 1.0)
        optimiser.step()
        schedule.step()
        out.append(loss.item())
    return {**CAPTIONER, "losses": out}


def learned() -> list:
    """Ids, and which of them are learned: of completions by TRL, of conversations by transformers."""
    _, special, template = tokenizer_goldens.smollm2()
    assert template.count(MESSAGE) == 1, template
    tokenizer = hf.PreTrainedTokenizerFast(tokenizer_object=special, eos_token="<|im_end|>", pad_token="<|im_end|>",
                                           chat_template=template.replace(MESSAGE, MARKED))
    tiny = hf.LlamaForCausalLM(hf.LlamaConfig(vocab_size=len(tokenizer), hidden_size=8, intermediate_size=8,
                                              num_hidden_layers=1, num_attention_heads=2))
    with tempfile.TemporaryDirectory() as folder:
        trainer = trl.SFTTrainer(tiny, args=trl.SFTConfig(folder, report_to=[], completion_only_loss=True, use_cpu=True),
                                 train_dataset=Dataset.from_list(RECORDS), processing_class=tokenizer)
        out = [{"record": record, "ids": row["input_ids"], "learned": row["completion_mask"]}
               for record, row in zip(RECORDS, trainer.train_dataset)]
    for chat in CHATS:
        messages = [{"role": role, "content": content} for role, content in chat]
        row = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
        out.append({"record": {"messages": messages}, "ids": row["input_ids"], "learned": row["assistant_masks"]})
    return out


if __name__ == "__main__":
    torch.set_num_threads(1)
    hf.logging.set_verbosity_error()
    golden = {"steps": STEPS, "batch": BATCH, "length": LENGTH, "rate": RATE, "decay": DECAY, "clip": CLIP,
              "losses": {name: losses(name) for name in ("gpt2.tied", "llama.grouped")},
              "adapters": {name: adapted(name, options) for name, options in ADAPTERS.items()},
              "captioner": captioner(),
              "sft": learned(),
              "made_with": {"torch": torch.__version__, "transformers": hf.__version__, "peft": peft.__version__, "trl": trl.__version__}}
    (GOLDENS / "finetuning.json").write_text(json.dumps(golden, ensure_ascii=False) + "\n")
    for name, values in golden["losses"].items():
        print(name, np.round(values, 4))

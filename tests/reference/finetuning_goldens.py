"""Makes tests/goldens/finetuning.json and tests/goldens/peft/ with PyTorch, transformers, PEFT and TRL, for
tests/service/training_parity_test.

python tests/reference/finetuning_goldens.py

- The first 10 losses of two models of families.json (GPT-2's and Llama's shape) under torch.optim.AdamW.
- Adapters as PEFT saves them, and the logits of the models with them.
- Which tokens TRL's SFTTrainer learns of prompts with completions, with SmolLM2's tokenizer.
"""

import json
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
              "sft": learned(),
              "made_with": {"torch": torch.__version__, "transformers": hf.__version__, "peft": peft.__version__, "trl": trl.__version__}}
    (GOLDENS / "finetuning.json").write_text(json.dumps(golden, ensure_ascii=False) + "\n")
    for name, values in golden["losses"].items():
        print(name, np.round(values, 4))

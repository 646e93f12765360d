"""Writes tests/goldens/tokenizer.json: token ids by the `tokenizers` package, and chats by transformers' apply_chat_template.

    python tests/reference/tokenizer_goldens.py

Needs: gguf, tokenizers, transformers; the models in models/. The SmolLM2 reference is made from the GGUF's own vocabulary and merges with
Digits(individual_digits) + ByteLevel: transformers' tokenizer made from a GGUF drops the digit split.
"""
import json
import pathlib

import gguf
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from tokenizer_texts import HOSTILE_BYTES, TEXTS, generated

ROOT = pathlib.Path(__file__).resolve().parents[2]
GGUF = ROOT / "models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf"
MINILM = ROOT / "models/all-minilm-l6-v2/tokenizer.json"
OUT = ROOT / "tests/goldens/tokenizer.json"

def smollm2():
    """The SmolLM2 tokenizer without and with control tokens, and the chat template."""
    fields = gguf.GGUFReader(GGUF).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    types = fields["tokenizer.ggml.token_type"].contents()
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"].contents()]

    def make():
        tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
        tokenizer.decoder = decoders.ByteLevel()
        return tokenizer

    plain, special = make(), make()
    special.add_special_tokens([AddedToken(token, special=True, normalized=False) for i, token in enumerate(tokens) if types[i] == 3])
    return plain, special, fields["tokenizer.chat_template"].contents()


def minilm():
    """MiniLM's tokenizer without and with control tokens, and without truncation and padding."""
    description = json.loads(MINILM.read_text())
    description["truncation"] = description["padding"] = description["post_processor"] = None
    special = Tokenizer.from_str(json.dumps(description))
    description["added_tokens"] = []
    return Tokenizer.from_str(json.dumps(description)), special


CHATS = [
    [("user", "Hello!")],
    [("system", "You are terse."), ("user", "What is 2+2?")],
    [("user", "Hi"), ("assistant", "Hello, how can I help?"), ("user", "  Tell me a joke\n\n5 times.")],
    [("system", ""), ("user", "")],
    [("user", "日本語で答えて 😀"), ("assistant", "はい。")],
    [("system", "a"), ("user", "b"), ("assistant", "c"), ("user", "d"), ("assistant", "e")],
    [("assistant", "I begin."), ("user", "ok\n")],
    [("user", "Line\r\nbreaks\tand 12 digits")],
]


def main():
    from transformers import PreTrainedTokenizerFast

    plain, special, template = smollm2()
    word_plain, word_special = minilm()
    strings = []
    for raw in [text.encode() for text in TEXTS + generated(100)] + HOSTILE_BYTES:
        text = raw.decode("utf-8", "replace")
        ids = lambda tokenizer: tokenizer.encode(text, add_special_tokens=False).ids
        entry = {"smollm2": ids(plain), "minilm": ids(word_plain)}
        entry.update({"text": text} if text.encode() == raw else {"hex": raw.hex()})
        for name, tokenizer in (("smollm2", special), ("minilm", word_special)):
            if ids(tokenizer) != entry[name]:
                entry[name + "_with_specials"] = ids(tokenizer)
        entry["decoded"] = plain.decode(entry["smollm2"], skip_special_tokens=False)
        if entry["decoded"] == text:
            del entry["decoded"]  # the round trip is exact
        strings.append(entry)
    chat_tokenizer = PreTrainedTokenizerFast(tokenizer_object=special, chat_template=template)
    chats = []
    for chat in CHATS:
        messages = [{"role": role, "content": content} for role, content in chat]
        for prompt in (False, True):
            rendered = chat_tokenizer.apply_chat_template(messages, add_generation_prompt=prompt, tokenize=True, return_dict=False)
            chats.append({"messages": messages, "add_generation_prompt": prompt, "ids": rendered})
    lines = lambda items: "[\n" + ",\n".join(json.dumps(item, ensure_ascii=True, separators=(",", ":")) for item in items) + "\n]"
    OUT.write_text('{"strings": ' + lines(strings) + ',\n"chats": ' + lines(chats) + "}\n")
    print(f"{OUT}: {len(strings)} strings, {len(chats)} chats, {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()

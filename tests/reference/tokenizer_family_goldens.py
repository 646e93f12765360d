"""Writes tests/goldens/tokenizers/: a small tokenizer of each model family, and what the `tokenizers` package makes of some strings.

    python tests/reference/tokenizer_family_goldens.py                                      # writes all files; trains the tokenizers that are not there
    python tests/reference/tokenizer_family_goldens.py --strings 10000 --out build/strings  # cases only, for the committed tokenizers

FAMILY/tokenizer.json, and in part vocabulary.gguf, has the family's own pipeline and a vocabulary trained on the texts below; FAMILY/cases.json has for each string of strings.json its ids
with special tokens taken as plain text and as themselves, and the decoded texts. The package's trainers break ties as they like, so a tokenizer that is there stays. Needs: gguf, tokenizers, sentencepiece (its table of
replacements).
"""
import argparse
import io
import json
import pathlib
import random
import tempfile

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from tokenizer_texts import HOSTILE_BYTES, TEXTS, generated

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDENS = ROOT / "tests/goldens/tokenizers"

GPT2 = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
LLAMA3 = r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
QWEN2 = LLAMA3.replace("{1,3}", "")
BLOOM = r""" ?[^(\s|[.,!?…。，、।۔،])]+"""
CLIP = r"""<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""
SIGLIP_PUNCTUATION = r"""[!"#\$%&'\(\)\*\+,\-\.:;=\?@\[\\\]\^_`\{\|\}~]"""
BYTE_TOKENS = [f"<0x{byte:02X}>" for byte in range(256)]

# More of what breaks tokenizers than TEXTS has.
EXTRA = [
    "\u0085", "a\u0085b", "\u00a0\u00a0a", "\u3000\u3000あ", "\ufeff", "a\ufeff b", " \u3000 \u00a0 \t\u2028\n", "\u180e \u180ea", "x\u200d\u200cy", "▁", "▁▁a", "a▁b ▁c", " ▁", "▁ ", "Ġ", "aĠb Ċ", "<0x41>", "a<0x0A>b", "<0xE4><0xBD><0xA0>",
    "I'M WE'LL YOU'RE THEY'VE HE'D IT'S DON'T", "I'm I'M i'ſ 'ſ 'K", "it'S'T'RE", "</w>a</w>", "A</W>", "ＡＢＣ　①½㌔", "①②③㍿㊙", "ﷺ", "Å\u0300\u0323", "\u0323\u0300a", "q\u0307\u0323", "ㄱㅏ가각ᄀ\u1161\u11a8", "e\u0301\u0301", "\u1e9b\u0323",
    "👨‍👩‍👧‍👦👨🏿‍🦰🏴‍☠️", "🇩🇪🇫🇷🇺", "1️⃣", "❤️‍🔥", "\U0001f1e6" * 5, "👍" * 30, "क्षत्रिय", "കൃഷ്ണ", "ज़्यादा", "Ç̧", "ệ ệ ệ", "\U000e0041\U000e007f", "ᾳ ΐ ΰ", "ΑΎΡΙΟ Σ", "ǰ ʼN", "İSTANBUL İ", "\u0345", "\u1fbe", "ⅣⅣ", "²³¹", "٣٤٥ ੧੨",
    "b" * 300, "Ab" * 100, "\t" * 50, "\n \n \n", " " * 70 + "x", "é" * 90, "ก" * 80, "x" * 40 + " " * 40 + "y", "-" * 77, "<" * 50, "1234567" * 9, " 1 22 333 4444", "12,345.678", "a1b22c333", "\u3000" * 20, "한" * 33, "?!" * 20, "...... ......", "'" * 9,
    "<|endoftext|>", "a <|endoftext|> b", "<|begin_of_text|>x<|eot_id|>", "<s>a</s>", " <s> a", "<s><s>", "<unk>", "a<unk>b", "<bos>x<eos>", "<start_of_turn>user\nhi<end_of_turn>\n", "<image>a<image> b", "<tool_call>{}</tool_call>", " <tool_call> x", "<|im_start|>user\nhi<|im_end|>",
    "<extra_id_0> a <extra_id_1>", "a  <extra_id_0>  b", "a <mask> b", "a<mask>b", "a\t<mask>", "[CLS] a [SEP]", "[MASK]", "a[MASK]b", "Marker a marker, markers MARKER", "premarker marker_ marker-x", "  marker  ", "<loc0001><seg001>", "\n\n\n\n", "a\n\nb", "a\n\n\nb", "▁▁▁", "<|startoftext|>A Photo<|endoftext|>",
    "<pad>", "<row_1_col_1>", "<fake_token_around_image><global-img><image>", "<end_of_utterance>",
]


def strings(count):
    """`count` strings or so: those above, and joins of their parts and of random characters."""
    everything = list(dict.fromkeys(TEXTS + EXTRA))
    choose = random.Random(20261121)
    made = []
    short = [text for text in everything if 0 < len(text) < 40]
    mixed = generated(max(0, count), seed=7)
    for text in mixed:
        parts = [text]
        for _ in range(choose.randint(0, 2)):
            parts.insert(choose.randint(0, len(parts)), choose.choice(short))
        if choose.random() < 0.1:
            parts.append(choose.choice(["a", " ", "\n", "é", "1", "あ", "▁", "'", "\u0301", "\U0001f600"]) * choose.randint(2, 200))
        made.append("".join(parts))
    raw = [text.encode() for text in everything] + HOSTILE_BYTES
    for _ in range(count // 20):  # bytes that are mostly no UTF-8
        raw.append(bytes(choose.choice([choose.randint(0, 255), choose.randint(0x20, 0x7E)]) for _ in range(choose.randint(1, 30))))
    return (raw + [text.encode() for text in made])[:count] if count > len(raw) else raw + [text.encode() for text in made[:60]]


def special(*contents, **options):
    return [AddedToken(content, special=True, normalized=False, **options) for content in contents]


def bpe(tokenizer, size, tokens, **options):
    tokenizer.train_from_iterator(TEXTS * 3, trainers.BpeTrainer(vocab_size=size, special_tokens=tokens, show_progress=False, **options))
    return tokenizer


def byte_level_bpe(pre, tokens, size=900, normalizer=None, **model):
    tokenizer = Tokenizer(models.BPE(**model))
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.ByteLevel()
    return bpe(tokenizer, size, tokens, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())


def changed(tokenizer, **parts):
    """The tokenizer with parts of its file replaced; a function gets the old part."""
    description = json.loads(tokenizer.to_str())
    for name, part in parts.items():
        description[name] = part(description[name]) if callable(part) else part
    return Tokenizer.from_str(json.dumps(description))


def isolated(pattern):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def around(tokenizer, template, tokens):
    return processors.TemplateProcessing(single=template, special_tokens=[(token, tokenizer.token_to_id(token)) for token in tokens])


def gpt2():
    tokenizer = byte_level_bpe(pre_tokenizers.ByteLevel(add_prefix_space=False), [AddedToken("<|endoftext|>", special=True, normalized=True)])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def gpt2_prefix_space():
    tokenizer = byte_level_bpe(pre_tokenizers.ByteLevel(add_prefix_space=True), special("<s>", "</s>", "<unk>"), unk_token="<unk>")
    tokenizer.add_special_tokens(special("<mask>", lstrip=True))
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0))
    return tokenizer


def bloom():
    return byte_level_bpe(isolated(BLOOM), special("<unk>", "<s>", "</s>", "<pad>"))


def llama3():
    tokenizer = byte_level_bpe(isolated(LLAMA3), [])
    tokenizer.add_special_tokens(special("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"))
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), around(tokenizer, "<|begin_of_text|> $A", ["<|begin_of_text|>"])])
    return changed(tokenizer, model=lambda model: {**model, "ignore_merges": True, "merges": model["merges"][:-40]})  # some tokens are found whole only


def qwen2():
    tokenizer = byte_level_bpe(isolated(QWEN2), [], normalizer=normalizers.NFC(), continuing_subword_prefix="", end_of_word_suffix="")
    tokenizer.add_special_tokens(special("<|endoftext|>", "<|im_start|>", "<|im_end|>"))
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in ("<tool_call>", "</tool_call>")])
    return changed(tokenizer, model=lambda model: {**model, "merges": [" ".join(pair) for pair in model["merges"]]})  # the older spelling


def smollm2():
    pre = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    return byte_level_bpe(pre, special("<|endoftext|>", "<|im_start|>", "<|im_end|>"))


def smolvlm():
    tokenizer = smollm2()
    tokenizer.add_special_tokens(special("<fake_token_around_image>", "<image>", "<global-img>", "<row_1_col_1>", "<end_of_utterance>"))
    return tokenizer


def character_bpe(tokens, size=1000, more=()):
    """SentencePiece's BPE with byte fallback, trained on words that begin with its mark."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    names = [token.content for token in tokens]
    bpe(tokenizer, size, tokens + special(*BYTE_TOKENS), limit_alphabet=180)
    return changed(tokenizer, pre_tokenizer=None, added_tokens=lambda added: [token for token in added if token["content"] in names])


def llama_decoder(strip):
    return decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()] + ([decoders.Strip(" ", 1, 0)] if strip else []))


def llama2():
    tokenizer = character_bpe([AddedToken(token, special=True, normalized=True) for token in ("<unk>", "<s>", "</s>")])
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = llama_decoder(True)
    tokenizer.post_processor = around(tokenizer, "<s> $A", ["<s>"])
    return tokenizer


def mistral():
    tokenizer = character_bpe(special("<unk>", "<s>", "</s>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = llama_decoder(True)
    tokenizer.post_processor = around(tokenizer, "<s> $A </s>", ["<s>", "</s>"])
    return tokenizer


def gemma():
    tokenizer = character_bpe(special("<pad>", "<eos>", "<bos>", "<unk>"))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.add_special_tokens(special("<start_of_turn>", "<end_of_turn>"))
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in ("\n\n", "\n\n\n", "▁▁", "▁▁▁", "<table>")])
    tokenizer.decoder = llama_decoder(False)
    tokenizer.post_processor = around(tokenizer, "<bos> $A", ["<bos>"])
    return tokenizer


def paligemma():
    tokenizer = gemma()
    tokenizer.add_special_tokens(special("<image>"))
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in ("<loc0001>", "<seg001>")])
    return tokenizer


def bert(lowercase=True):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase, strip_accents=None)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(cleanup=lowercase)
    tokens = special("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    tokenizer.train_from_iterator(TEXTS * 3, trainers.WordPieceTrainer(vocab_size=1200, special_tokens=tokens, show_progress=False))
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2)) if lowercase else around(tokenizer, "[CLS] $A [SEP]", ["[CLS]", "[SEP]"])
    return tokenizer


def bert_cased():
    return bert(lowercase=False)


def clip():
    tokenizer = Tokenizer(models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>", continuing_subword_prefix=""))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    split = pre_tokenizers.Split(Regex(CLIP), "removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe(tokenizer, 1100, [AddedToken("<|startoftext|>", special=True, normalized=True)] + special("<|endoftext|>"), initial_alphabet=alphabet, end_of_word_suffix="</w>")
    tokenizer.post_processor = processors.RobertaProcessing(("<|endoftext|>", 1), ("<|startoftext|>", 0), trim_offsets=False, add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def sentencepiece_charsmap():
    """SentencePiece's own table "nmt_nfkc"."""
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2

    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(["a b c d e f g"] * 10), model_writer=out, vocab_size=12, normalization_rule_name="nmt_nfkc", minloglevel=2)
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(out.getvalue())
    return model.normalizer_spec.precompiled_charsmap


def unigram(normalizer, pre, tokens, unknown="<unk>", size=1000, more=()):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre
    tokenizer.train_from_iterator(TEXTS * 3, trainers.UnigramTrainer(vocab_size=size, special_tokens=tokens, unk_token=unknown, show_progress=False))
    return tokenizer


def t5():
    pre = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")])
    tokenizer = unigram(normalizers.Precompiled(sentencepiece_charsmap()), pre, special("<pad>", "</s>", "<unk>"))
    tokenizer.add_special_tokens(special("<extra_id_0>", "<extra_id_1>", lstrip=True, rstrip=True))
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = around(tokenizer, "$A </s>", ["</s>"])
    return tokenizer


def xlm_roberta():
    normalizer = normalizers.Sequence([normalizers.Precompiled(sentencepiece_charsmap()), normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(" {2,}"), "▁")])
    tokenizer = unigram(normalizer, pre_tokenizers.Metaspace(prepend_scheme="first"), special("<s>", "<pad>", "</s>", "<unk>"))
    tokenizer.add_special_tokens([AddedToken("<mask>", special=True, normalized=True, lstrip=True)])
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    tokenizer.post_processor = around(tokenizer, "<s> $A </s>", ["<s>", "</s>"])
    return tokenizer


def siglip():
    normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(Regex(SIGLIP_PUNCTUATION), ""), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip(), normalizers.NFKC()])
    tokenizer = unigram(normalizer, pre_tokenizers.Metaspace(prepend_scheme="always", split=True), special("<pad>", "</s>", "<unk>"))
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = around(tokenizer, "$A </s>", ["</s>"])
    return tokenizer


def unigram_bytes():
    """Unigram with byte fallback."""
    tokenizer = unigram(normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC()]), pre_tokenizers.Metaspace(prepend_scheme="never"), special("<unk>"), size=700)
    add_bytes = lambda model: {**model, "vocab": model["vocab"] + [[token, 0.0] for token in BYTE_TOKENS], "byte_fallback": True}
    tokenizer = changed(tokenizer, model=add_bytes)
    tokenizer.decoder = llama_decoder(False)
    return tokenizer


def openai_gpt():
    """The suffix without bytes, unknown tokens one by one, the decoder of the suffix."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.BPEDecoder("</w>")
    bpe(tokenizer, 800, special("<unk>"), end_of_word_suffix="</w>", limit_alphabet=120)
    tokenizer.add_tokens([AddedToken("marker", single_word=True)])
    return tokenizer


def subword_prefix():
    """Merges of tokens with a prefix, a run of unknown characters as one token, no decoder."""
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]", fuse_unk=True, continuing_subword_prefix="##"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.Strip()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=False)])
    bpe(tokenizer, 800, special("[UNK]"), continuing_subword_prefix="##", limit_alphabet=120)
    tokenizer.add_tokens([AddedToken("marker", single_word=True, lstrip=True, rstrip=True, normalized=True)])
    return tokenizer


def word_level():
    """Every behaviour of a delimiter; whole words."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.NFKD()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.CharDelimiterSplit(","), pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.Split(Regex("[aeiou]+"), "merged_with_next"), pre_tokenizers.Split("t", "merged_with_previous"),
        pre_tokenizers.Split(Regex("[b-d]|[x-z]"), "contiguous"), pre_tokenizers.Split(Regex(r"\S+"), "isolated", invert=True), pre_tokenizers.Split(" ", "removed"),
    ])
    tokenizer.train_from_iterator(TEXTS * 2, trainers.WordLevelTrainer(vocab_size=700, special_tokens=special("<unk>"), show_progress=False))
    return tokenizer


def byte_normalizer():
    """Bytes written in the alphabet by the normaliser."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.ByteLevel()])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("Ġ?[A-Za-z]+|[^A-Za-z]"), "isolated")
    tokenizer.decoder = decoders.ByteLevel()
    return bpe(tokenizer, 600, [], initial_alphabet=pre_tokenizers.ByteLevel.alphabet())


FAMILIES = [gpt2, gpt2_prefix_space, bloom, llama3, qwen2, smollm2, smolvlm, llama2, mistral, gemma, paligemma, bert, bert_cased, clip, t5, xlm_roberta, siglip, unigram_bytes, openai_gpt, subword_prefix, word_level, byte_normalizer]


def without_control_tokens(tokenizer):
    """The tokenizer whose Unigram model cannot find control tokens in plain text: Blazon's never does, the package's does."""
    description = json.loads(tokenizer.to_str())
    if description["model"]["type"] != "Unigram":
        return tokenizer
    hidden = {token["content"] for token in description["added_tokens"] if token["special"]}
    vocabulary, unknown = description["model"]["vocab"], description["model"]["unk_id"]
    description["model"]["vocab"] = [[f"no text has this {i}" if piece in hidden and i != unknown else piece, score] for i, (piece, score) in enumerate(vocabulary)]
    description["added_tokens"] = [token for token in description["added_tokens"] if token["id"] == unknown]
    return Tokenizer.from_str(json.dumps(description))


# FAMILY: tokenizer.ggml.model, tokenizer.ggml.pre
GGUF_FAMILIES = {"gpt2": ("gpt2", "gpt-2"), "bloom": ("gpt2", "bloom"), "llama3": ("gpt2", "llama-bpe"), "qwen2": ("gpt2", "qwen2"), "smollm2": ("gpt2", "smollm"),
                 "llama2": ("llama", "default"), "bert": ("bert", "default"), "t5": ("t5", "default")}


def write_gguf(path, description, kind, pre):
    """The vocabulary as converters write it."""
    import base64

    import gguf

    model = description["model"]
    pieces = dict(model["vocab"]) if kind == "t5" else model["vocab"]
    tokens = [piece for piece, _ in model["vocab"]] if kind == "t5" else sorted(pieces, key=pieces.get)
    types = [6 if token in BYTE_TOKENS and kind == "llama" else 1 for token in tokens]
    for added in description["added_tokens"]:
        if added["id"] == len(tokens):
            tokens.append(added["content"])
            types.append(1)
        types[added["id"]] = 3 if added["special"] else 4
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model(kind)
    writer.add_tokenizer_pre(pre)
    merges = [merge.split(" ") if isinstance(merge, str) else merge for merge in model.get("merges", [])]
    if kind == "gpt2":
        writer.add_token_merges([" ".join(merge) for merge in merges])
    if kind == "llama":
        ranks = {left + right: -1.0 - rank for rank, (left, right) in enumerate(merges)}
        writer.add_token_scores([ranks.get(token, -1e6) for token in tokens])
        types[tokens.index("<unk>")] = 2
        writer.add_bos_token_id(tokens.index("<s>"))
    if kind == "bert":
        spell = lambda token: token[2:] if token.startswith("##") else token if token.startswith("[") and token.endswith("]") else "\u2581" + token
        tokens = [token if type == 3 else spell(token) for token, type in zip(tokens, types)]
        writer.add_bos_token_id(2)
        writer.add_eos_token_id(3)
    if kind == "t5":
        writer.add_token_scores([pieces.get(token, 0.0) for token in tokens])
        types[model["unk_id"]] = 2
        writer.add_precompiled_charsmap(base64.b64decode(description["normalizer"]["precompiled_charsmap"]))
        writer.add_eos_token_id(tokens.index("</s>"))
    if kind == "gpt2" and pre == "llama-bpe":
        writer.add_bos_token_id(tokens.index("<|begin_of_text|>"))
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def cases(tokenizer, raw):
    rows = []
    plain_tokenizer = without_control_tokens(tokenizer)
    plain_tokenizer.encode_special_tokens = True
    for text in (one.decode("utf-8", "replace") for one in raw):
        tokenizer.encode_special_tokens = plain_tokenizer is tokenizer
        plain = plain_tokenizer.encode(text, add_special_tokens=False).ids
        tokenizer.encode_special_tokens = False
        special_ids = tokenizer.encode(text, add_special_tokens=False).ids
        decoded = tokenizer.decode(plain, skip_special_tokens=False) if plain else ""
        row = {"ids": plain}
        if decoded != text:
            row["decoded"] = decoded
        if special_ids != plain:
            row["special"] = special_ids
        rows.append(row)
    with_all = tokenizer.encode("a").ids
    bare = tokenizer.encode("a", add_special_tokens=False).ids
    at = next(i for i in range(len(with_all)) if with_all[i:i + len(bare)] == bare)
    return {"prefix": with_all[:at], "suffix": with_all[at + len(bare):], "cases": rows}


def write_lines(path, head, items):
    rows = ",\n".join(json.dumps(item, ensure_ascii=True, separators=(",", ":")) for item in items)
    path.write_text(head + "[\n" + rows + "\n]")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--strings", type=int, default=0)
    parser.add_argument("--out", type=pathlib.Path, default=GOLDENS)
    parser.add_argument("--families", default="")
    arguments = parser.parse_args()
    raw = strings(arguments.strings)
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_lines(arguments.out / "strings.json", "", [one.decode() if is_utf8(one) else {"hex": one.hex()} for one in raw])
    for family in FAMILIES:
        name = family.__name__
        if arguments.families and name not in arguments.families.split(","):
            continue
        folder = arguments.out / name
        folder.mkdir(exist_ok=True)
        if arguments.strings:
            description = (GOLDENS / name / "tokenizer.json").read_text()
            (folder / "tokenizer.json").write_text(description)
        else:
            if not (folder / "tokenizer.json").exists():
                description = json.dumps(json.loads(family().to_str()), ensure_ascii=False, separators=(",", ":"))
                (folder / "tokenizer.json").write_text(description + "\n")
            description = (folder / "tokenizer.json").read_text()
            if name in GGUF_FAMILIES:
                write_gguf(folder / "vocabulary.gguf", json.loads(description), *GGUF_FAMILIES[name])
        result = cases(Tokenizer.from_str(description), raw)
        write_lines(folder / "cases.json", json.dumps({key: result[key] for key in ("prefix", "suffix")})[:-1] + ', "cases": ', result["cases"])
        with (folder / "cases.json").open("a") as stream:
            stream.write("}\n")
        print(f"{name}: {len(result['cases'])} strings, {(folder / 'tokenizer.json').stat().st_size + (folder / 'cases.json').stat().st_size} bytes", flush=True)


def is_utf8(raw):
    try:
        raw.decode()
        return True
    except UnicodeDecodeError:
        return False


if __name__ == "__main__":
    main()

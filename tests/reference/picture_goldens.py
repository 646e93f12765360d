"""Makes tests/goldens/picture_prompts.json and .safetensors and tests/goldens/pictures, for tests/service/picture_parity_test.

python tests/reference/picture_goldens.py

Needs transformers 5.17.0 with torchvision 0.26, Pillow 13 and num2words. From the bytes of a picture file and a prompt
to text, through the processors of transformers: checkpoint folders as the hub has them (config, processor and tokenizer
files, chat template), the small models of vision_language_goldens.py with the vocabularies of tests/goldens/tokenizers.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers as hf
from PIL import Image
from safetensors.torch import save_file
from transformers.image_utils import load_image

import chat_templates
import vision_language_goldens as models

GOLDENS = models.GOLDENS
GREEDY, BEAMS, BEAM_TOKENS, TOP = 20, 4, 10, 20
CLIP = dict(image_mean=[0.48145466, 0.4578275, 0.40821073], image_std=[0.26862954, 0.26130258, 0.27577711])


def picture(width: int, height: int) -> Image.Image:
    """Slopes and blocks, which compress well."""
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
    block = ((x * 5 // width) * 3 + (y * 4 // height) * 7 + c * 5) * 41 % 200
    return Image.fromarray((block + (x * (c + 1) // 3 + y * (3 - c) // 2) % 56).astype(np.uint8))


def write_pictures(folder: Path):
    folder.mkdir(exist_ok=True)
    picture(90, 50).save(folder / "wide.png", optimize=True)
    picture(120, 40).save(folder / "strip.png", optimize=True)
    turned = Image.Exif()
    turned[0x0112] = 6  # to be shown upright, 44 x 64
    picture(64, 44).save(folder / "upright.jpg", quality=90, exif=turned)


def special(content: str, number: int) -> dict:
    return dict(id=number, content=content, single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)


def image(name: str) -> dict:
    return {"image": name}


def text(words: str) -> dict:
    return {"text": words}


def square(side: int) -> dict:
    return dict(height=side, width=side)


TILES = ["<fake_token_around_image>", "<image>", "<global-img>", "<row_1_col_1>", "<end_of_utterance>"]
MORE_TILES = [f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2) if (row, column) != (1, 1)]
WIDE, UPRIGHT, STRIP = image("wide.png"), image("upright.jpg"), image("strip.png")


def paligemma(base: str, side: int, tokens: int) -> dict:
    return dict(
        case=base, vocabulary=1032, tokenizer=dict(base="paligemma", added=[]),
        patch=dict(image_token_index=1006, bos_token_id=2, eos_token_id=1, text_config=dict(eos_token_id=1, bos_token_id=2)),
        files={"preprocessor_config.json": dict(image_processor_type="SiglipImageProcessor", processor_class="PaliGemmaProcessor",
                                                image_seq_length=tokens, size=square(side), resample=3, do_resize=True, do_rescale=True, do_normalize=True,
                                                do_convert_rgb=None, rescale_factor=1 / 255, image_mean=[0.5] * 3, image_std=[0.5] * 3),
               "tokenizer_config.json": dict(tokenizer_class="GemmaTokenizer", bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<unk>",
                                             additional_special_tokens=["<image>"], add_bos_token=True, add_eos_token=False)},
        prompts=[[WIDE, text("caption en")], [UPRIGHT, text("answer en What stands on the left side of the photo?")], [STRIP, WIDE, text("describe")]],
        completion="a cat on a table")


def llava(base: str, side: int, patch: int, strategy: str) -> dict:
    return dict(
        case=base, vocabulary=1010, tokenizer=dict(base="llama2", added=[special("<image>", 1000), special("<pad>", 1001)]),
        patch=dict(image_token_index=1000, text_config=dict(eos_token_id=2, bos_token_id=1, pad_token_id=1001)),
        files={"preprocessor_config.json": dict(image_processor_type="CLIPImageProcessor", processor_class="LlavaProcessor", crop_size=square(side),
                                                size=dict(shortest_edge=side), do_center_crop=True, do_convert_rgb=True, do_normalize=True, do_rescale=True,
                                                do_resize=True, resample=3, rescale_factor=1 / 255, **CLIP),
               "processor_config.json": dict(processor_class="LlavaProcessor", patch_size=patch, image_token="<image>", num_additional_image_tokens=1,
                                             vision_feature_select_strategy=strategy),
               "chat_template.json": dict(chat_template=chat_templates.LLAVA),
               "tokenizer_config.json": dict(tokenizer_class="LlamaTokenizer", bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>",
                                             add_bos_token=True, add_eos_token=False, legacy=False)},
        prompts=[[text("USER: "), WIDE, text("\nWhat is this? ASSISTANT:")], [UPRIGHT, text(" and "), STRIP, text(" are two pictures of")],
                 dict(chat=[("user", [WIDE, text("What animal is this?")]), ("assistant", [text("It is a cat.")]), ("user", [text("And its colour?")])])],
        completion="a cat on a table")


def idefics3(base: str, name: str, side: int) -> dict:
    added = [special(content, 905 + i) for i, content in enumerate(MORE_TILES)]
    return dict(
        case=base, vocabulary=920, tokenizer=dict(base="smolvlm", added=added),
        patch=dict(image_token_id=901, pad_token_id=2, text_config=dict(eos_token_id=904, bos_token_id=1, pad_token_id=2)),
        files={"preprocessor_config.json": dict(image_processor_type=f"{name}ImageProcessor", processor_class=f"{name}Processor", do_convert_rgb=True,
                                                do_image_splitting=True, do_normalize=True, do_pad=True, do_rescale=True, do_resize=True, resample=1,
                                                rescale_factor=1 / 255, image_mean=[0.5] * 3, image_std=[0.5] * 3, size=dict(longest_edge=2 * side),
                                                max_image_size=dict(longest_edge=side)),
               "processor_config.json": dict(processor_class=f"{name}Processor", image_seq_len=4),
               "chat_template.jinja": chat_templates.SMOLVLM,
               "tokenizer_config.json": dict(tokenizer_class="GPT2Tokenizer", bos_token="<|im_start|>", eos_token="<end_of_utterance>", pad_token="<|im_end|>",
                                             unk_token="<|endoftext|>", add_prefix_space=False)},
        prompts=[[text("First "), WIDE, text(" is a picture of")], [UPRIGHT, STRIP, text("Both show")],
                 dict(chat=[("user", [WIDE, text("What animal is this?")])]),
                 dict(chat=[("user", [text("Look: "), UPRIGHT]), ("assistant", [text("I see.")]), ("user", [text("And here: "), STRIP, text("Which is brighter?")])])],
        completion=" a cat on a table")


def gemma3(base: str, side: int, tokens: int, **scan) -> dict:
    added = [special("<start_of_image>", 1006), special("<end_of_image>", 1007), special("<image_soft_token>", 1008)]
    return dict(
        case=base, vocabulary=1024, tokenizer=dict(base="gemma", added=added), images_kwargs=scan,
        patch=dict(image_token_index=1008, boi_token_index=1006, eoi_token_index=1007, text_config=dict(eos_token_id=1, bos_token_id=2)),
        files={"preprocessor_config.json": dict(image_processor_type="Gemma3ImageProcessor", processor_class="Gemma3Processor", do_convert_rgb=None,
                                                do_normalize=True, do_rescale=True, do_resize=True, image_mean=[0.5] * 3, image_std=[0.5] * 3,
                                                image_seq_length=tokens, resample=2, rescale_factor=1 / 255, size=square(side), do_pan_and_scan=None,
                                                pan_and_scan_max_num_crops=None, pan_and_scan_min_crop_size=None, pan_and_scan_min_ratio_to_activate=None) | scan,
               "processor_config.json": dict(processor_class="Gemma3Processor", image_seq_length=tokens),
               "chat_template.jinja": chat_templates.GEMMA3,
               "tokenizer_config.json": dict(tokenizer_class="GemmaTokenizer", bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<unk>",
                                             add_bos_token=True, add_eos_token=False, image_token="<image_soft_token>", boi_token="<start_of_image>",
                                             eoi_token="<end_of_image>", extra_special_tokens=dict(image_token="<image_soft_token>", boi_token="<start_of_image>",
                                                                                                   eoi_token="<end_of_image>"))},
        prompts=[[STRIP, text(" in this picture there is")], [text("Of "), WIDE, text("and"), UPRIGHT, text(", the first is")],
                 dict(chat=[("user", [STRIP, text("What animal is this?")]), ("assistant", [text("It is a cat.")]), ("user", [UPRIGHT, text("And this?")])])],
        completion=" a cat on a table")


def blip(base: str, side: int) -> dict:
    return dict(
        case=base, vocabulary=1203, tokenizer=dict(base="bert", added=[special("[DEC]", 1200)]),
        patch=dict(text_config=dict(bos_token_id=1200, eos_token_id=3, sep_token_id=3)),
        files={"preprocessor_config.json": dict(image_processor_type="BlipImageProcessor", processor_class="BlipProcessor", do_normalize=True, do_rescale=True,
                                                do_resize=True, resample=3, rescale_factor=1 / 255, size=square(side), **CLIP),
               "tokenizer_config.json": dict(tokenizer_class="BertTokenizer", cls_token="[CLS]", mask_token="[MASK]", pad_token="[PAD]", sep_token="[SEP]",
                                             unk_token="[UNK]", do_lower_case=True, model_max_length=150)},
        prompts=[[WIDE], [UPRIGHT], [STRIP], [WIDE, text("a picture of")]],
        completion="a cat on a table")


CASES = {
    "paligemma.one": paligemma("paligemma.one", 16, 16),
    "paligemma.two": paligemma("paligemma.two", 21, 9),
    "llava.grouped": llava("llava.grouped", 16, 4, "default"),
    "llava.tied": llava("llava.tied", 20, 5, "full"),
    "smolvlm": idefics3("smolvlm.split", "SmolVLM", 24),
    "idefics3": idefics3("idefics3.tied", "Idefics3", 20),
    "gemma3.windows": gemma3("gemma3.windows", 24, 9),
    "gemma3.scan": gemma3("gemma3.scaled", 20, 4, do_pan_and_scan=True, pan_and_scan_min_crop_size=16, pan_and_scan_max_num_crops=4,
                          pan_and_scan_min_ratio_to_activate=1.2),
    "blip.tied": blip("blip.tied", 16),
    "blip.untied": blip("blip.untied", 20),
}


def merged(value, patch):
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    return {**value, **{key: merged(value.get(key, {}), each) for key, each in patch.items()}}


def resized(tensors: dict, old: int, new: int) -> dict:
    """Shapes with another vocabulary."""
    return {key: {**tensor, "shape": [new if size == old else size for size in tensor["shape"][:1]] + tensor["shape"][1:]} for key, tensor in tensors.items()}


def write_folder(folder: Path, case: dict):
    made = json.loads((GOLDENS / "vision_language.json").read_text())[case["case"]]
    vocabulary = made["config"]["text_config"]["vocab_size"]
    sizes = dict(text_config=dict(vocab_size=case["vocabulary"]))
    if made["config"]["model_type"] != "blip":  # which has a weight for each position
        sizes["text_config"]["max_position_embeddings"] = 640
    case["patch"] = merged(sizes, case["patch"])
    config = merged(made["config"], case["patch"])
    tensors = resized(made["tensors"], vocabulary, case["vocabulary"])
    (folder / "config.json").write_text(json.dumps(config))
    models.save_file({key: np.ascontiguousarray(models.weight(key, tensor)) for key, tensor in tensors.items()}, folder / "model.safetensors", {"format": "pt"})
    tokenizer = json.loads((GOLDENS / "tokenizers" / case["tokenizer"]["base"] / "tokenizer.json").read_text())
    tokenizer["added_tokens"] += case["tokenizer"]["added"]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    for name, content in case["files"].items():
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))


class Reference:
    def __init__(self, folder: Path, case: dict):
        self.case = case
        self.processor = hf.AutoProcessor.from_pretrained(folder)
        self.model = hf.AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        self.type = self.model.config.model_type
        self.tokenizer = self.processor.tokenizer
        self.decoder = hf.AutoTokenizer.from_pretrained(folder)  # without PaliGemma's tokens that its processor adds where they are missing

    def words(self, prompt) -> str:
        if isinstance(prompt, dict):
            messages = [dict(role=role, content=[dict(type="image") if "image" in part else dict(type="text", text=part["text"]) for part in parts])
                        for role, parts in prompt["chat"]]
            return self.processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        place = {"paligemma": "<image>", "gemma3": "<start_of_image>", "blip": ""}.get(self.type, "<image>")
        begin = self.tokenizer.bos_token if self.type == "gemma3" else ""  # whose chat template writes it; apply_chat_template minds that
        return begin + "".join(place if "image" in part else part["text"] for part in prompt)

    @staticmethod
    def pictures(prompt) -> list:
        parts = prompt if isinstance(prompt, list) else [part for _, parts in prompt["chat"] for part in parts]
        return [load_image(str(GOLDENS / "pictures" / part["image"])) for part in parts if "image" in part]

    def inputs(self, prompts: list) -> dict:
        """What the processor makes of them, padded on the left."""
        pictures = [self.pictures(prompt) for prompt in prompts]
        if self.type in ("llava", "blip"):
            pictures = [each for one in pictures for each in one]
        made = self.processor(text=[self.words(prompt) for prompt in prompts], images=pictures, return_tensors="pt", padding=True, padding_side="left",
                              add_special_tokens=self.type != "gemma3", **self.case.get("images_kwargs", {}))
        bos = self.tokenizer.bos_token_id
        assert self.type == "blip" or not any((row[:-1] == bos).logical_and(row[1:] == bos).any() for row in made["input_ids"]), "two beginnings"
        made.pop("labels", None)
        return dict(made)

    def prompt(self, made: dict) -> dict:
        """The inputs of one prompt as the model itself takes them."""
        if self.type != "blip":
            return made
        ids = made["input_ids"][:, :-1].clone()  # as its generate() does
        ids[:, 0] = self.model.config.text_config.bos_token_id
        return dict(pixel_values=made["pixel_values"], input_ids=ids, attention_mask=torch.ones_like(ids))

    def generate(self, made: dict, **more):
        return self.model.generate(**made, do_sample=False, **more)

    def search_beams(self, made: dict):
        """transformers 5.17.0 repeats each tile for the beams where it should repeat all tiles of the one prompt, so that its beams see other pictures
        than were given, and its scores are not those of its own forward pass. Here each beam gets all of them."""
        expand = self.model._expand_inputs_for_generation

        def expand_tiles(expand_size=1, is_encoder_decoder=False, input_ids=None, **inputs):
            tiles = inputs.pop("pixel_values")
            ids, inputs = expand(expand_size=expand_size, is_encoder_decoder=is_encoder_decoder, input_ids=input_ids, **inputs)
            return ids, inputs | {"pixel_values": tiles.repeat(expand_size, *[1] * (tiles.dim() - 1))}

        if self.type != "blip":  # which looks at one picture
            self.model._expand_inputs_for_generation = expand_tiles
        beams = self.generate(made, num_beams=BEAMS, num_return_sequences=BEAMS, max_new_tokens=BEAM_TOKENS, return_dict_in_generate=True, output_scores=True)
        self.model.__dict__.pop("_expand_inputs_for_generation", None)
        return beams.sequences[:, self.length(made):], beams.sequences_scores

    def length(self, made: dict) -> int:
        return made["input_ids"].shape[1] - (1 if self.type == "blip" else 0)

    def longer(self, made: dict, more: torch.Tensor) -> dict:
        whole = dict(made, input_ids=torch.cat([made["input_ids"], more[None]], 1))
        whole["attention_mask"] = torch.ones_like(whole["input_ids"])
        if "token_type_ids" in made:
            value = 1 if self.type == "paligemma" else 0
            whole["token_type_ids"] = torch.cat([made["token_type_ids"], torch.full_like(more[None], value)], 1)
        return whole

    def image_token(self) -> int:
        return getattr(self.model.config, "image_token_id", -1) if self.type != "blip" else -1


def one_prompt(reference: Reference, prompt) -> tuple[dict, dict]:
    """Of the golden: what it says in words, and tensors."""
    for attempt in range(30):  # equal choices must not hang on the last bits
        asked = json.loads(json.dumps(prompt))
        if attempt > 0:
            parts = asked if isinstance(asked, list) else asked["chat"][-1][1]
            parts.append(text(" " + "abcdefghijklmnopqrstuvwxyz"[attempt % 26]))
        made = reference.inputs([asked])
        length = reference.length(made)
        greedy = reference.generate(made, max_new_tokens=GREEDY)[0, length:]
        plain = reference.prompt(made)
        rows = reference.model(**reference.longer(plain, greedy)).logits[0, length - 1:-1]
        best = rows.topk(2).values
        if (best[:, 0] - best[:, 1]).min() > 2e-3 and torch.equal(rows.argmax(-1), greedy) and greedy.unique().numel() > 4:
            break
    else:
        raise AssertionError("no prompt with clear choices of several tokens")
    sequences, scores = reference.search_beams(made)
    best = reference.model(**reference.longer(plain, sequences[0])).logits[0, length - 1:-1].log_softmax(-1)
    assert abs(best.gather(1, sequences[0][:, None]).mean() - scores[0]) < 1e-5, "the score is not that of the forward pass"
    completion = torch.tensor(reference.tokenizer.encode(reference.case["completion"], add_special_tokens=False))
    logprobs = reference.model(**reference.longer(plain, completion)).logits[0, length - 1:-1].log_softmax(-1)
    ids = plain["input_ids"][0]
    blind = dict(plain, pixel_values=-plain["pixel_values"])
    seen = (reference.model(**blind).logits[0, -1] - reference.model(**plain).logits[0, -1]).abs().max()
    assert seen > 0.02, ("the picture makes no difference", seen)
    said = dict(parts=asked) if isinstance(asked, list) else asked
    return ({**said, "words": reference.decoder.decode(greedy, skip_special_tokens=True)},
            dict(ids=torch.where(ids == reference.image_token(), -1, ids), greedy=greedy, top=rows.topk(TOP).indices, top_logprobs=rows.log_softmax(-1).topk(TOP).values,
                 greedy_logprobs=rows.log_softmax(-1).gather(1, greedy[:, None])[:, 0], completion=completion,
                 completion_logprobs=logprobs.gather(1, completion[:, None])[:, 0],
                 beam_sequences=sequences, beam_scores=scores))


def check_batch(reference: Reference, prompts: list, singles: list):
    """transformers' own batch, padded on the left, says the same as one prompt after another. BLIP's places of tokens count the padding, so its
    prompts are of one length there."""
    if reference.type == "blip":
        lengths = [len(each["ids"]) for each in singles]
        chosen = [i for i, length in enumerate(lengths) if length == lengths[0]]
    else:
        chosen = list(range(len(prompts)))
    made = reference.inputs([prompts[i] for i in chosen])
    output = reference.generate(made, max_new_tokens=GREEDY)[:, reference.length(made):]
    for row, i in zip(output, chosen):
        expected = singles[i]["greedy"]
        assert torch.equal(row[:len(expected)], expected), (i, row, expected)


def main():
    torch.set_num_threads(1)
    hf.logging.set_verbosity_error()
    write_pictures(GOLDENS / "pictures")
    goldens, tensors = {}, {}
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as folder, torch.no_grad():
            write_folder(Path(folder), case)
            reference = Reference(Path(folder), case)
            said, found = zip(*(one_prompt(reference, prompt) for prompt in case["prompts"]))
            check_batch(reference, [each.get("parts") or dict(chat=each["chat"]) for each in said], found)
        for i, one in enumerate(found):
            tensors.update({f"{name}.{i}.{key}": value.contiguous() for key, value in one.items()})
        goldens[name] = {key: case[key] for key in ("case", "vocabulary", "tokenizer", "patch", "files", "completion")} | {
            "prompts": said, "end": reference.model.generation_config.eos_token_id}
        print(f"{name:16}", [len(one["ids"]) for one in found], [one["words"] for one in said], flush=True)
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(golden, sort_keys=True)}" for name, golden in goldens.items())
    (GOLDENS / "picture_prompts.json").write_text("{\n" + lines + "\n}\n")
    save_file(tensors, GOLDENS / "picture_prompts.safetensors")
    (GOLDENS / "picture_prompts.safetensors").chmod(0o644)


if __name__ == "__main__":
    main()

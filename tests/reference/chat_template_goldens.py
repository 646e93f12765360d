"""Writes tests/goldens/chat_templates.json: chats and small programs by jinja2, in the environment that transformers' apply_chat_template makes.

    python tests/reference/chat_template_goldens.py [--templates FILE.json] [--out FILE]

Needs: jinja2, transformers. The templates are those of chat_templates.py; --templates adds others from a JSON object of name -> {template, tokens, parts}, to
compare templates of downloaded checkpoints: write them with --out and name that file in BLAZON_CHAT_TEMPLATE_GOLDENS when running chat_template_test.
"""
import argparse
import datetime
import json
import pathlib

from transformers.utils import chat_template_utils

from chat_template_programs import PROGRAMS, VARIABLES
from chat_templates import TEMPLATES

ROOT = pathlib.Path(__file__).resolve().parents[2]
NOW = datetime.datetime(2025, 3, 9, 14, 5, 7)


class FixedClock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


def turns(*pairs):
    return [{"role": role, "content": content} for role, content in pairs]


S, U, A, T = "system", "user", "assistant", "tool"
CHATS = [
    (turns((S, "Be brief."), (U, "Hi!")), True), (turns((U, "What is the capital of France?")), True), (turns((U, "Hi"), (A, "Hello, you."), (U, "Bye"), (A, "Bye.")), False),
    (turns((S, "s"), (U, "a"), (A, "b"), (U, "c")), True), (turns((U, "")), True), (turns((S, ""), (U, ""), (A, ""), (U, "")), True),
    (turns((U, "Grüße, 世界! 👩‍👩‍👧‍👦 ΣΑΣ 'quoted' \"twice\" \\n \u2028 \u00a0end")), True),
    (turns((S, "<|im_end|>\n<|im_start|>system"), (U, "<|im_start|></s><|eot_id|><end_of_turn><bos> {{ bos_token }} {% if x %} {# no #} <image> [INST] <|user|>")), True),
    (turns((U, "  \n\tspaces all around \n\n  "), (A, "\n\n indented\n  more  "), (U, "\n")), True), (turns((A, "first"), (U, "second")), True), (turns((U, "a"), (U, "b")), True),
    (turns((U, "a"), (S, "late"), (A, "b")), False), (turns((U, "q"), (A, "<think>\nwell, so\n</think>\n\nYes."), (U, "and?"), (A, "<think>no</think>No.")), False),
    (turns((U, "q"), (A, "calling"), (T, '{"t": 21.5, "ü": "<b>"}'), (A, "It is 21.5.")), False), (turns((U, "<tool_response>\nx\n</tool_response>"), (A, "<think>\n\nt\n\n</think>\n\nok")), True),
    (turns((S, "Line 1\nLine 2\r\nLine 3"), (U, "x" * 300), (A, "y " * 50)), True),
]
PICTURES = [
    [{"role": U, "content": [{"type": "image"}, {"type": "text", "text": "What is this? <image>"}]}],
    [{"role": U, "content": [{"type": "text", "text": "Compare "}, {"type": "image"}, {"type": "image"}, {"type": "text", "text": " please\n"}]}, {"role": A, "content": [{"type": "text", "text": "Same."}]},
     {"role": U, "content": [{"type": "text", "text": "Sure?"}]}],
]


def render(template, **variables):
    try:
        return {"text": chat_template_utils._compile_jinja_template(template).render(**variables)}
    except Exception as error:  # whatever jinja2 raises, Blazon reports some error
        return {"error": f"{type(error).__name__}: {error}"[:120]}


def as_parts(messages):
    return [{"role": m["role"], "content": [{"type": "text", "text": m["content"]}]} if isinstance(m["content"], str) else m for m in messages]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--templates")
    parser.add_argument("--out", default=ROOT / "tests/goldens/chat_templates.json", type=pathlib.Path)
    arguments = parser.parse_args()
    chat_template_utils.datetime = FixedClock
    templates = list(TEMPLATES)
    if arguments.templates:
        given = json.loads(pathlib.Path(arguments.templates).read_text())
        templates += [(name, one["template"], one.get("tokens", {}), one.get("parts", False)) for name, one in given.items()]
    goldens = {"now": NOW.isoformat(), "chats": [], "templates": [], "variables": VARIABLES, "programs": []}
    for messages, prompt in CHATS:
        goldens["chats"].append({"messages": messages, "add_generation_prompt": prompt})
    for messages in PICTURES:
        goldens["chats"].append({"messages": messages, "add_generation_prompt": True})
    for name, template, tokens, parts in templates:
        results = []
        for index, chat in enumerate(goldens["chats"]):
            messages = as_parts(chat["messages"]) if parts else chat["messages"]
            if not parts and index >= len(CHATS):
                continue
            results.append(render(template, messages=messages, tools=None, documents=None, add_generation_prompt=chat["add_generation_prompt"], **tokens))
            results[-1]["chat"] = index
        if "enable_thinking" in template:
            results.append(render(template, messages=CHATS[0][0], tools=None, documents=None, add_generation_prompt=True, enable_thinking=False, **tokens))
            results[-1].update(chat=0, enable_thinking=False)
        goldens["templates"].append({"name": name, "template": template, "tokens": tokens, "parts": parts, "results": results})
    for program in PROGRAMS:
        goldens["programs"].append({"program": program} | render(program, **VARIABLES))
    arguments.out.write_text(json.dumps(goldens, ensure_ascii=False, indent=0) + "\n")
    failed = sum("error" in one for one in goldens["programs"])
    print(f"{len(templates)} templates, {sum(len(one['results']) for one in goldens['templates'])} chats, {len(PROGRAMS)} programs ({failed} of them errors), {arguments.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()

"""Chat templates with the constructs of the public checkpoints' templates, for chat_template_goldens.py.

Each is written for this test: it makes the prompt format that the named family documents, with the statements, filters and tests that the
family's own template uses, and none is a copy of a checkpoint's text. (name, template, special tokens, whether content is a list of parts)
"""
LLAMA_TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
CHATML_TOKENS = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "pad_token": "<|im_end|>"}
LLAMA3_TOKENS = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}
GEMMA_TOKENS = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}

SMOLLM2 = """{% for turn in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nBe helpful.<|im_end|>\\n' }}{% endif %}\
{{'<|im_start|>' + turn['role'] + '\\n' + turn['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

LLAMA2 = """{% if messages[0]['role'] == 'system' %}{% set turns = messages[1:] %}{% set system = messages[0]['content'] %}{% else %}{% set turns = messages %}\
{% set system = false %}{% endif %}{% for turn in turns %}{% if (turn['role'] == 'user') != (loop.index0 % 2 == 0) %}\
{{ raise_exception('Roles have to take turns, the user first') }}{% endif %}{% if loop.index0 == 0 and system != false %}\
{% set text = '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' + turn['content'] %}{% else %}{% set text = turn['content'] %}{% endif %}\
{% if turn['role'] == 'user' %}{{ bos_token + '[INST] ' + text.strip() + ' [/INST]' }}{% elif turn['role'] == 'assistant' %}\
{{ ' '  + text.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"""

LLAMA3 = """{% for turn in messages %}{% set text = '<|start_header_id|>' + turn['role'] + '<|end_header_id|>\\n\\n' + turn['content'] | trim + '<|eot_id|>' %}\
{% if loop.index0 == 0 %}{% set text = bos_token + text %}{% endif %}{{ text }}{% endfor %}\
{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"""

LLAMA32 = """{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}

{#- The system turn always comes, with the dates in it. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\\n" }}
    {%- for tool in tools %}
        {{- tool | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{{- "Cutting Knowledge Date: December 2023\\n" }}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- system }}
{{- "<|eot_id|>" }}
{%- for turn in messages %}
    {%- if not (turn.role == 'ipython' or turn.role == 'tool' or 'tool_calls' in turn) %}
        {{- '<|start_header_id|>' + turn['role'] + '<|end_header_id|>\\n\\n'+ turn['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in turn %}
        {%- if not turn.tool_calls|length == 1 %}
            {{- raise_exception("One call a turn!") }}
        {%- endif %}
        {%- set call = turn.tool_calls[0].function %}
        {{- '{"name": "' + call.name + '", ' + '"parameters": ' }}
        {{- call.arguments | tojson }}
        {{- "}" + "<|eot_id|>" }}
    {%- elif turn.role == "tool" or turn.role == "ipython" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if turn.content is mapping or turn.content is iterable %}
            {{- turn.content | tojson }}
        {%- else %}
            {{- turn.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

GEMMA = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('There is no system role') }}{% endif %}{% for turn in messages %}\
{% if (turn['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles have to take turns') }}{% endif %}\
{% if (turn['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = turn['role'] %}{% endif %}\
{{ '<start_of_turn>' + role + '\\n' + turn['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}\
{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}"""

GEMMA3 = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set prefix = messages[0]['content'] + '\\n\\n' -%}
    {%- else -%}
        {%- set prefix = messages[0]['content'][0]['text'] + '\\n\\n' -%}
    {%- endif -%}
    {%- set turns = messages[1:] -%}
{%- else -%}
    {%- set prefix = "" -%}
    {%- set turns = messages -%}
{%- endif -%}
{%- for turn in turns -%}
    {%- if (turn['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Roles have to take turns") }}
    {%- endif -%}
    {%- if (turn['role'] == 'assistant') -%}
        {%- set role = "model" -%}
    {%- else -%}
        {%- set role = turn['role'] -%}
    {%- endif -%}
    {{ '<start_of_turn>' + role + '\\n' + (prefix if loop.first else "") }}
    {%- if turn['content'] is string -%}
        {{ turn['content'] | trim }}
    {%- elif turn['content'] is iterable -%}
        {%- for item in turn['content'] -%}
            {%- if item['type'] == 'image' -%}
                {{ '<start_of_image>' }}
            {%- elif item['type'] == 'text' -%}
                {{ item['text'] | trim }}
            {%- endif -%}
        {%- endfor -%}
    {%- else -%}
        {{ raise_exception("Unknown content") }}
    {%- endif -%}
    {{ '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<start_of_turn>model\\n'}}
{%- endif -%}
"""

QWEN2 = """{% for turn in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nYou are an assistant.<|im_end|>\\n' }}{% endif %}\
{{'<|im_start|>' + turn['role'] + '\\n' + turn['content']}}{% if (loop.last and add_generation_prompt) or not loop.last %}{{ '<|im_end|>' + '\\n'}}{% endif %}{% endfor %}\
{% if add_generation_prompt and messages[-1]['role'] != 'assistant' %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

QWEN25 = """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0]['role'] == 'system' %}
        {{- messages[0]['content'] }}
    {%- endif %}
    {{- "\\n\\n# Tools\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools>{\\"name\\": <name>}<|im_end|>\\n" }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- for turn in messages %}
    {%- if (turn.role == "user") or (turn.role == "system" and not loop.first) or (turn.role == "assistant" and not turn.tool_calls) %}
        {{- '<|im_start|>' + turn.role + '\\n' + turn.content + '<|im_end|>' + '\\n' }}
    {%- elif turn.role == "assistant" %}
        {{- '<|im_start|>' + turn.role }}
        {%- for call in turn.tool_calls %}
            {%- if call.function is defined %}
                {%- set call = call.function %}
            {%- endif %}
            {{- '\\n<tool_call>\\n{"name": "' }}{{- call.name }}{{- '", "arguments": ' }}{{- call.arguments | tojson }}{{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif turn.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' }}
        {{- turn.content }}
        {{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

QWEN3 = """{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(searching=true, last_question=messages|length - 1) %}
{%- for turn in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.searching and turn.role == "user" and turn.content is string and not(turn.content.startswith('<tool_response>') and turn.content.endswith('</tool_response>')) %}
        {%- set ns.searching = false %}
        {%- set ns.last_question = index %}
    {%- endif %}
{%- endfor %}
{%- for turn in messages %}
    {%- if turn.content is string %}
        {%- set content = turn.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if (turn.role == "user") or (turn.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + turn.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif turn.role == "assistant" %}
        {%- set thoughts = '' %}
        {%- if turn.reasoning_content is string %}
            {%- set thoughts = turn.reasoning_content %}
        {%- else %}
            {%- if '</think>' in content %}
                {%- set thoughts = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
                {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
            {%- endif %}
        {%- endif %}
        {%- if loop.index0 > ns.last_question %}
            {%- if loop.last or (not loop.last and thoughts) %}
                {{- '<|im_start|>' + turn.role + '\\n<think>\\n' + thoughts.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
            {%- else %}
                {{- '<|im_start|>' + turn.role + '\\n' + content }}
            {%- endif %}
        {%- else %}
            {{- '<|im_start|>' + turn.role + '\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- elif turn.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' + content + '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""

MISTRAL = """{%- if messages[0]["role"] == "system" %}
    {%- set system = messages[0]["content"] %}
    {%- set turns = messages[1:] %}
{%- else %}
    {%- set turns = messages %}
{%- endif %}
{%- set questions = turns | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace(index=0) %}
{%- for turn in turns %}
    {%- if not (turn.role == "tool" or (turn.tool_calls is defined and turn.tool_calls is not none)) %}
        {%- if (turn["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("Roles have to take turns after the system prompt") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for turn in turns %}
    {%- if turn["role"] == "user" %}
        {%- if tools is not none and (turn == questions[-1]) %}
            {{- "[AVAILABLE_TOOLS] [" }}{{- tools | map(attribute="function") | list | tojson }}{{- "][/AVAILABLE_TOOLS]" }}
        {%- endif %}
        {%- if loop.last and system is defined %}
            {{- "[INST] " + system + "\\n\\n" + turn["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + turn["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif turn["role"] == "assistant" %}
        {{- " " + turn["content"]|trim + eos_token}}
    {%- elif turn["role"] == "tool" %}
        {{- '[TOOL_RESULTS] {"content": ' + turn.content|string + "}[/TOOL_RESULTS]" }}
    {%- else %}
        {{- raise_exception("Only user, assistant and tool are known, not " + turn["role"]) }}
    {%- endif %}
{%- endfor %}
"""

TINYLLAMA = """{% for turn in messages %}
{% if turn['role'] == 'user' %}
{{ '<|user|>\\n' + turn['content'] + eos_token }}
{% elif turn['role'] == 'system' %}
{{ '<|system|>\\n' + turn['content'] + eos_token }}
{% elif turn['role'] == 'assistant' %}
{{ '<|assistant|>\\n'  + turn['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}"""

SMOLVLM = """<|im_start|>{% for turn in messages %}{{turn['role'] | capitalize}}{% if turn['content'][0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}\
{% for part in turn['content'] %}{% if part['type'] == 'text' %}{{part['text']}}{% elif part['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>
{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"""

LLAVA = """{% for turn in messages %}{% if turn['role'] != 'system' %}{{ turn['role'].upper() + ': '}}{% endif %}{# pictures first #}\
{% for part in turn['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\\n' }}{% endfor %}{# then the text #}\
{% if turn['role'] != 'assistant' %}{% for part in turn['content'] | selectattr('type', 'equalto', 'text') %}{{ part['text'] + ' '}}{% endfor %}\
{% else %}{% for part in turn['content'] | selectattr('type', 'equalto', 'text') %}{% generation %}{{ part['text'] + ' '}}{% endgeneration %}{% endfor %}{% endif %}\
{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"""

DEEPSEEK = """{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{% set ns = namespace(is_first=false, is_tool=false, system='') %}\
{%- for turn in messages %}{%- if turn['role'] == 'system' %}{% set ns.system = turn['content'] %}{%- endif %}{%- endfor %}{{bos_token}}{{ns.system}}\
{%- for turn in messages %}{%- if turn['role'] == 'user' %}{%- set ns.is_tool = false -%}{{'<｜User｜>' + turn['content']}}{%- endif %}\
{%- if turn['role'] == 'assistant' and turn['content'] is not none %}{%- if ns.is_tool %}{{'<｜tool▁outputs▁end｜>' + turn['content'] + '<｜end▁of▁sentence｜>'}}{%- set ns.is_tool = false -%}\
{%- else %}{% set content = turn['content'] %}{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}\
{{'<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>'}}{%- endif %}{%- endif %}\
{%- if turn['role'] == 'tool' %}{%- set ns.is_tool = true -%}{{'\\n<｜tool▁output▁begin｜>' + turn['content'] + '<｜tool▁output▁end｜>'}}{%- endif %}{%- endfor -%}\
{% if ns.is_tool %}{{'<｜tool▁outputs▁end｜>'}}{% endif %}{% if add_generation_prompt and not ns.is_tool %}{{'<｜Assistant｜><think>\\n'}}{% endif %}"""

PHI3 = """{% for turn in messages %}{% if turn['role'] == 'system' %}{{'<|system|>\\n' + turn['content'] + '<|end|>\\n'}}{% elif turn['role'] == 'user' %}\
{{'<|user|>\\n' + turn['content'] + '<|end|>\\n'}}{% elif turn['role'] == 'assistant' %}{{'<|assistant|>\\n' + turn['content'] + '<|end|>\\n'}}{% endif %}{% endfor %}\
{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"""

PHI4 = """{% for turn in messages %}{% if turn['role'] == 'system' and 'tools' in turn and turn['tools'] is not none %}\
{{ '<|' + turn['role'] + '|>' + turn['content'] + '<|tool|>' + turn['tools'] + '<|/tool|>' + '<|end|>' }}{% else %}\
{{ '<|' + turn['role'] + '|>' + turn['content'] + '<|end|>' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}"""

MACROS = """{%- macro part(content, marks=('<image>', '')) -%}
    {%- if content is string -%}{{ content }}
    {%- else -%}{%- for one in content -%}{{ marks[0] if one.type == 'image' else one.text | default('', true) }}{%- endfor -%}{%- endif -%}
{%- endmacro -%}
{%- for turn in messages if turn.role != 'system' -%}
    {%- if turn.content == '' and not loop.last -%}{%- continue -%}{%- endif -%}
    <|{{ turn.role }}|>{{ part(turn.content, marks=('[img]', 0)) }}
    {%- if loop.nextitem is defined and loop.nextitem.role == turn.role -%}{{ raise_exception('twice the same role: ' ~ turn.role) }}{%- endif -%}
    {%- set mark %}<|end {{ loop.index }}/{{ loop.length }}|>{% endset -%}{{ mark }}
{%- else -%}nothing{%- endfor -%}"""

TEMPLATES = [
    ("smollm2", SMOLLM2, CHATML_TOKENS, False), ("llama2", LLAMA2, LLAMA_TOKENS, False), ("llama3", LLAMA3, LLAMA3_TOKENS, False), ("llama3.2", LLAMA32, LLAMA3_TOKENS, False),
    ("gemma2", GEMMA, GEMMA_TOKENS, False), ("gemma3", GEMMA3, GEMMA_TOKENS, False), ("gemma3-parts", GEMMA3, GEMMA_TOKENS, True), ("qwen2", QWEN2, CHATML_TOKENS, False),
    ("qwen2.5", QWEN25, CHATML_TOKENS, False), ("qwen3", QWEN3, CHATML_TOKENS, False), ("mistral", MISTRAL, LLAMA_TOKENS, False), ("tinyllama", TINYLLAMA, LLAMA_TOKENS, False),
    ("smolvlm", SMOLVLM, CHATML_TOKENS, True), ("llava1.5", LLAVA, LLAMA_TOKENS, True),
    ("deepseek-r1-distill", DEEPSEEK, {"bos_token": "<｜begin▁of▁sentence｜>", "eos_token": "<｜end▁of▁sentence｜>"}, False),
    ("phi3", PHI3, {"bos_token": "<s>", "eos_token": "<|endoftext|>"}, False), ("phi4-mini", PHI4, {"eos_token": "<|endoftext|>"}, False), ("macros", MACROS, {}, True),
]

"""Small Jinja programs, each about one construct, for chat_template_goldens.py. VARIABLES are what they are rendered with."""
VARIABLES = {
    "s": "Hello, Wörld", "t": "  two  words\t\n", "empty": "", "n": 7, "neg": -3, "f": 2.5, "yes": True, "no": False, "nil": None, "words": ["pear", "Apple", "fig", "apple"],
    "numbers": [3, 1, 2, 3], "d": {"b": 2, "a": 1, "C": 3, "items": "own", "nested": {"x": [1, 2, {"y": "z"}]}}, "greek": "ΣΑΣ ΟΔΟΣ ß ﬁ ǆ", "odd": "it's \"q\" \\ \n\t\x01\x7f é \u200b 😀",
    "people": [{"name": "Ann", "age": 30, "tags": ["x"]}, {"name": "bob", "age": 25}, {"name": "Cy", "age": 30, "tags": []}], "lines": "one\n\n two\r\nthree\n",
}

EXPRESSIONS = r"""
s
nil
yes
n
f
missing
missing.attribute
missing['item']
missing + 1
'a' + missing
missing ~ 'a'
1 ~ 2.0 ~ none ~ true
1 + 2 * 3 - 4
7 // 2
-7 // 2
-7 % 3
7 % -3
7 / 2
2 ** 10
2 ** -1
2 ** 3 ** 2
-2 ** 2
7.5 // 2
-7.5 % 2
1 / 0
1 // 0
1.0 % 0
1 + 1.0
true + true
1 + '1'
'ab' * 3
3 * 'ab'
[1] * 2
[1] + [2, 'x']
[1] + (2,)
(1,) + (2,)
'%s' % 3 if false else 'skipped'
- n
+ n
- s
not n
not empty
1 < 2 < 3
1 < 3 < 2
1 == 1.0
1 == true
'1' == 1
[1, 2] == [1, 2]
[1, 2] == (1, 2)
{'a': 1} == {'a': 1.0}
'a' < 'b'
'Z' < 'a'
'a' < 1
[1, 2] < [1, 3]
none < 1
missing == missing
missing == none
missing < 1
'ell' in s
'x' not in s
1 in numbers
'b' in d
2 in d
1 in 'a1'
1 in none
'a' in missing
none in [none]
n and s
empty or s
no or empty or 0
nil and x.y
missing or 'fallback'
'a' if yes else 'b'
'a' if no else 'b'
'a' if no
('a' if no) is defined
1 if yes else 2 if no else 3
s[0]
s[-1]
s[50]
s[7:9]
s[::-1]
s[1:8:2]
s[8:1:-2]
s[-3:]
s[:-3]
s[5:2]
s[::0]
numbers[1:]
numbers[::-1]
numbers[-2:]
numbers[10:]
numbers[9]
numbers[-1]
numbers['x']
numbers.0
d.a
d['a']
d.items
d['items']
d.missing
d['missing'] is defined
d.nested.x[2].y
d.nested.x[2]['y'] ~ d.nested['x'][0]
d.get('a')
d.get('zz')
d.get('zz', 'other')
d.get()
s.missing
s.missing.more
n.missing
nil.missing
nil.missing.more
d.keys() | list
d.values() | list
d.items
d.nested.items() | list
d.keys()
d.nested.values()
d.update({'z': 1})
numbers.append(4)
s.upper()
s.lower()
s.title()
s.capitalize()
greek.lower()
greek.upper()
greek.capitalize()
greek | lower
greek | upper
greek | title
"it's bob's-dog (x) [y" | title
"it's bob's-dog (x) [y".title()
t.strip()
t.lstrip()
t.rstrip()
'xxaxbxx'.strip('x')
'xyaxbyx'.lstrip('xy')
'xyaxbyx'.rstrip('yx')
'a b  c'.split()
' a b  c '.split(' ')
'a,b,c'.split(',')
'a,b,c'.split(',', 1)
'a b c'.split(none, 1)
'a,b,c'.rsplit(',', 1)
' a b c '.rsplit(none, 1)
''.split()
''.split(',')
'abc'.split('')
'a</think>b</think>c'.split('</think>')[-1]
'a</think>b'.split('</think>')[0].rstrip('\n').split('<think>')[-1]
s.startswith('Hell')
s.startswith(('x', 'H'))
s.endswith('ld')
s.endswith('ö', 0, 9)
s.startswith('ell', 1)
s.replace('l', 'L')
s.replace('l', 'L', 1)
s.replace('', '-')
'aaa'.replace('aa', 'b')
s.find('W')
s.find('zz')
s.rfind('l')
s.index('zz')
s.index('W')
s.count('l')
''.count('')
'-'.join(words)
', '.join(numbers)
'a-b-c'.partition('-')
'a-b-c'.rpartition('-')
'abc'.partition('x')
'prefix-x'.removeprefix('prefix-')
'x.txt'.removesuffix('.txt')
lines.splitlines()
lines.splitlines(true)
'12'.isdigit()
'1a'.isdigit()
'ab'.isalpha()
' \t'.isspace()
'AB'.isupper()
'Ab'.islower()
s | length
greek | length
numbers | count
d | length
nil | length
5 | length
missing | length
t | trim
'xxaxx' | trim('x')
n | trim
nil | trim
missing | trim
s | upper
n | upper
nil | lower
s | capitalize
'ABC dEF' | capitalize
s | replace('l', 'L')
s | replace('l', 'L', 1)
n | replace(7, 8)
words | join
words | join(', ')
numbers | join('+')
people | join(', ', attribute='name')
[1, none, 'x', 2.5] | join('|')
'abc' | join('.')
missing | join(',')
nil | join
words | first
words | last
[] | first
[] | last
'abc' | first
'abc' | last
d | first
d | last
'abc' | list
d | list
nil | list
missing | list
(1, 2) | list
range(5)|list
range(2, 8, 3)|list
range(5, 0, -2)|list
range(0)|list
range(3) | length
range(10)[3]
range(1000000) | length
range(1, 5, 0)
missing | default('x')
missing | d('x')
nil | default('x')
nil | default('x', true)
empty | default('x', boolean=true)
missing.deep | default('x')
d.zz | default(d.a)
missing | default
d | tojson
odd | tojson
odd | tojson(ensure_ascii=true)
numbers | tojson(indent=2)
d | tojson(indent=4)
d.nested | tojson(separators=(',', ':'))
{'b': 1, 'a': [true, none, 1.5]} | tojson(sort_keys=true)
{1: 'x', none: 2, true: 3, 2.5: 4} | tojson
[] | tojson(indent=2)
{} | tojson
(1, 'x') | tojson
missing | tojson
d.keys() | tojson
'</script>&<' | tojson
1e100 | tojson
n | string ~ 1
n | string | length
nil | string
'12' | int
' 12 ' | int
'1_000' | int
'12.7' | int
'x' | int
'x' | int(5)
'x' | int(default=-1)
12.9 | int
-12.9 | int
nil | int
yes | int
'' | int
missing | int
'1e3' | float
'x' | float
'x' | float(1.5)
3 | float
'-.5' | float
2.5 | round
3.5 | round
2.675 | round(2)
42.55 | round(1, 'floor')
42.51 | round(1, 'ceil')
7 | round
'x' | round
-5 | abs
-2.5 | abs
'x' | abs
words | map('upper') | list
words | map('upper')
words | map('length') | join(',')
people | map(attribute='name') | list
people | map(attribute='age') | sum
people | map(attribute='tags', default='none') | list
people | map(attribute='tags.0') | list
words | map('replace', 'p', 'P') | join(' ')
words | map('nosuch') | list if false else 'no'
numbers | select('odd') | list
numbers | select('gt', 1) | list
numbers | reject('equalto', 3) | list
[0, 1, '', 'x', none] | select | list
[0, 1, '', 'x', none] | reject | list
people | selectattr('age', 'equalto', 30) | map(attribute='name') | join(',')
people | selectattr('tags') | list | length
people | selectattr('tags', 'defined') | list | length
people | rejectattr('name', 'in', ['Ann', 'Cy']) | map(attribute='name') | list
people | selectattr('age', '>', 26) | list | length
numbers | select('odd') | length
numbers | select('odd') | first
numbers | select('odd') | last
(numbers | select('odd')) is iterable
(numbers | select('gt', 100)) and 'true all the same'
numbers | unique | list
words | unique | list
words | unique(true) | list
words | sort
words | sort(case_sensitive=true)
words | sort(reverse=true)
numbers | sort(true)
people | sort(attribute='age') | map(attribute='name') | list
[1, 'a'] | sort
numbers | reverse | list
'abc' | reverse
numbers | reverse
d.nested | dictsort
{'b': 1, 'A': 2, 'c': 0} | dictsort
{'b': 1, 'A': 2, 'c': 0} | dictsort(true)
{'b': 1, 'A': 2, 'c': 0} | dictsort(by='value')
{'b': 1, 'A': 2, 'c': 0} | dictsort(reverse=true)
{'b': 1} | items | list
missing | items | list
5 | items | list
numbers | min
numbers | max
words | min
words | max
[] | max
people | map(attribute='age') | max
numbers | sum
numbers | sum(start=10)
people | sum(attribute='age')
words | sum
[1, 2, 3, 4, 5] | batch(2) | list
[1, 2, 3] | batch(2, 'x') | list
lines | indent
lines | indent(2, true)
lines | indent('> ', first=true, blank=true)
n | indent
'<b>' | safe
missing is defined
s is defined
missing is undefined
nil is none
s is none
s is not none
s is string
n is string
d is mapping
numbers is mapping
numbers is sequence
s is sequence
d is sequence
n is sequence
missing is sequence
numbers is iterable
n is iterable
missing is iterable
n is number
yes is number
yes is integer
n is integer
f is float
n is float
yes is boolean
n is boolean
yes is true
n is true
no is false
nil is false
n is odd
n is even
8 is divisibleby 4
8 is divisibleby(3)
n is eq 7
n is ne 7
n is gt 3
n is lessthan(3)
n is equalto 7.0
'a' is in ['a', 'b']
'ab' is lower
'AB1' is upper
'1' is upper
range is callable
n is callable
not n is odd
n is not odd
n is odd and f is float
n is defined and n is not none and n > 3
s | length > 3
s | length + 1
-1 | abs
(-1) | abs
'a' 'b' "c"
'\x41\u00e9\n\t\'\"\\ \q'
"a\
b"
1_000
1e3
1.5e-7
1e16
123456789012345680.0
0.0001
0.00001
1e22
-0.0
3.0
[1, 'a', none, true, 2.5, [odd], (1,), (), {}, {'k': 'v'}]
[odd]
["it's", 'say "x"', 'it\'s "b"']
(1, 2)
(1,)
()
1, 2
[missing]
{'a': missing}
{'a': 1, 'a': 2}
{1: 'a', 1.0: 'b', true: 'c'}
{'a': 1}['a']
{'a': [1, 2]}.a[1]
[1, 2,]
{'a': 1,}
[[1, 2], [3]][0][1]
dict(a=1, b='x')
dict(d.nested, y=2).y
namespace(a=1).a
namespace(a=1).b is defined
range(3).stop if false else 1
s.upper
words.__class__
s['upper']()
d['get']('a')
n()
missing()
raise_exception('no: ' ~ s)
raise_exception()
strftime_now('%Y-%m-%d %H:%M:%S %a %A %b %B %j %p %y %I %%')
strftime_now('%d %b %Y')
strftime_now('')
'a' | nosuchfilter
'a' is nosuchtest
1 is 2
1 +
(1
[1, 2
{'a' 1}
'open
1 ** 
a b
x = 1
s.
s[
s[]
s | 
1 if
@
"" is string
'abc'[1:]|upper
('a' ~ 'b')|upper
'a' ~ 'b'|upper
s.split(', ')[1][0]|lower
people[0].name
people[0]['tags'][0]
people | length - 1
people[people | length - 1].name
people[-1]['name'] == 'Cy' and loop is not defined
numbers | map('string') | join
1 in numbers and 5 not in numbers
d.a + d['b'] * 2
s == 'x' or 'Hello' in s
s.split(',')|map('trim')|list
'x'.join(['a', 'b'])
'a' * 0
'a' * -1
10 is divisibleby missing
true and missing is not defined
none is none and not false
['x', 'y'] | map('upper') | list | tojson
"%d" | string
f | string
1 < 2 == true
1 != 1
not not n
""".strip("\n").split("\n")

STATEMENTS = [
    "{% for x in numbers %}{{ x }},{% endfor %}", "{% for x in numbers -%} {{ x }} {%- endfor %}", "{% for x in [] %}a{% else %}none{% endfor %}", "{% for x in missing %}a{% else %}none{% endfor %}",
    "{% for x in nil %}a{% endfor %}", "{% for x in n %}a{% endfor %}", "{% for c in 'añb' %}[{{ c }}]{% endfor %}", "{% for k in d.nested %}{{ k }}{% endfor %}",
    "{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}={{ v }};{% endfor %}", "{% for a, b in [(1, 2), [3, 4]] %}{{ a + b }} {% endfor %}", "{% for a, b in [1] %}{% endfor %}", "{% for a, b in [(1, 2, 3)] %}{% endfor %}",
    "{% for (a, b), c in [((1, 2), 3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "{% for x in numbers %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }} {% endfor %}",
    "{% for x in numbers %}{{ loop.previtem | default('-') }}{{ x }}{{ loop.nextitem | default('+') }} {% endfor %}", "{% for x in numbers %}{{ loop.cycle('a', 'b') }}{% endfor %}",
    "{% for x in [1, 1, 2] %}{{ loop.changed(x) }}{% endfor %}", "{% for x in numbers if x > 1 %}{{ loop.index }}/{{ loop.length }}:{{ x }} {% endfor %}", "{% for x in numbers if x > 5 %}a{% else %}e{% endfor %}",
    "{% for x in numbers %}{% if x == 2 %}{% break %}{% endif %}{{ x }}{% endfor %}", "{% for x in numbers %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in numbers %}{% break %}{% else %}else{% endfor %}", "{% for x in numbers %}{% continue %}{% else %}else{% endfor %}", "{% for x in [1, 2] %}{% if x == 2 %}{% break %}{% endif %}{% else %}else{% endfor %}",
    "{% break %}", "{% for x in [1,2] %}{% for y in [1,2] %}{% if y == 2 %}{% break %}{% endif %}{{ x }}{{ y }} {% endfor %}{{ loop.index }}{% endfor %}",
    "{% set ns = namespace(seen=0) %}{% for x in numbers if x > ns.seen %}{{ x }}{% set ns.seen = x %}{% endfor %}", "{% set ns = namespace(seen=0) %}{% for x in [1, 2, 2, 3] if x > ns.seen %}{{ x }}{{ loop.last }}{% set ns.seen = x %}{% endfor %}",
    "{% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = x + i %}{{ x }} {% endfor %}{{ x }}", "{% set x = 1 %}{% if yes %}{% set x = 2 %}{% endif %}{{ x }}", "{% if no %}{% set s = 2 %}{% endif %}{{ s }}", "{% if yes %}{% set zz = 2 %}{% endif %}{{ zz }}",
    "{% for x in [1] %}{% set zz = 2 %}{% endfor %}{{ zz is defined }}", "{% for x in [1] %}{% endfor %}{{ x is defined }}{{ loop is defined }}", "{% set a, b = 1, 2 %}{{ b }}{{ a }}", "{% set a = 1, 2 %}{{ a }}", "{% set a, b = [1] %}",
    "{% set ns = namespace() %}{% set ns.x = 1 %}{{ ns.x }}{{ ns['x'] }}", "{% set d.a = 1 %}", "{% set missing.a = 1 %}", "{% set ns = namespace(a=1, b=[]) %}{% for x in numbers %}{% set ns.a = ns.a + x %}{% set ns.b = ns.b + [x] %}{% endfor %}{{ ns.a }}{{ ns.b }}",
    "{% set text %}a{{ n }}b{% endset %}[{{ text }}]", "{% set text | upper | trim %} a{{ s }}b {% endset %}[{{ text }}]", "{% set x %}{% set y = 1 %}{% endset %}{{ y is defined }}", "{% filter upper %}a{{ s }}{% endfilter %}", "{% filter replace('l', 'L') | trim %} {{ s }} {% endfilter %}|",
    "{% if n > 5 %}big{% elif n > 2 %}mid{% else %}small{% endif %}", "{% if missing %}a{% else %}b{% endif %}", "{% if no %}a{% elif missing %}b{% elif s %}c{% endif %}", "{% if missing.x %}a{% endif %}", "{% if n %}{% endif %}.", "{% if n, %}a{% endif %}",
    "{% macro m(a, b=2, c=a) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }} {{ m(1, 3) }} {{ m(b=5, a=4) }} {{ m(c=1) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(b=2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}",
    "{% macro m() %}{{ x is defined }}{% endmacro %}{% set x = 1 %}{{ m() }}", "{% macro m() %}{{ s }}{% endmacro %}{% for s in [1] %}{{ m() }}{{ s }}{% endfor %}", "{% macro m(x) %}{% if x > 0 %}{{ x }}{{ m(x - 1) }}{% endif %}{% endmacro %}{{ m(3) }}", "{% macro m() %} a {% endmacro %}[{{ m() | trim | upper }}]",
    "{% macro m(a) %}{% set b = a %}{{ b }}{% endmacro %}{{ m(1) }}{{ b is defined }}", "{% macro m() %}x{% endmacro %}{{ m() is string }}{{ m() ~ 1 }}{{ m is callable }}", "{% with a = 1, b = n %}{{ a + b }}{% endwith %}{{ a is defined }}", "{% with %}{% set q = 1 %}{{ q }}{% endwith %}{{ q is defined }}",
    "{% generation %}a{{ n }}{% endgeneration %}b", "{% for x in numbers %}{% generation %}{{ loop.index }}{% set q = x %}{% endgeneration %}{{ q is defined }}{% endfor %}", "{% for x in [1] %}{% generation %}{% break %}{% endgeneration %}{% endfor %}",
    "{% raw %}{{ s }} {% if %} {# x #}{% endraw %}!", "a {%- raw %} x {% endraw -%} b", "{%- raw -%} x {%- endraw -%} y", "{% raw %}a", "a{# comment #}b", "a {#- comment -#} b", "a\n{# comment #}\nb", "a\n  {# comment #}\n  b", "{# open", "a {#+ x +#}\nb",
    "  {% if yes %}\n  a\n  {% endif %}\n  b\n", "a  {% if yes %} b {% endif %}  c", "a\n\n  {%- if yes %}\n b\n {%- endif %}\n c", "  {%+ if yes %}a{% endif +%}\nb", "  {{ n }}  \n  {{- n }}\n{{ n -}}  \n x", "\n\n{% if yes %}\n\nx\n\n{% endif %}\n\n", "x\n", "x\n\n", "\n", "",
    "a\r\nb\rc\n{% if yes %}\r\nd{% endif %}", "{{ '\r\n' | length }}", "\t{% set x = 1 %}\t{{ x }}", "{% if yes -%}\n   a\n{%- endif %}", "line\n    {%- for x in numbers %}\n    - {{ x }}\n    {%- endfor %}\nend", "{{ n }}{% if yes %}\n{% endif %}\n{{ n }}\n",
    "{{ '}}' }}{{ \"%}\" }}", "{{ {'a': {'b': 1}} }}", "{{{'a': 1}['a']}}", "{ { n } }", "{{ n }", "{% if yes %}", "{% endif %}", "{% for x in numbers %}{% endif %}", "{% nosuch %}", "{% if yes %}a{% else %}b{% else %}c{% endif %}", "{% set %}", "{% set 1 = 2 %}", "{% set true = 2 %}", "{{ }}", "{% %}", "{% for in x %}{% endfor %}",
    "{% include 'x' %}", "{% extends 'x' %}", "{% if yes %}{{ 1/0 }}{% endif %}", "{% if no %}{{ 1/0 }}{% endif %}ok", "{{ s }}{{ raise_exception('stop') }}", "{% set messages = people[1:] %}{{ messages[0].name }}", "{% for p in people[::-1] %}{{ (people|length - 1) - loop.index0 }}{{ p.name }} {% endfor %}",
    "{% set x = words | map('upper') %}{{ x | join }}{{ x | join }}", "{% set x = numbers | select('odd') %}{% for y in x %}{{ y }}{% endfor %}{% for y in x %}{{ y }}{% endfor %}", "{% for x in [1, 'a'] | map('abs') %}{{ x }}{% endfor %}", "{{ [1, 'a'] | map('abs') | first }}", "{{ {'a': numbers.append(1)} }}",
    "{% for x in range(3) %}{{ x }}{{ ',' if not loop.last }}{% endfor %}", "{% set ns = namespace(a=namespace(b=1)) %}{{ ns.a.b }}", "{%- set x = 'a' -%}  {{ x }}  {%- set y = 'b' -%}", "{% for p in people %}{% for t in p.tags %}{{ loop.index }}{{ t }}{% else %}-{% endfor %}{{ loop.index }}{% endfor %}",
    "{% for x in numbers %}{% set last = loop.last %}{{ last }}{% endfor %}", "{% set loop_count = numbers | length %}{{ loop_count }}", "{{ '{{' }}", "{{ '{%' }} {{ '#}' }}", "{{ s }}{#- a -#}{{ n }}", "{% if s is string and s|length > 3 or nosuch %}y{% endif %}", "{% if not(s is string) %}y{% else %}n{% endif %}",
]

# A name that a scope sets further down, read before that inside of loops, macros and blocks.
SCOPES = [
    "{% for x in [1, 2] %}[{{ s }}]{% endfor %}{% set s = 1 %}{{ s }}", "{{ s }}{% for x in [1] %}[{{ s }}]{% endfor %}{% set s = 1 %}{{ s }}", "{% macro m() %}[{{ s }}]{% endmacro %}{{ m() }}{% set s = 1 %}{{ m() }}",
    "{% for x in [1] %}[{{ s }}]{% endfor %}{% if yes %}{% set s = 1 %}{% endif %}{{ s }}", "{% for x in [1] %}[{{ s }}]{% endfor %}{% if yes %}{% set s = 1 %}{% else %}{% set s = 2 %}{% endif %}{{ s }}",
    "{% for x in [1] %}[{{ s }}]{% endfor %}{% if no %}{% set s = 1 %}{% elif yes %}{% set s = 2 %}{% else %}{% set s = 3 %}{% endif %}{{ s }}", "{% for x in [1] %}[{{ s }}]{% endfor %}{% if yes %}{% if no %}{% set s = 1 %}{% endif %}{% set s = 2 %}{% endif %}{{ s }}",
    "{% for x in [1] %}[{{ s }}]{% endfor %}{% if yes %}{{ s }}{% endif %}{% set s = 1 %}{{ s }}", "{% for x in [1] %}[{{ s }}]{% endfor %}{% if yes %}{% set s = 1 %}{% endif %}{% set s = 2 %}{{ s }}", "{% for x in [1] %}[{{ s }}]{% endfor %}{% set s = 2 %}{% if no %}{% set s = 1 %}{% endif %}{{ s }}",
    "{% for x in [1] %}[{{ n }}]{% endfor %}{% if no %}a{% elif n > 1 %}b{% endif %}{% set n = 2 %}{{ n }}", "{% for x in [1] %}[{{ n }}]{% endfor %}{% set n = n + 1 %}{{ n }}", "{% for x in [1] %}{% for y in [1] %}[{{ s }}]{% endfor %}{% set s = 2 %}{{ s }}{% endfor %}{{ s }}",
    "{% for x in [1] %}{% for y in [1] %}[{{ s }}]{% endfor %}{% set s = 2 %}{{ s }}{% endfor %}", "{{ s }}{% for x in [1, 2] %}{% for y in [1] %}[{{ s }}]{% endfor %}{% set s = x %}{{ s }}{% endfor %}{{ s }}", "{% for x in [1, 2] %}{% if x == 1 %}{% set s = 3 %}{% endif %}[{{ s }}]{% endfor %}",
    "{% for x in [1, 2] %}{% for y in [1] %}[{{ s }}]{% endfor %}{% set s = x %}{% endfor %}", "{% for x in words %}{{ s is defined }}{% endfor %}{% set s = s %}{{ s }}", "{% macro m(a=s) %}{% for x in [1] %}[{{ s }}]{% endfor %}{% set s = 1 %}{{ a }}{% endmacro %}{{ m() }}",
    "{% macro m() %}{% for x in [1] %}[{{ s }}]{% endfor %}{% set s = 1 %}{{ s }}{% endmacro %}{{ m() }}{{ s }}", "{% macro m() %}{% for x in [1] %}[{{ s }}]{% endfor %}{% set s = 1 %}{{ s }}{% endmacro %}{{ m() }}", "{% macro m(s) %}{% for x in [1] %}[{{ s }}]{% endfor %}{% set s = 1 %}{{ s }}{% endmacro %}{{ m(5) }}",
    "{% for x in [1] %}{{ range(2) | list }}{% endfor %}{% set range = 1 %}", "{% for x in [1] %}{{ range(2) | list }}{% endfor %}{% if no %}{% set range = 1 %}{% endif %}", "{% with a = s %}{% for x in [1] %}[{{ s }}]{% endfor %}{% set s = 1 %}{{ a }}{{ s }}{% endwith %}", "{% with a = n %}{% for x in [1] %}[{{ s }}]{% endfor %}{% set s = 1 %}{{ a }}{{ s }}{% endwith %}",
    "{% set s %}a{% for x in [1] %}[{{ s }}]{% endfor %}{% endset %}{{ s }}", "{% for x in [1] %}[{{ s }}]{% endfor %}{% set s %}a{% endset %}{{ s }}", "{% set t %}{% for x in [1] %}[{{ s }}]{% endfor %}{% set s = 1 %}{{ s }}{% endset %}{{ t }}", "{% for x in [1] %}{{ m is defined }}{% endfor %}{% macro m() %}a{% endmacro %}{{ m() }}",
    "{% for x in [1] %}[{{ n }}{{ f }}]{% endfor %}{% set n, f = 1, 2 %}{{ n }}", "{% for x in [1] %}[{{ s }}]{% endfor %}{% set ns = namespace(s=s) %}{% set s = 1 %}{{ ns.s }}", "{% for x in [1] %}{{ ns is defined }}{% endfor %}{% set ns = namespace(a=1) %}{% set ns.a = 2 %}{{ ns.a }}",
    "{% for x in [1] %}{% set q = s %}{{ q }}{% else %}{{ s }}{% set s = 1 %}{% endfor %}", "{% for x in [] %}{% else %}{% for y in [1] %}[{{ s }}]{% endfor %}{% set s = 1 %}{{ s }}{% endfor %}", "{% for x in numbers if x > n %}{{ x }}{% endfor %}{% set n = 1 %}", "{% for x in numbers %}{{ x + n }}{% endfor %}{% set n = 1 %}", "{% for n in numbers %}{{ n }}{% endfor %}{% set n = 1 %}{{ n }}",
    "{% filter upper %}{% for x in [1] %}[{{ s }}]{% endfor %}{% set s = 'b' %}{{ s }}{% endfilter %}", "{% filter replace('b', s) %}{% set s = 'c' %}b{% endfilter %}{{ s }}", "{% generation %}{% for x in [1] %}[{{ s }}]{% endfor %}{% set s = 1 %}{{ s }}{% endgeneration %}", "{% for x in s %}{{ x }}{% endfor %}{% for x in [1] %}[{{ s }}]{% endfor %}{% set s = 1 %}",
    "{% for x in [1] %}{{ 'a' ~ loop.index ~ s }}{% endfor %}{% set s = 'z' %}{{ s }}", "{% for x in [1] %}{% macro m() %}[{{ s }}]{% endmacro %}{{ m() }}{% set s = 1 %}{{ m() }}{% endfor %}", "{% set q = 1 %}{% for x in [1] %}{% for y in [1] %}{{ q }}{% endfor %}{% set q = 2 %}{{ q }}{% endfor %}{{ q }}",
]

PROGRAMS = ["{{ " + one + " }}" for one in EXPRESSIONS] + STATEMENTS + SCOPES

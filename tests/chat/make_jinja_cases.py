"""Writes jinja_cases.jsonl: what jinja2 makes of several hundred snippets of templates.

    pip install jinja2==3.1.6
    python make_jinja_cases.py > jinja_cases.jsonl

The environment is the one that Hugging Face transformers gives chat templates: the immutable sandbox, line breaks and
white space of block tags removed, `break` and `continue`, the tag `generation`, its own `tojson`, `raise_exception` and
`strftime_now`, and namespaces without names that begin with an underscore.

The first line of the output is the context that all snippets see. The others are {"template", "rendered"}, or
{"template", "error"} with the type of what jinja2 raises, or {"template", "rendered", "differs"} where this project does
something else on purpose, and why.
"""

import json
import sys
from datetime import datetime

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

JINJA2 = "3.1.6"


class Generation(Extension):
    """`{% generation %}`: its body, in a scope of its own."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


class Dict:
    """`dict`, without the attributes of a class."""

    def __call__(self, *args, **kwargs):
        return dict(*args, **kwargs)

    def fromkeys(self, *args):
        return dict.fromkeys(*args)


class Namespace(jinja2.utils.Namespace):
    def __init__(*args, **kwargs):
        self, args = args[0], args[1:]
        attributes = dict(*args, **kwargs)
        for name in attributes:
            check_name(name)
        jinja2.utils.Namespace.__init__(self, attributes)

    def __setitem__(self, name, value):
        check_name(name)
        jinja2.utils.Namespace.__setitem__(self, name, value)


def check_name(name):
    if str(name).startswith("_"):
        raise jinja2.exceptions.SecurityError(f"{name!r} cannot be set")


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def environment():
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    env.globals["dict"] = Dict()
    env.globals["namespace"] = Namespace
    return env


CONTEXT = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi <b>there</b>, \"you\"\n"},
        {"role": "assistant", "content": "", "tool_calls": [
            {"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": 2.5, "c": None, "d": True}}}]},
        {"role": "tool", "content": [{"type": "text", "text": "3.5"}, {"type": "image"}]},
    ],
    "tools": [{"type": "function", "function": {
        "name": "add", "description": "Adds \u00e9\u4e16\U0001f600 & 'more'", "parameters": {
            "type": "object", "properties": {"a": {"type": "number"}, "b": {"type": ["number", "null"]}}, "required": ["a"]}}}],
    "documents": None,
    "add_generation_prompt": True,
    "none": None,
    "big": 123456789012345678901234567890,
    "negative": -9223372036854775809,
    "floats": [1.0, 0.1, 1e16, 1e15, 1e-5, 0.0001, 123456789.125, 1e22, 1e23, -0.0, 5e-324, 1.7976931348623157e308, 3.0e10],
    "words": ["banana", "Apple", "cherry", "apple", "Banana"],
    "people": [
        {"name": "Ann", "age": 30, "tags": ["x", "y"], "home": {"city": "Oslo"}},
        {"name": "bob", "age": 25, "tags": [], "home": {"city": "Bergen"}},
        {"name": "Cy", "age": 30, "tags": ["z"]},
    ],
    "text": "The quick  brown\tfox\njumps over\r\nthe lazy dog",
    "unicode": "\u00c9t\u00e9 \u00df \u4e16\u754c \U0001f600 \u0130\u01c6",
    "tree": [{"v": 1, "kids": [{"v": 2, "kids": [{"v": 3, "kids": []}]}, {"v": 4, "kids": []}]}],
    "empty": [],
    "nested": {"a": {"b": [1, [2, {"c": "d"}]], "z": []}, "items": 5, "k": "it's", "1": "one"},
}

# Each of these gives the same here.
SAME = r'''
# Values as text
{{ none }} {{ None }} {{ true }} {{ True }} {{ false }} {{ missing }}|
{{ floats }}
{{ floats|join(' ') }}
{{ 1e16 }} {{ 1.0 }} {{ 1e100 }} {{ 1.5e-7 }} {{ 0.1 + 0.2 }} {{ 1e308 * 10 }} {{ 100.0 }} {{ 2.0 ** 70 }}
{{ big }} {{ big + 1 }} {{ big * big }} {{ -big }} {{ negative }} {{ negative + 1 }} {{ big // 7 }} {{ big % 7 }} {{ big / 3 }}
{{ 2 ** 64 }} {{ 2 ** 200 }} {{ 7 ** 77 % 1000007 }} {{ 9223372036854775807 + 1 }} {{ -9223372036854775808 - 1 }} {{ 3037000500 * 3037000500 }}
{{ 10 ** 20 == 1e20 }} {{ 2 ** 53 + 1 == 2.0 ** 53 }} {{ 2 ** 53 + 1 > 2.0 ** 53 }} {{ big > 1e29 }} {{ big < 1e30 }}
{{ [1, 1.0, true, none, 'a', "it's", 'q"', 'both\'"', missing] }}
{{ (1,) }} {{ (1, 2) }} {{ () }} {{ {} }} {{ [] }} {{ {'a': 1, 2: [3], none: true, 1.5: (1, 2)} }}
{{ 'a\tb\nc\\d\x00\x7f\u00e9\u200b\U0001f600' }}|{{ ['a\tb\nc\\d\x00\x7f\u00e9\u200b\u00ad\u2028\ue000\U0001f600'] }}
{{ nested }}
{{ messages }}
{{ tools }}
{{ unicode }} {{ [unicode] }}
{{ range(3) }} {{ range(1, 10, 3) }} {{ range(3)|list }} {{ range(5, 0, -2)|list }} {{ range(10)[2:5] }} {{ range(0, 10, 3)[1:] }}
{{ nested.keys() }} {{ nested.a.items() }} {{ {'a': 1}.values() }}
{{ namespace(a=1, b='x') }} {{ dict(a=1, b=2) }} {{ dict([('a', 1)]) }} {{ dict({'a': 1}, b=2) }}
{{ 1_000 }} {{ 0x_ff }} {{ 0b101 }} {{ 0o17 }} {{ 1_0.5_0 }} {{ 1e2 }} {{ 00 }}
{{ 'a' 'b' "c" }} {{ 'it''s' }}
{{ "\101\x41\u0041" }} {{ '\q\é' }} {{ 'a\
b' }}
{{ x.y is defined }}
# Whether it is
{{ none is iterable }} {{ none is sequence }} {{ none is mapping }} {{ none is none }} {{ none is defined }} {{ documents is defined }} {{ documents is none }}
{{ [] is iterable }} {{ '' is iterable }} {{ {} is iterable }} {{ 1 is iterable }} {{ missing is iterable }} {{ range(2) is iterable }} {{ true is iterable }}
{{ [] is sequence }} {{ '' is sequence }} {{ {} is sequence }} {{ () is sequence }} {{ range(2) is sequence }} {{ {}.keys() is sequence }} {{ ([]|map('int')) is sequence }} {{ missing is sequence }}
{{ {} is mapping }} {{ [] is mapping }} {{ namespace() is mapping }} {{ missing is mapping }}
{{ 1 is number }} {{ 1.0 is number }} {{ true is number }} {{ '1' is number }} {{ big is number }} {{ 1 is integer }} {{ true is integer }} {{ big is integer }} {{ 1.0 is float }} {{ 1 is float }}
{{ true is boolean }} {{ 1 is boolean }} {{ true is true }} {{ 1 is true }} {{ false is false }} {{ 0 is false }} {{ true is sameas true }} {{ 1 is sameas 1 }} {{ none is sameas none }}
{{ 'a' is string }} {{ 1 is string }} {{ missing is string }} {{ missing is undefined }} {{ missing is defined }} {{ none is undefined }}
{{ 3 is odd }} {{ 4 is even }} {{ 9 is divisibleby 3 }} {{ 10 is divisibleby(3) }} {{ 3.0 is odd }} {{ big is even }}
{{ 'abc' is lower }} {{ 'ABC' is upper }} {{ 'aBc' is lower }} {{ '1' is lower }} {{ 5 is upper }} {{ none is upper }}
{{ 1 is in [1, 2] }} {{ 'a' is in 'abc' }} {{ 3 is not in [1, 2] }} {{ 1 is eq 1.0 }} {{ 1 is ne 2 }} {{ 1 is lt 2 }} {{ 2 is ge 2 }} {{ 'a' is equalto 'a' }} {{ 1 is greaterthan 0 }}
{{ raise_exception is callable }} {{ 'a'.upper is callable }} {{ 'a' is callable }} {{ none is callable }} {{ missing is callable }} {{ range is callable }} {{ joiner() is callable }} {{ cycler(1) is callable }}
{{ 'upper' is filter }} {{ 'nothing' is filter }} {{ 'odd' is test }} {{ 'nothing' is test }} {{ 1 is not none }} {{ not 1 is none }}
{{ 'a' is escaped }} {{ 'a'|safe is escaped }} {{ 'a'|e is escaped }}
{{ 'yes' if tools is iterable and tools|length > 0 else 'no' }}{{ 'yes' if none is iterable and none|length > 0 else 'no' }}
# Operators
{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % -3 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 6 / 2 }} {{ 7.5 // 2 }} {{ -7.5 % 2 }} {{ 2 ** 3 ** 2 }} {{ 2 ** -1 }} {{ -2 ** 2 }} {{ 4 ** 0.5 }}
{{ +1 }} {{ + 'x'|length }} {{ - 5|abs }} {{ -5|abs }} {{ +true }} {{ -true }} {{ - -3 }} {{ 1 - -1 }} {{ 1+-1 }} {{ +1.5 }}
{{ 1 + true }} {{ true + true }} {{ 1.5 + 1 }} {{ 'a' + 'b' }} {{ [1] + [2] }} {{ (1,) + (2,) }} {{ 'ab' * 3 }} {{ 3 * 'ab' }} {{ [1] * 3 }} {{ 'a' * -1 }}| {{ 'a' * true }} {{ (1, 2) * 2 }}
{{ 'a' ~ 1 ~ none ~ true ~ 1.0 ~ missing ~ [1] ~ big }}
{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 1 == 1.0 == true }} {{ 'a' < 'b' }} {{ [1, 2] < [1, 3] }} {{ (1,) < (1, 0) }} {{ 'a' in ['a'] }} {{ 'b' not in 'abc' }} {{ 1 in {1: 2} }} {{ 1.0 in [1] }}
{{ 1 == '1' }} {{ none == false }} {{ [] == () }} {{ {'a': 1, 'b': 2} == {'b': 2, 'a': 1} }} {{ missing == none }} {{ missing == missing2 }} {{ [missing] == [missing2] }} {{ range(3) == range(3) }} {{ {}.keys() == {}.keys() }}
{{ 1 and 2 }} {{ 0 and 2 }} {{ 0 or 'x' }} {{ '' or none }} {{ not 1 }} {{ not '' }} {{ not [] or 1 }} {{ 1 if [] else 2 }} {{ 1 if {} }}| {{ not not 5 }}
{{ 'a' if true else 'b' if true else 'c' }} {{ (1 if false else 2) + 3 }} {{ 1 if false }}| {{ 'x' if 1 if 0 else 2 }}
{{ 1 + 2 ~ 3 + 4 }} {{ 2 * 3 ~ 1 }} {{ 1 ~ 2 * 3 }} {{ 10 - 2 - 3 }} {{ 100 / 10 / 2 }} {{ 2 + 3 * 4 % 5 }} {{ not 1 == 2 }}
{{ 'x' in missing }} {{ missing|length }} {{ missing|list }} {{ missing|join }}| {{ 5 in range(10) }} {{ 10 in range(10) }} {{ 5 in range(0, 10, 2) }} {{ 4.0 in range(10) }} {{ 'a' in nested }} {{ 'a' in nested.keys() }} {{ 5 in nested.values() }}
{{ 3 in [[3], 3] }} {{ [3] in [[3]] }} {{ none in [none] }} {{ true in [1] }}
{{ 'abcdef'[1:3] }} {{ 'abcdef'[::-1] }} {{ 'abcdef'[-2:] }} {{ 'abcdef'[:-4] }} {{ 'abcdef'[::2] }} {{ 'abcdef'[4:1:-1] }} {{ 'abcdef'[10:] }}| {{ 'abc'[-100:100] }}
{{ [1, 2, 3][::-1] }} {{ [1, 2, 3][1:] }} {{ (1, 2, 3)[:2] }} {{ [1, 2, 3][-1] }} {{ [1, 2, 3][5] }}| {{ 'abc'[1] }} {{ 'abc'[-1] }} {{ 'abc'[9] }}| {{ unicode[-2:] }} {{ unicode[6] }} {{ unicode[::-1] }}
{{ messages[0].role }} {{ messages[0]['role'] }} {{ messages.0.role }} {{ messages[-1]['content'][0].text }} {{ messages[0].nothing }}| {{ messages[1:]|length }} {{ messages[true].role }}
{{ nested.items is callable }} {{ nested['items'] }} {{ nested.get('items') }} {{ nested['k'] }} {{ nested['get']('k') }} {{ nested.get('x', 7) }} {{ nested.get('x') }} {{ nested['1'] }} {{ nested[1] }}|
{{ {1: 'a', true: 'b'} }} {{ {1: 'a'}[1.0] }} {{ {(1, 2): 'x'}[1, 2] }} {{ {'a': 1}[['b']] }}|
# Formatting
{{ '%s|%5s|%-5s|%.2s|%r|%c|%%' % ('ab', 'ab', 'ab', 'abc', 'it', 'x') }}
{{ '%d %5d %-5d| %05d %+d % d %i %x %X %o %#x %#o' % (1, 2, 3, 4, 5, 6, 7.9, 255, 255, 8, 255, 8) }}
{{ '%f %.2f %10.3f %-10.1f| %e %.3E %g %G %g %g %.3g %#g' % (1.5, 2.675, 3.14159, 2, 12345.678, 0.00012, 1000000, 1e-10, 100000, 1234567, 1234.5, 1) }}
{{ '%s' % 5 }} {{ '%s' % none }} {{ '%s' % [1, 2] }} {{ '%s %s' % (1, 2) }} {{ '%(a)s %(b)05.1f' % {'a': 1, 'b': 2} }} {{ '%s' % missing }}| {{ '%*d' % (5, 42) }} {{ '%.*f' % (2, 3.14159) }} {{ '%-*d|' % (5, 42) }}
{{ '%d' % big }} {{ '%x' % big }} {{ '%d' % true }} {{ '%s' % (('a',),) }} {{ 'abc' % {'a': 1} }} {{ 'abc' % [1] }} {{ '%5.1f%%' % 99.55 }} {{ '%a' % 'é' }} {{ '%r' % 'é' }}
{{ '%s-%d'|format('a', 3) }} {{ '%(x)s'|format(x=1) }} {{ '%.3f'|format(1) }} {{ '%+05d'|format(-3) }} {{ '%05.1f' % -2.5 }} {{ '%e' % 0 }} {{ '%f' % 1e20 }} {{ '%5s|%-6d|' % (true, 5) }}
{{ '{} {}'.format(1, 2) }} {{ '{1} {0}'.format(1, 2) }} {{ '{a} {b}'.format(a=1, b='x') }} {{ '{{}}'.format() }} {{ '{0.role} {0[content]}'.format(messages[0]) }} {{ '{!r:>6}'.format('a') }} {{ '{!s}'.format(none) }}
{{ '{:5}|{:<5}|{:>5}|{:^5}|{:*^7}|{:05}|{:+}|{: }|{:,}|{:_}'.format('a', 'b', 'c', 'd', 'e', 42, 5, 6, 1234567, 1234567) }}
{{ '{:d} {:x} {:#x} {:b} {:#b} {:o} {:c} {:e} {:.2f} {:.1%} {:g} {:n} {:X} {:010.3f} {:=+8d} {:,.2f}'.format(5, 255, 255, 5, 5, 8, 65, 12345.678, 2.5, 0.256, 1e10, 5, 255, 3.14159, 42, 1234567.891) }}
{{ '{}|{:.3}|{:.3}|{:10}|{:<10}|{:.0f}|{:5}|{}|{:.1f}|{:.4}|{:.3}'.format(1.0, 'abcdef', 3.14159, 1.5, 2.5, 2.5, true, true, 1e3, 100.0, 100.0) }}
{{ '{:{}}|{:{w}.{p}f}'.format('a', 4, 3.14159, w=8, p=2) }} {{ '{:010,}'.format(1234) }} {{ '{:_x}'.format(1048576) }} {{ '{:>+8.2e}'.format(1234.5) }} {{ '{:05}'.format('a') }}|
{{ '{a}'.format_map({'a': 1}) }} {{ '{}'.format([1, 'a']) }} {{ '{}'.format(missing) }}| {{ '{0}{0}'.format('x') }} {{ '{:s}'.format('x') }} {{ '{:}'.format(none) }} {{ '{0[a][b]}'.format(nested)[:8] }}
# Methods of strings
{{ 'abc'.zfill(5) }} {{ '-42'.zfill(6) }} {{ '+1'.zfill(4) }} {{ 'abc'.zfill(2) }} {{ 'abc'.index('c') }} {{ 'abcabc'.rindex('b') }} {{ 'aBc'.swapcase() }} {{ 'ß'.swapcase() }}
{{ 'they\'re bill\'s'.title() }} {{ 'hello world-foo'.title() }} {{ 'éa ÀB'.title() }} {{ 'hELLO wORLD'.capitalize() }} {{ ''.capitalize() }}| {{ 'ß'.capitalize() }} {{ 'ǆa'.title() }}
{{ unicode.upper() }} {{ unicode.lower() }} {{ unicode.casefold() }} {{ 'ΑΣ'.lower() }} {{ 'ΑΣ ΑΣΑ'.lower() }}
{{ ' \x1c a \t'.strip() }}| {{ 'xxaxx'.strip('x') }} {{ 'abcba'.strip('ab') }} {{ ' a '.lstrip() }}| {{ ' a '.rstrip() }}| {{ 'a\n\n'.rstrip('\n') }}| {{ 'abc'.strip('') }} {{ ' a '.strip(none) }}|
{{ 'a,b,,c'.split(',') }} {{ ' a  b '.split() }} {{ 'a b c'.split(none, 1) }} {{ 'a,b,c'.split(',', 1) }} {{ 'a,b,c'.split(',', maxsplit=1) }} {{ 'a,b,c'.rsplit(',', 1) }} {{ ' a b c '.rsplit(none, 1) }} {{ ''.split() }} {{ ''.split(',') }} {{ 'abc'.split('abc') }} {{ 'a b c '.split(none, 1) }} {{ 'a.b'.split(sep='.') }}
{{ text.split() }} {{ text.splitlines() }} {{ text.splitlines(true) }} {{ 'a\n'.splitlines() }} {{ ''.splitlines() }} {{ '\n'.splitlines() }} {{ 'a\x0bb\x0cc\x1cd\u2028e'.splitlines() }}
{{ 'a.b.c'.partition('.') }} {{ 'a.b.c'.rpartition('.') }} {{ 'abc'.partition('.') }} {{ 'abc'.rpartition('.') }}
{{ 'abc'.startswith('a') }} {{ 'abc'.startswith(('x', 'a')) }} {{ 'abc'.endswith('bc') }} {{ 'abc'.startswith('b', 1) }} {{ 'abc'.endswith('b', 0, 2) }} {{ 'abc'.startswith('') }} {{ 'abc'.startswith(()) }}
{{ 'abcabc'.find('c') }} {{ 'abc'.find('x') }} {{ 'abcabc'.rfind('b') }} {{ 'abcabc'.find('b', 2) }} {{ unicode.find('世') }} {{ 'abcabc'.count('b') }} {{ 'aaa'.count('aa') }} {{ 'abc'.count('') }} {{ 'abcabc'.count('a', 1) }} {{ 'abc'.find('', 9) }}
{{ 'a-b-c'.replace('-', '+') }} {{ 'a-b-c'.replace('-', '+', 1) }} {{ 'abc'.replace('', '.') }} {{ 'abc'.replace('b', '') }} {{ 'aaa'.replace('a', 'b', -1) }}
{{ 'abc'.removeprefix('ab') }} {{ 'abc'.removesuffix('bc') }} {{ 'abc'.removeprefix('x') }} {{ 'ab'.center(5) }}| {{ 'abc'.center(8, '*') }} {{ 'ab'.ljust(4) }}| {{ 'ab'.rjust(4, '.') }} {{ 'a'.center(4) }}| {{ 'abc'.center(2) }}
{{ 'a\tb'.expandtabs() }} {{ 'a\tbc\td'.expandtabs(4) }} {{ '01\t012'.expandtabs(tabsize=3) }} {{ ','.join(['a', 'b']) }} {{ ''.join([]) }}| {{ '-'.join('abc') }} {{ ', '.join(nested) }} {{ '/'.join(words|map('upper')) }}
{{ 'abc'.isalpha() }} {{ 'ab1'.isalnum() }} {{ '12'.isdigit() }} {{ '²'.isdigit() }} {{ '²'.isdecimal() }} {{ '½'.isnumeric() }} {{ '½'.isdigit() }} {{ ''.isalpha() }} {{ ' \t'.isspace() }} {{ 'Ab Cd'.istitle() }} {{ 'a1'.isidentifier() }} {{ '1a'.isidentifier() }} {{ 'é'.isascii() }} {{ 'a\n'.isprintable() }} {{ '世'.isalpha() }} {{ 'a1'.islower() }} {{ 'A1'.isupper() }} {{ '一'.isnumeric() }}
{{ 'abc'.translate({97: 'x', 98: none, 99: 100}) }} {{ ''.upper is defined }} {{ 'a'['upper']() }} {{ 'abc'.nothing is defined }} {{ 'abc'.append is defined }} {{ 'x'.__class__ is defined }}
{% set up = 'abc'.upper %}{{ up() }} {{ ('a' ~ 'b').upper() }} {{ 'a b'.split()[1].upper() }}
# Methods of others
{{ [1, 2, 1].count(1) }} {{ [1, 2, 1].index(2) }} {{ (1, 2).index(2) }} {{ [1, 2].copy() }} {{ [3, 4, 3].index(3, 1) }} {{ range(5).index(3) }} {{ range(5).count(9) }}
{{ [].append is defined }} {{ {}.update is defined }} {{ {}.pop is defined }} {{ [].sort is defined }} {{ {}.copy() }} {{ {'a': 1}.items()|list }} {{ dict.fromkeys(['a', 'b'], 0) }} {{ {}.fromkeys('ab') }}
{% for k, v in nested.items() %}{{ k }}={{ v }};{% endfor %} {% for k in nested %}{{ k }}{% endfor %} {% for v in nested.values() %}{{ v }},{% endfor %}
{{ (5).bit_length() }} {{ big.bit_length() }} {{ (2.0).is_integer() }} {{ (5).real }} {{ (5).imag }} {{ (1.5).real }} {{ true.numerator }}
# Filters
{{ '42'|int }} {{ 'x'|int }} {{ 'x'|int(7) }} {{ 'x'|int(default=-1) }} {{ '42.7'|int }} {{ '0x1A'|int(0, 16) }} {{ '1A'|int(base=16) }} {{ '0b11'|int(0, 2) }} {{ '101'|int(base=2) }} {{ '0x1A'|int(0, 0) }} {{ none|int(3) }} {{ [1]|int(4) }} {{ true|int }} {{ 3.99|int }} {{ -3.99|int }} {{ '  5 '|int }} {{ '1_000'|int }} {{ '1e5'|int }} {{ 1e20|int }} {{ '123456789012345678901234567890'|int }} {{ '-5'|int }} {{ 'inf'|int(9) }} {{ '5'|int(0, 99) }}
{{ '1.5'|float }} {{ 'x'|float }} {{ 'x'|float(2.5) }} {{ 'x'|float(default=none) }} {{ 3|float }} {{ none|float(1.0) }} {{ '1e400'|float }} {{ 'nan'|float }} {{ ' 2 '|float }} {{ '-inf'|float }} {{ true|float }} {{ '1_0'|float }} {{ [1]|float(0) }}
{{ 'one two  three'|wordcount }} {{ ''|wordcount }} {{ "it's a-b c_d"|wordcount }} {{ 5|wordcount }} {{ unicode|wordcount }}
{{ 'hello world'|title }} {{ "they're (foo) [bar] foo-bar"|title }} {{ 'hELLO'|capitalize }} {{ 'ab'|upper }} {{ 'AB'|lower }} {{ 5|upper }} {{ none|lower }} {{ missing|upper }}|
{{ ' a '|trim }}| {{ 'xax'|trim('x') }} {{ 5|trim }} {{ '\n a\n'|trim('\n') }}| {{ 'ab'|center(6) }}| {{ 5|center(3) }}|
{{ 'a b'|replace(' ', '_') }} {{ 'aaa'|replace('a', 'b', 2) }} {{ 12321|replace(2, 'x') }} {{ none|replace('o', '0') }} {{ 'a'|replace(old='a', new='b') }}
{{ [3, 1, 2]|sort }} {{ words|sort }} {{ words|sort(case_sensitive=true) }} {{ words|sort(true) }} {{ people|sort(attribute='age')|map(attribute='name')|join(',') }} {{ people|sort(attribute='age,name')|map(attribute='name')|list }} {{ people|sort(attribute='age', reverse=true)|map(attribute='name')|list }} {{ 'bca'|sort }} {{ {'b': 1, 'a': 2}|sort }} {{ [true, 0, 2.5]|sort }} {{ [[2, 1], [1, 2]]|sort }}
{{ {'b': 1, 'A': 2, 'c': 0}|dictsort }} {{ {'b': 1, 'A': 2}|dictsort(true) }} {{ {'b': 1, 'a': 2}|dictsort(false, 'value') }} {{ {'b': 1, 'a': 2}|dictsort(reverse=true) }} {{ {'b': 'X', 'a': 'y'}|dictsort(by='value') }}
{{ words|unique|list }} {{ words|unique(true)|list }} {{ [1, 1.0, true, '1']|unique|list }} {{ people|unique(attribute='age')|map(attribute='name')|list }} {{ 'abca'|unique|join }}
{{ [1, 3, 2]|max }} {{ [1, 3, 2]|min }} {{ words|max }} {{ words|min }} {{ people|max(attribute='age') == people[0] }} {{ people|min(attribute='age')|attr('name') }}| {{ []|max }}| {{ words|min(case_sensitive=true) }} {{ 'bca'|max }}
{{ [1, 2, 3]|sum }} {{ [1.5, 2]|sum }} {{ people|sum(attribute='age') }} {{ []|sum }} {{ [[1], [2]]|sum(start=[]) }} {{ [1, 2]|sum(start=10) }} {{ [true, 2]|sum }}
{{ people|groupby('age')|length }} {% for g in people|groupby('age') %}{{ g.grouper }}:{{ g.list|map(attribute='name')|join('+') }} {{ g[0] }} {% endfor %} {% for age, list in people|groupby('age') %}{{ age }}{{ list|length }}{% endfor %} {% for g in people|groupby('home.city', default='none') %}{{ g.grouper }}{% endfor %}
{% for g in [{'n': 'b'}, {'n': 'A'}, {'n': 'B'}]|groupby('n') %}{{ g.grouper }}={{ g.list|length }} {% endfor %}{% for g in [{'n': 'b'}, {'n': 'A'}, {'n': 'B'}]|groupby('n', case_sensitive=true) %}{{ g.grouper }} {% endfor %}
{{ people|map(attribute='name')|list }} {{ people|map(attribute='home.city', default='?')|list }} {{ people|map(attribute='tags.0')|list }} {{ people|map(attribute='home')|map(attribute='city')|first }} {{ ['1', '2']|map('int')|sum }} {{ ['a', 'b']|map('upper')|join }} {{ [1, 2]|map('string')|list }} {{ ['a,b', 'c']|map('replace', ',', ';')|list }} {{ [[1, 2], [3]]|map('length')|list }} {{ [1.25, 2.35]|map('round', 1)|list }} {{ missing|map('upper')|list }} {{ [{'a': none}]|map(attribute='a', default=5)|list }}
{{ [1, 2, 3, 4]|select('odd')|list }} {{ [1, 2, 3, 4]|reject('odd')|list }} {{ [0, 1, '', 'a', none]|select|list }} {{ [0, 1]|reject|list }} {{ [1, 5, 9]|select('>', 3)|list }} {{ [1, 5, 9]|select('in', [1, 9])|list }} {{ ['a', 1]|select('string')|list }} {{ [1, 2, 3]|select('divisibleby', 3)|list }} {{ [none, 1]|reject('none')|list }}
{{ people|selectattr('tags')|map(attribute='name')|list }} {{ people|selectattr('age', 'equalto', 30)|map(attribute='name')|list }} {{ people|rejectattr('age', 'lt', 30)|map(attribute='name')|list }} {{ people|selectattr('home', 'defined')|list|length }} {{ people|selectattr('home.city', 'eq', 'Oslo')|list|length }} {{ messages|selectattr('role', 'equalto', 'user')|list|length }} {{ messages|rejectattr('role', 'in', ['user', 'tool'])|map(attribute='role')|list }}
{{ [1, 2, 3, 4, 5]|batch(2)|list }} {{ [1, 2, 3]|batch(2, 'x')|list }} {{ [1, 2, 3, 4, 5]|slice(2)|list }} {{ [1, 2, 3, 4, 5]|slice(3, 'x')|list }} {{ []|batch(3)|list }} {{ [1]|slice(3)|list }} {{ 'abcde'|batch(2)|map('join')|list }}
{{ [1, 2]|first }} {{ [1, 2]|last }} {{ 'abc'|first }} {{ 'abc'|last }} {{ {'a': 1, 'b': 2}|first }} {{ {'a': 1, 'b': 2}|last }} {{ []|first }}| {{ []|last }}| {{ range(5)|last }} {{ missing|first }}| {{ missing|last }}| {{ nested.items()|first }} {{ (words|map('upper'))|first }}
{{ 'abc'|reverse }} {{ [1, 2]|reverse|list }} {{ (1, 2)|reverse|list }} {{ {'a': 1, 'b': 2}|reverse|list }} {{ range(3)|reverse|list }} {{ (words|map('upper'))|reverse|first }} {% for x in [1, 2, 3]|reverse %}{{ x }}{{ loop.length }}{% endfor %}
{{ 'abc'|list }} {{ {'a': 1}|list }} {{ (1, 2)|list }} {{ 'abc'|length }} {{ unicode|length }} {{ {'a': 1}|count }} {{ range(7)|length }} {{ nested.keys()|length }} {{ ''|length }} {{ {}.items()|list }}
{{ [1, 2]|join }} {{ [1, none, true, 1.0]|join(', ') }} {{ 'abc'|join('-') }} {{ people|join(', ', attribute='name') }} {{ [1, 2]|join(0) }} {{ {'a': 1, 'b': 2}|join }} {{ people|map(attribute='name')|join(d=' & ') }} {{ [[1], 'x', missing]|join('|') }}
{{ missing|default('x') }} {{ none|default('x') }} {{ ''|default('x') }}| {{ ''|default('x', true) }} {{ ''|d('x', boolean=true) }} {{ missing|d }}| {{ 0|default(5, true) }} {{ messages[0].nothing|default('y') }} {{ missing|default(default_value=1) }} {{ false|default(none, true) }}
{{ 2.5|round }} {{ 3.5|round }} {{ 2.675|round(2) }} {{ 42|round }} {{ 1234.5|round(-2) }} {{ 2.1|round(method='ceil') }} {{ 2.9|round(method='floor') }} {{ 2.123|round(2, 'ceil') }} {{ 42|round(1, 'floor') }} {{ -2.5|round }} {{ 0.5|round }} {{ 1e20|round }} {{ 1250|round(-2) }} {{ 1350|round(-2) }} {{ -1250|round(-2) }} {{ 15|round(-5) }} {{ true|round }} {{ 1.005|round(2) }}
{{ -5|abs }} {{ -5.5|abs }} {{ true|abs }} {{ (-big)|abs }} {{ 5|string + 'x' }} {{ none|string }} {{ [1, 'a']|string }} {{ 1.0|string|length }}
{{ 'a\nb\n\nc'|indent }}|{{ 'a\nb'|indent(2) }}|{{ 'a\nb'|indent(2, true) }}|{{ 'a\n\nb'|indent(2, blank=true) }}|{{ 'a\nb'|indent('> ') }}|{{ 'a\n'|indent(2) }}|{{ ''|indent }}|{{ 'a\nb'|indent(first=true, width=1) }}|{{ 'a\r\nb\r'|indent(1) }}|{{ '\n'|indent(1, blank=true) }}|
{{ 'foo bar baz qux'|truncate(9) }} {{ 'foo bar baz qux'|truncate(9, true) }} {{ 'foo bar baz qux'|truncate(11) }} {{ 'foo bar baz qux'|truncate(9, false, '!', 0) }} {{ 'short'|truncate }} {{ 'foo bar baz qux'|truncate(length=9, leeway=0, end='') }}
{{ 'a b&c=d/é?'|urlencode }} {{ {'a': 1, 'b c': 'x/y z'}|urlencode }} {{ [('a', 1), ('b', 2)]|urlencode }} {{ 5|urlencode }}
{{ 1|filesizeformat }} {{ 999|filesizeformat }} {{ 1000|filesizeformat }} {{ 1234567|filesizeformat }} {{ 1024|filesizeformat(true) }} {{ '2048'|filesizeformat(binary=true) }} {{ 1e30|filesizeformat }} {{ 0|filesizeformat }} {{ 500.7|filesizeformat }}
{{ nested|items|list }} {{ missing|items|list }} {{ [('a', 1)]|attr('x') is defined }} {{ namespace(a=5)|attr('a') }} {{ {'a': 1}|attr('a') is defined }} {{ 'x'|attr('upper')() }}
{{ {'class': 'a', 'id': none, 'x': '<"'}|xmlattr }} {{ {'a': 1}|xmlattr(false) }} {{ '<a & "b">'|e }} {{ '<'|escape|escape }} {{ '<'|e|forceescape }} {{ "'"|e }}
{{ ('<b>'|safe) + '<i>' }} {{ '<i>' + ('<b>'|safe) }} {{ ('<b>'|safe) ~ '<i>' }} {{ ('%s'|safe) % '<' }} {{ ('<'|e) + '<' }} {{ ('{}'|safe).format('<') }} {{ (', '|safe).join(['<', 'a']) }} {{ ('<b>'|safe).upper() + '&' }} {{ ['<'|safe] }} {{ ('<'|safe)|string + '<' }} {{ ('a<b'|safe).split('<')[0] + '<' }} {{ ('x'|safe * 2) + '<' }} {{ ('<'|safe)|replace('<', '&') + '<' }} {{ ('ab'|safe)[0] }}
{% filter upper %}a{{ 'b' }}{% endfilter %} {% filter replace('a', 'b')|upper %}abc{% endfilter %} {% filter trim %}  x  {% endfilter %}|
# JSON
{{ nested|tojson }} {{ tools|tojson }} {{ floats|tojson }} {{ [none, true, false, big, 1.0]|tojson }} {{ 'a"b\\c\n\t\r\x08\x0c\x00\x1f\x7f/<>&\u2028é😀'|tojson }}
{{ tools|tojson(ensure_ascii=true) }} {{ '😀é'|tojson(true) }} {{ {'b': 1, 'a': [1, {}], 'c': {}}|tojson(indent=2) }} {{ [1, {'a': 2}]|tojson(separators=(',', ':')) }} {{ {'b': 1, 'a': 2}|tojson(sort_keys=true) }} {{ [[], {}, [1]]|tojson(indent=1) }} {{ [1]|tojson(indent=0) }} {{ [1]|tojson(indent='--') }} {{ [1, 2]|tojson(none, 4) }} {{ {'a': 1}|tojson(indent=2, separators=(', ', '=')) }}
{{ {1: 2, 1.5: 3, true: 4, none: 5, 'a': 6, big: 7}|tojson }} {{ (1, 2)|tojson }} {{ 'nan'|float|tojson }} {{ ['inf'|float, '-inf'|float]|tojson }} {{ messages|tojson }} {{ ''|tojson }} {{ {}|tojson(indent=4) }}
{{ messages[2].tool_calls[0].function.arguments|tojson }} {% for k, v in messages[2].tool_calls[0].function.arguments.items() %}<{{ k }}>{{ v if v is string else v|tojson }}</{{ k }}>{% endfor %}
# Statements
{% for x in [1, 2, 3] %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.depth0 }} {% endfor %}
{% for x in [1, 2, 3] %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }} {{ loop.previtem is defined }}{{ loop.nextitem is defined }};{% endfor %}
{% for x in [1, 1, 2, 2] %}{{ loop.cycle('a', 'b', 'c') }}{{ loop.changed(x) }} {% endfor %} {% for x in 'ab' %}{{ loop }}{% endfor %}
{% for x in [] %}a{% else %}none{% endfor %} {% for x in [1] %}{% break %}{% else %}broken{% endfor %} {% for x in [1, 2] %}{% continue %}{% else %}skipped{% endfor %} {% for x in [1] %}{{ x }}{% else %}no{% endfor %} {% for x in missing %}a{% else %}undefined{% endfor %}
{% for x in [1, 2, 3, 4] if x is even %}{{ x }}{{ loop.index }}{{ loop.last }}{{ loop.length }} {% endfor %} {% for x in [1, 3] if x is even %}a{% else %}none{% endfor %}
{% for i in range(10) %}{% if i == 2 %}{% continue %}{% elif i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %} {% for i in [1, 2] %}{% for j in [1, 2, 3] %}{% if j == 2 %}{% break %}{% endif %}{{ i }}{{ j }}{% endfor %}{% endfor %}
{% for n in tree recursive %}{{ n.v }}({{ loop.depth }}){% if n.kids %}[{{ loop(n.kids) }}]{% endif %}{% endfor %} {% for n in tree recursive %}{{ loop.depth0 }}{{ loop(n.kids)|upper }}{% else %}-{% endfor %}
{% for a, b in [(1, 2), (3, 4)] %}{{ a }}{{ b }} {% endfor %} {% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %} {% for c in 'héy' %}{{ c }}-{% endfor %} {% for k, v in {'ab': 1}.items() %}{{ k }}{% endfor %} {% for a, b in ['xy'] %}{{ b }}{{ a }}{% endfor %}
{% for x in 1, 2 %}{{ x }}{% endfor %} {% for x in [1, 2] + [3] %}{{ x }}{% endfor %} {% for x in (1, 2)|map('string') %}{{ x }}{{ loop.last }}{% endfor %} {% for x in range(3) %}{{ x }}{{ ',' if not loop.last }}{% endfor %}
{% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = x + 1 %}{{ x }}{% endfor %}{{ x }} {% set ns = namespace(x=1) %}{% for i in [1, 2] %}{% set ns.x = ns.x + 1 %}{% endfor %}{{ ns.x }} {% if true %}{% set y = 5 %}{% endif %}{{ y }} {% for i in [1] %}{% set z = 1 %}{% endfor %}{{ z is defined }}
{% set a, b = 1, 2 %}{{ a }}{{ b }} {% set c = 1, 2 %}{{ c }} {% set d %}x{{ a }}y{% endset %}{{ d }} {% set e | upper | trim %} ab {% endset %}{{ e }} {% set (f, g) = [1, 2] %}{{ f }} {% set ns = namespace() %}{% set ns.v, h = 3, 4 %}{{ ns.v }}{{ h }} {% set i = x = 1 if false else 2 %}
{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}{{ a is defined }} {% set v = 1 %}{% with v = 2, w = v %}{{ v }}{{ w }}{% set v = 3 %}{{ v }}{% endwith %}{{ v }} {% with %}{% set q = 1 %}{% endwith %}{{ q is defined }} {% with (x, y) = (1, 2) %}{{ y }}{% endwith %}
{% set ns = namespace(found=false, l=[]) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.found = true %}{% set ns.l = ns.l + [m.role] %}{% endif %}{% endfor %}{{ ns.found }}{{ ns.l }}{{ ns.none is defined }} {{ namespace({'a': 1}).a }} {{ namespace([('a', 1)], b=2).b }}
{% for x in [1, 2, 3, 4] if x > ns_min|default(2) %}{{ x }}{% endfor %} {% set ns = namespace(min=0) %}{% for x in [1, 2, 3, 4] if x > ns.min %}{% set ns.min = x + 1 %}{{ x }}{% endfor %}
{% if 0 %}a{% elif '' %}b{% elif none %}c{% elif [0] %}d{% else %}e{% endif %} {% if missing %}a{% else %}b{% endif %} {% if not missing and 1 %}c{% endif %} {% if 1: %}x{% endif %} {% if (1, 0) %}t{% endif %}
{% block title %}T{{ add_generation_prompt }}{% endblock %} {{ self.title() }} {% block b2 %}{% set x = 1 %}{{ x }}{% endblock b2 %}{{ x is defined }} {% set y = 2 %}{% block b3 %}{{ y }}{% endblock %} {% for i in [1, 2] %}{% block b4 scoped %}{{ i }}{% endblock %}{% block b5 %}{{ i is defined }}{% endblock %}{% endfor %}
{% print 1, 'a' %} {% print [1] %} {% raw %}{{ x }} {% if %}{% endraw %} {# {{ comment }} #}{% autoescape false %}<{% endautoescape %} {% for x in [1] -%} a {%- endfor %} {% generation %}g{{ 1 }}{% set gg = 1 %}{% endgeneration %}{{ gg is defined }}
{% for m in messages %}{% generation %}{{ loop.index }}{{ m.role }}{% endgeneration %}{% endfor %}
# Macros
{% macro m(a, b=2, c='x') %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }} {{ m(1, 3) }} {{ m(1, c=4) }} {{ m(b=5, a=6) }} {{ m() }}| {{ m(*[7, 8]) }} {{ m(**{'a': 9, 'c': 0}) }} {{ m(1, *[2], **{'c': 3}) }}
{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, x=4) }} {{ m(1) }} {{ m(a=1, b=2) }} {% macro v() %}{{ varargs|length }}{% for x in varargs %}{{ x }}{% endfor %}{% endmacro %}{{ v(1, 2) }} {% macro k() %}{{ kwargs.items()|list }}{% endmacro %}{{ k(a=1) }}
{% macro box(title) %}[{{ title }}:{{ caller() }}]{% endmacro %}{% call box('t') %}body{{ 1 }}{% endcall %} {% macro each(items) %}{% for i in items %}{{ caller(i, loop.index) }}{% endfor %}{% endmacro %}{% call(x, n=0) each([5, 6]) %}<{{ x }}{{ n }}>{% endcall %} {% macro may() %}{{ caller() if caller else 'none' }}{% endmacro %}{{ may() }}{% call may() %}c{% endcall %}
{% macro outer() %}{% macro inner() %}i{{ x }}{% endmacro %}{% set x = 1 %}{{ inner() }}{% endmacro %}{{ outer() }} {% set g = 1 %}{% macro seen() %}{{ g }}{{ h }}{% endmacro %}{% set h = 2 %}{{ seen() }} {% for i in [1, 2] %}{% macro inloop() %}{{ i }}{{ loop.index }}{% endmacro %}{{ inloop() }}{% endfor %}
{% macro fact(n) %}{{ 1 if n <= 1 else n * (fact(n - 1)|int) }}{% endmacro %}{{ fact(20) }} {{ fact(30) }} {% macro local(a) %}{% set b = a %}{{ b }}{% endmacro %}{{ local(1) }}{{ b is defined }} {% macro d(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ d(1) }} {% macro dd(a=b, b=1) %}{{ a }}|{{ b }}{% endmacro %}{{ dd() }}
{% macro m(a, b=1) %}{{ varargs }}{% endmacro %}{{ m.name }} {{ m.arguments }} {{ m.catch_varargs }} {{ m.catch_kwargs }} {{ m.caller }} {{ m }} {{ m is callable }} {{ m is string }} {{ m(1)|upper }} {{ m('x') is string }}
{% macro sp() %}  {{ 1 }}  {% endmacro %}[{{ sp() }}][{{ sp()|trim }}] {% set s = sp() %}{{ s|length }} {% macro n() %}{% endmacro %}{{ n() }}| {{ n() == '' }} {% macro nn() -%} x {%- endmacro %}{{ nn() }}
{% macro a() %}{{ caller is defined }}{% endmacro %}{{ a() }} {% macro p(x, caller=none) %}{{ caller() if caller else 'nc' }}{% endmacro %}{{ p(1) }}{% call p(1) %}yes{% endcall %} {% for i in [1, 2] %}{% call box2(i) %}{{ i }}{% endcall %}{% else %}{% endfor %}{% macro box2(x) %}{% endmacro %}
# Functions
{% set j = joiner() %}{% for x in [1, 2, 3] %}{{ j() }}{{ x }}{% endfor %} {% set j = joiner('|') %}{{ j() }}a{{ j() }}b{{ j() }} {% set c = cycler('odd', 'even') %}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.next() }}{{ c.reset() }}{{ c.current }}
{{ range(0) |list }} {{ range(2, 2)|list }} {{ range(-3)|list }} {{ range(10, 0, -3)|list }} {{ range(3).start }}{{ range(3).stop }} {{ range(true)|list }} {% for i in range(3) %}{{ i }}{% endfor %} {{ range(100000)|length }}
{{ strftime_now('%Y')|int > 2020 }} {{ strftime_now('%%') }} {{ strftime_now('')|length }} {{ strftime_now('%d %b %Y')|length }} {{ strftime_now('%H:%M')|length }} {{ strftime_now('%j')|length }} {{ strftime_now('x') }}
{{ dict(a=1).a }} {{ dict(**{'x': 2}) }} {{ dict([['a', 1], ('b', 2)]) }} {{ dict({'a': 1}.items()) }} {{ dict() }} {{ dict(dict(a=1)) }}
# White space and line ends
a{% if true %}
b
{% endif %}
c
  {% if true %}
  x
  {%- endif %}  
y {{- ' z ' -}} 
w
{%+ if true %} a {% endif +%}
b
  {# c #}
d
a {{ 1 -}}   b{{- 2 }}  c {%- if 1 -%}  d  {%- endif -%}  e
  {%+ set x = 1 %}
a{%- set y = 2 +%}
b
{% for i in [1, 2] %}
  {{ i }}
{% endfor %}
end
{% raw %}
 {{ a }}
{%- endraw %}
 b {%- raw -%}  x  {%- endraw -%}  c
{% for a, in [(1,)] %}{{ a }}{% endfor %}
{% for x in [1], recursive %}{% endfor %}
{% set x = [1]|map('upper', 1, 2, 3) %}unused {{ ([1, 2]|map(attribute='x.y')) is iterable }} {{ (people|map(attribute='home')|map(attribute='city'))|first }} {{ ([5]|items) is iterable }}
# Errors
{{ missing.attribute }}
{{ missing + 1 }}
{{ 'a' + missing }}
{{ missing() }}
{{ missing['x'] }}
{{ missing < 1 }}
{{ -missing }}
{{ messages[0].nothing.more }}
{{ none.x.y }}
{{ none|length }}
{{ 5|length }}
{{ 5|list }}
{% for x in none %}{% endfor %}
{% for x in 5 %}{% endfor %}
{{ 'a' + 1 }}
{{ 1 + 'a' }}
{{ [1] + (2,) }}
{{ none + 1 }}
{{ 1 < 'a' }}
{{ none < 1 }}
{{ {} < {} }}
{{ 1 / 0 }}
{{ 1 // 0 }}
{{ 1 % 0 }}
{{ 1.0 / 0 }}
{{ 0 ** -1 }}
{{ 'a' * 'b' }}
{{ 'a' - 'b' }}
{{ 1 in 5 }}
{{ 1 in 'abc' }}
{{ 'abc'.index('x') }}
{{ 'abc'.nothing() }}
{{ [1].append(2) }}
{{ {}.update({'a': 1}) }}
{{ {'a': 1}.pop('a') }}
{{ 'a'.join([1]) }}
{{ ''.split('') }}
{{ 'a'.upper(1) }}
{{ 'a'.center('x') }}
{{ {[1]: 2} }}
{{ {{}: 2} }}
{{ [1, 2][::0] }}
{{ nested[1:2] }}
{{ words['a':] }}
{{ 5() }}
{{ 'a'() }}
{{ raise_exception('no ' ~ 'way') }}
{{ raise_exception() }}
{{ '%d' % 'a' }}
{{ '%s %s' % (1,) }}
{{ '%s' % (1, 2) }}
{{ '%q' % 1 }}
{{ '%(a)s' % 1 }}
{{ '%x' % 1.5 }}
{{ '{} {}'.format(1) }}
{{ '{0} {}'.format(1, 2) }}
{{ '{'.format() }}
{{ '{:d}'.format('a') }}
{{ '{:.2}'.format(5) }}
{{ '{:5}'.format([1]) }}
{{ '{a}'.format(b=1) }}
{{ [1, 'a']|sort }}
{{ [1, none]|max }}
{{ ['a']|sum }}
{{ 5|join }}
{{ [1]|first(2) }}
{{ 'a'|indent(x=1) }}
{{ 5|indent }}
{{ 'a'|round }}
{{ 'a'|abs }}
{{ missing|int }}
{{ missing|tojson }}
{{ range(2)|tojson }}
{{ [missing]|tojson }}
{{ 'a'|tojson(bad=1) }}
{{ ([1]|map('upper'))|length }}
{{ ([1]|map('upper'))|last }}
{{ [1]|map('nothing')|list }}
{{ [1]|select('nothing')|list }}
{{ [1]|map|list }}
{{ 5|map('int')|list }}
{{ 5|items|list }}
{{ range(100001) }}
{{ range() }}
{{ range(1, 2, 0) }}
{{ range(1.5) }}
{{ cycler() }}
{{ dict(1) }}
{{ dict(a=1).nothing.x }}
{{ namespace(_a=1) }}
{% set ns = namespace() %}{% set ns._a = 1 %}
{% set x = {} %}{% set x.a = 1 %}
{% set missing.a = 1 %}
{% set a, b = 1 %}
{% set a, b = [1, 2, 3] %}
{% for a, b in [1] %}{% endfor %}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(x=1) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}
{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}
{% macro m() %}x{% endmacro %}{% call m() %}{% endcall %}
{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}
{% for x in [1] %}{{ loop(x) }}{% endfor %}
{% include 'x' %}
{% import 'x' as y %}
{% from 'x' import y %}
{% extends 'x' %}
{% block a required %}{% endblock %}
{{ self.nothing() }}
{% block a %}{{ super() }}{% endblock %}
{{ 1|nothing }}
{{ 1 is nothing }}
{% if false %}{{ 1|nothing }}{% endif %}ok {{ 1 if true else 1|nothing }} {{ 1|nothing if false else 2 }}
{% if true %}{{ 1|nothing }}{% endif %}
{% for x in [] %}{{ 1|nothing }}{% endfor %}
{% if false %}{% for x in [] %}{{ 1|nothing }}{% endfor %}{% endif %}
{% macro m() %}{{ 1|nothing }}{% endmacro %}
{{ 'x' is 'y' }}
{{ x is defined is true }}
{{ 1 is defined if x }}
{% nothing %}
{% if %}{% endif %}
{% if true %}
{% for x in [1] %}
{% endif %}
{% else %}
{% break %}
{% macro m() %}{% break %}{% endmacro %}
{% for x in [1] %}{% macro m() %}{% continue %}{% endmacro %}{% endfor %}
{% for loop in [1] %}{% endfor %}
{% set none = 1 %}
{% set 1 = 2 %}
{% set a.b.c = 2 %}
{% set a = %}
{% macro m(a=1, b) %}{% endmacro %}
{% macro 5() %}{% endmacro %}
{% call m %}{% endcall %}
{% block a %}{% endblock %}{% block a %}{% endblock %}
{% raw %}
{# open
{{ 'open }}
{{ open
{{ }}
{{ 1 + }}
{{ (1 }}
{{ 1) }}
{{ [1 }}
{{ {1} }}
{{ {'a' 1} }}
{{ a.[1] }}
{{ a. }}
{{ a b }}
{{ 1 2 }}
{{ 1a }}
{{ 007 }}
{{ a ! b }}
{{ a ? b }}
{{ f(a=1, 2) }}
{{ f(*a, 1) }}
{{ f(**a, b=1) }}
{{ f(a=1, a=2) }}
{{ '\xg' }}
{{ '\u12' }}
{{ not }}
{{ a|  }}
{{ a | 5 }}
{{ a is }}
{{ {% if %} }}
'''

# Snippets with line breaks in them, which the list above cannot hold.
SAME_LINES = [
    "{% for m in messages %}\r\n<|im_start|>{{ m.role }}\r\n{% endfor %}\r\n",
    "a\r\nb\rc\n\r\n{{ 'x\r\ny\rz' }}\r\n{% if true %}\r\nq\r{% endif %}\rend\r\n\r\n",
    "{{ \"a\\r\\nb\" }}{{ 'a\r\nb'|length }}\r",
    "{#- c\r\n#}\r\n  {%- if true %}\r\n  x\r\n  {%- endif %}\r\n{% raw %}\r\n{{\r{% endraw %}\r\n",
    "\n\n{{ 1 }}\n\n",
    "{{ 1 }}\n",
    "",
    "\n",
    "{{ [1,\n  2,\n  3] }}\n{% set x = {\n 'a': 1,\n} %}\n{{ x.a }}",
    "{%- for m in messages -%}\n    {%- if loop.first %}\n        {{- 'first ' }}\n    {%- endif %}\n    {{- m.role + '\\n' }}\n{%- endfor %}\n",
    "  {%- set a = 1 %}\n\n  {% set b = 2 -%}\n\n x{% set c %}\n\n y {% endset %}\n{{ c }}|",
    "{% macro m(x) %}\n  [{{ x }}]\n{% endmacro %}\n{{ m(1) }}\n{{ m(2) -}}\n\nend",
    "x\n\t {# a #}\t\ny{# b #}\nz {# c #}\n",
    "{% if true %}\n\n\na\n{% endif %}\n\n\nb\x0b{%- if true %}\x1cc{% endif %}",
    "<{%- if true -%}\u00a0\u3000 x \u2003{%- endif -%}>",
    "{%if true%}a{%endif%}{{1}}{%-if true-%} b {%-endif-%}{#c#}",
    "{{ '{{' }}{{ '%}' }}{{ \"#}\" }}{% set x = '{% if %}' %}{{ x }}",
    "{{ {'a': {'b': 1}}['a']['b'] }}{{ {'x': '}}'} }}{{'a'if 1else'b'}}",
    "a {{+1}} {{-1}} {{ -1 }} {{- 5 -}} b",
    "{%- raw %} {{ x }} {% endraw -%} \n z {%+ raw %}\n{% endraw +%}\ny",
    "  {% for x in [1, 2] %}\n  {% if x == 1 %}\n one\n  {% else %}\n two\n  {% endif %}\n  {% endfor %}\n",
    "{% set system = messages[0].content if messages[0].role == 'system' else '' %}{% set rest = messages[1:] %}{{ system }}{% for m in rest %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}!{% endif %}[{{ m.role }}]{% endfor %}",
    "{%- macro render(c) -%}{%- if c is string -%}{{ c }}{%- elif c is iterable and c is not mapping -%}{%- for i in c -%}{%- if 'image' in i or i.type == 'image' -%}<img>{%- elif 'text' in i -%}{{ i.text }}{%- endif -%}{%- endfor -%}{%- endif -%}{%- endmacro -%}{%- for m in messages %}{{ m.role }}: {{ render(m.content)|trim }}\n{% endfor -%}",
    "{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}{%- for message in messages[::-1] %}{%- set index = (messages|length - 1) - loop.index0 %}{%- if ns.multi_step_tool and message.role == 'user' and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}{%- set ns.multi_step_tool = false %}{%- set ns.last_query_index = index %}{%- endif %}{%- endfor %}{{ ns.last_query_index }}",
    "{% for tool in tools %}{% set f = tool.function %}{{ f.name }}({% for p, s in f.parameters.properties.items() %}{{ p }}: {{ s.type if s.type is string else s.type|join(' | ') }}{{ '' if p in f.parameters.required else '?' }}{{ ', ' if not loop.last }}{% endfor %}) {{ f.description|tojson }}{% endfor %}",
    "{{ 'a' ~\n 'b' }}{# multi\nline #}{{ 1\n}}",
    "{% set x = 'a' %}{% set x = x ~ 'b' %}{% if x == 'ab' %}{% set x = 'c' %}{% endif %}{{ x }}{% set y = [x] * 2 + ['d'] %}{{ y }}",
    "{{ messages|map(attribute='role')|unique|sort|join(',') }} {{ (messages|selectattr('role', 'eq', 'user')|first).content|trim|replace('\"', '\\'') }}",
]

# What jinja2 does and this project does not, and why. The test checks that each still differs.
DIFFERENT = [
    ("{% autoescape true %}{{ '<' }}{% endautoescape %}", "autoescape is refused: prompts are no HTML"),
    ("{{ [1, 2]|pprint }}", "pprint"),
    ("{{ 'see http://a.b'|urlize }}", "urlize"),
    ("{{ '<b>x</b>'|striptags }}", "striptags"),
    ("{{ 'a b c'|wordwrap(3) }}", "wordwrap"),
    ("{{ [7]|random }}", "random: a prompt does not depend on chance"),
    ("{{ lipsum()|length > 0 }}", "lipsum"),
    (r"{{ '\ud800'|length }}", "surrogates, which are no characters"),
    ("{{ {}[1:2] }}", "errors in constant expressions are errors, where jinja2 makes some of them undefined"),
    (r"{{ '\N{BULLET}' }}", "names of characters"),
    ("{{ 'abc'.encode() }}", "bytes"),
    ("{{ (-8) ** 0.5 }}", "complex numbers"),
    ("{{ 2 ** 100000 % 7 }}", "integers of more than 16384 bits"),
    ("{{ {'a': 1}.keys().isdisjoint({'b': 1}) }}", "methods of views"),
    ("{{ {'a': 1}.keys() - ['a'] }}", "sets"),
    ("{{ 'abc'.translate(['x'] * 99) }}", "translate with what is no dict"),
    ("{{ (1.5).as_integer_ratio() }}", "rare methods of numbers"),
    ("{{ '\uff15'|int }}", "int and float read ASCII digits alone"),
    ("{% set ns = namespace() %}{% for i in [1, 2] %}{% macro f() %}{{ i }}{% endmacro %}{% set ns.f = f %}{% endfor %}{{ ns.f() }}",
     "a macro that is called outside of the loop that defines it does not see the loop's variables"),
    ("{% for x in [1, 2] %}{% for y in loop %}{{ y[0] }}{% endfor %}{% endfor %}", "loops over `loop`"),
]


def main():
    if jinja2.__version__ != JINJA2:
        sys.exit(f"jinja2 {JINJA2} is needed, this is {jinja2.__version__}")
    env = environment()
    print(json.dumps({"context": CONTEXT}, ensure_ascii=False))
    lines = [line for line in SAME.split("\n") if line and not line.startswith("# ")]
    for template in [*lines, *SAME_LINES]:
        print(json.dumps({"template": template, **outcome(env, template)}, ensure_ascii=False))
    for template, why in DIFFERENT:
        print(json.dumps({"template": template, **outcome(env, template), "differs": why}, ensure_ascii=False))


def outcome(env, template):
    try:
        return {"rendered": env.from_string(template).render(**CONTEXT)}
    except Exception as error:
        return {"error": type(error).__name__}


if __name__ == "__main__":
    main()

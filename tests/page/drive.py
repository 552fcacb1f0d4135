"""A browser uses the page of `qwen-edge serve`: drive.py PROGRAM MODEL MMPROJ [--pictures DIR] [--only NAME].

Headless Chromium finds everything by its role and its name, as assistive technology does. The page is opened under the address of
this machine, not under that of the loopback, so that it is no secure context: as on a phone at home. Every check is an assertion;
the last line says how many passed. With --pictures, pictures of the page are written.
"""

import argparse
import base64
import json
import os
import pathlib
import re
import shutil
import socket
import struct
import sys
import time
import zlib

from playwright.sync_api import expect, sync_playwright

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "clients"))
import axe
from served import KEY, QUESTION, WEATHER, WEATHER_QUESTION, WEATHER_SCHEMA, Server

HERE = pathlib.Path(__file__).resolve().parent
TOOLS = HERE.parents[1] / "target" / "page"
BROWSERS = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]
# Longer than anything takes here on a busy machine.
PATIENCE_MS = 30_000

HOSTILE = """# <img src=x onerror="window.hacked = 1">

<script>window.hacked = 2</script> <svg onload="window.hacked = 3"> &lt;b&gt; [one](javascript:window.hacked=4)
[two](JaVaScRiPt:window.hacked=5) [three](data:text/html,<script>window.hacked=6</script>) <javascript:window.hacked=7>
![four](https://elsewhere.example/pixel.png) [five]( java
script:window.hacked=8) [six](vbscript:x) [good](https://example.org/a_b_(c)) mailto:me@example.org

| a | <iframe src="javascript:window.hacked=9"></iframe> |
|---|---|
| <style>*{display:none}</style> | [x](file:///etc/passwd) |

```html" onclick="window.hacked = 10
<img src=x onerror="window.hacked = 11">
```
"""

MARKDOWN = """## A heading

Some *slanted*, **bold**, ~~gone~~ and `code *as is*`, with snake_case_words, 2 * 3 * 4 and $x_1 + x_2$.

1. first
   - nested
2. second

- [x] done
- [ ] open

> quoted
> text

| name | age |
|:-----|----:|
| Mia  | 31  |

```python
print("hello")
```

Costs $5 and $6, see https://example.org/path_(a), or <https://example.org/b>.
"""


def chunk(**delta):
    return {"model": "demo", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}


def end(reason="stop"):
    return {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}


def flat_png(width, height):
    """A picture of one colour."""
    def part(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = b"\0" + b"\x20\x80\x60" * width
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = part(b"IHDR", header) + part(b"IDAT", zlib.compress(row * height, 1)) + part(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


class User:
    """Somebody with a browser of their own, at the page."""

    def __init__(self, browser, server, has_key=True, **options):
        self.server = server
        self.context = browser.new_context(accept_downloads=True, **options)
        self.context.set_default_timeout(PATIENCE_MS)
        self.context.on("request", self.sees_request)
        self.requests, self.problems = [], []
        self.page = self.context.new_page()
        self.page.add_init_script(path=HERE / "stubs.js")
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", self.hears)
        self.page.goto(server.page)
        if has_key:
            self.gives_key(KEY)
            expect(self.page.get_by_text("demo-q8_0")).to_be_visible()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            foreign = [url for url in self.requests if not url.startswith((self.server.page, "data:", "blob:"))]
            assert not foreign, foreign
            assert not self.problems, self.problems
        self.context.close()

    def sees_request(self, request):
        self.requests.append(request.url)

    def hears(self, message):
        # What fails is said by the page itself; what its policy forbids must not be tried.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.problems.append(message.text)

    def button(self, name, within=None, exact=True):
        return (within or self.page).get_by_role("button", name=name, exact=exact)

    @property
    def field(self):
        return self.page.get_by_role("textbox", name="Message", exact=True)

    @property
    def answers(self):
        return self.page.get_by_role("article", name="Model")

    @property
    def questions(self):
        return self.page.get_by_role("article", name="You")

    def gives_key(self, key):
        dialog = self.page.get_by_role("dialog", name="This server asks for a key")
        dialog.get_by_label("Key", exact=True).fill(key)
        self.button("Use key", dialog).click()

    def sets(self, **fields):
        """Fills in settings by their labels."""
        self.button("Settings").click()
        dialog = self.page.get_by_role("dialog", name="Settings")
        for label, value in fields.items():
            dialog.get_by_label(label, exact=True).fill(str(value))
        self.button("Save", dialog).click()
        expect(dialog).to_have_count(0)

    def sends(self, text):
        self.field.fill(text)
        self.button("Send").click()

    def is_done(self):
        expect(self.button("Send")).to_be_visible()

    def asks(self, text):
        """Sends a text and waits for the whole answer."""
        self.sends(text)
        self.is_done()

    def will_hear(self, pieces, **more):
        """The next answer is made of these chunks."""
        self.page.evaluate("next => { window.stubs.next = next; }", {"pieces": pieces, **more})

    def hears_text(self, text):
        self.will_hear([chunk(role="assistant", content=""), chunk(content=text), end()])
        self.asks("Say it.")

    def asked(self):
        """The bodies of all requests for answers."""
        return self.page.evaluate("window.stubs.asked")

    def chooses(self, name):
        """Takes one of the actions for the chat."""
        self.button("Actions for this chat").click()
        self.button(name).click()

    def downloads(self, act):
        with self.page.expect_download() as download:
            act()
        return download.value.suggested_filename, pathlib.Path(download.value.path()).read_text()

    def imports(self, name, text):
        with self.page.expect_file_chooser() as chooser:
            self.button("Import").click()
        chooser.value.set_files({"name": name, "mimeType": "application/octet-stream", "buffer": text.encode()})


ENDLESS = {"Temperature": 0, "Frequency penalty": -2}


def the_key_is_asked_for(browser, server):
    with User(browser, server, has_key=False) as user:
        user.gives_key("wrong")
        expect(user.page.get_by_text("That was not the key.")).to_be_visible()
        user.gives_key(KEY)
        expect(user.page.get_by_text("demo-q8_0")).to_be_visible()
        # The tab keeps it.
        user.page.reload()
        expect(user.page.get_by_text("demo-q8_0")).to_be_visible()
        expect(user.page.get_by_role("dialog")).to_have_count(0)


def it_is_no_secure_context(browser, server):
    with User(browser, server) as user:
        is_local = server.page.startswith("http://127.")
        assert user.page.evaluate("isSecureContext") == is_local, "this machine has no address but the loopback's"
        user.sets(Temperature=0)
        user.asks(QUESTION)
        user.button("Copy", user.answers).click()
        expect(user.page.get_by_role("log").get_by_text("Copied.")).to_be_attached()
        user.field.press("ControlOrMeta+V")
        expect(user.field).to_have_value("2+3=5")


def an_answer_is_streamed_and_kept(browser, server):
    with User(browser, server) as user:
        user.sets(Temperature=0)
        user.asks(QUESTION)
        expect(user.answers).to_contain_text("2+3=5")
        expect(user.answers).to_contain_text(re.compile(r"6 tokens, [\d.,]+ tokens/s"))
        expect(user.page.get_by_role("meter", name="Context used")).to_have_attribute("aria-valuemax", "8192")
        expect(user.field).to_be_focused()
        expect(user.page.get_by_role("log")).to_contain_text("2+3=5")
        body = user.asked()[0]
        assert body["stream"] and body["temperature"] == 0 and "top_p" not in body, body
        user.page.reload()
        expect(user.questions).to_contain_text(QUESTION)
        expect(user.answers).to_contain_text("2+3=5")
        expect(user.page.get_by_role("heading", name=QUESTION)).to_be_visible()


def an_answer_is_stopped(browser, server):
    with User(browser, server) as user:
        user.sets(**ENDLESS)
        for stop in [lambda: user.button("Stop").click(), lambda: user.page.keyboard.press("Escape")]:
            user.sends("Count from 1 to 9.")
            expect(user.answers.last).to_contain_text("1, 2, 3, 4, 5, 6")
            expect(user.answers.last).to_contain_text(re.compile(r"Writing, about [\d.,]+ tokens/s"))
            stop()
            user.is_done()
            expect(user.answers.last).to_contain_text("Stopped.")
            expect(user.field).to_be_focused()
            assert server.becomes_idle(5)
        # What was written is the beginning of the next attempt.
        user.will_hear([chunk(content=" and so on."), end()])
        user.button("Continue").click()
        expect(user.answers.last).to_contain_text(re.compile(r"1, 2, 3, 4, 5, 6.* and so on\."))
        begun = user.asked()[-1]["messages"][-1]
        assert begun["role"] == "assistant" and begun["content"].startswith("1, 2, 3"), begun


def versions_are_kept(browser, server):
    with User(browser, server) as user:
        user.sets(Temperature=0)
        user.asks(QUESTION)
        user.button("Regenerate").click()
        user.is_done()
        expect(user.page.get_by_label("Version 2 of 2")).to_be_visible()
        user.button("Edit").click()
        expect(user.field).to_have_value(QUESTION)
        user.field.fill("What is 4 + 3?")
        user.button("Send edited message").click()
        user.is_done()
        expect(user.answers).to_contain_text("4+3=7")
        user.button("Previous version", user.questions).click()
        expect(user.answers).to_contain_text("2+3=5")
        expect(user.answers.get_by_label("Version 2 of 2")).to_be_visible()
        user.button("Next version", user.questions).click()
        expect(user.answers).to_contain_text("4+3=7")
        # One that is begun and left brings back what was being written.
        user.field.fill("a draft")
        user.button("Edit").click()
        user.page.keyboard.press("Escape")
        expect(user.field).to_have_value("a draft")
        user.page.reload()
        expect(user.answers).to_contain_text("4+3=7")


def pictures_are_shown(browser, server):
    images = pathlib.Path(server.model).resolve().parent / "demo" / "images"
    with User(browser, server) as user:
        user.sets(Temperature=0)
        with user.page.expect_file_chooser() as chooser:
            user.button("Add pictures").click()
        chooser.value.set_files(images / "04.png")
        expect(user.page.get_by_text(re.compile(r"\d+ × \d+, about \d+ tokens"))).to_be_visible()
        user.asks("Describe the image.")
        expect(user.answers).to_contain_text("a red triangle, a red triangle, a yellow circle")
        user.page.reload()
        expect(user.questions.get_by_role("img", name="Picture 1")).to_be_visible()
        # Pasted and dropped ones, and one that is too large.
        give = """([kind, name, data]) => {
            const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], name, { type: 'image/png' }));
            const field = document.querySelector('#message');
            const event = kind === 'paste'
                ? new ClipboardEvent('paste', { clipboardData: transfer, bubbles: true, cancelable: true })
                : new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true });
            field.dispatchEvent(event);
        }"""
        large = base64.b64encode(flat_png(3000, 2000)).decode()
        user.page.evaluate(give, ["paste", "a.png", base64.b64encode((images / "05.png").read_bytes()).decode()])
        expect(user.button("Remove picture 1")).to_be_visible()
        user.page.evaluate(give, ["drop", "b.png", large])
        expect(user.page.get_by_text("1774 × 1182, about 2,035 tokens")).to_be_visible()
        user.button("Remove picture 1").click()
        expect(user.button("Remove picture 2")).to_have_count(0)
        user.will_hear([chunk(content="Seen."), end()])
        user.asks("And this?")
        parts = user.asked()[-1]["messages"][-1]["content"]
        assert parts[0]["image_url"]["url"].startswith("data:image/jpeg;base64,"), parts[0]["image_url"]["url"][:40]
        # An edited message has its pictures still.
        user.button("Edit", user.questions.last).click()
        expect(user.button("Remove picture 1")).to_be_visible()
        user.page.keyboard.press("Escape")
        expect(user.button("Remove picture 1")).to_have_count(0)
        user.page.evaluate(give, ["drop", "c.png", base64.b64encode(b"no picture").decode()])
        expect(user.page.get_by_text("c.png is no picture that this browser can read.").first).to_be_attached()


def thoughts_are_folded(browser, server):
    with User(browser, server) as user:
        user.sets(Temperature=0)
        user.page.get_by_role("combobox", name="Thinking").select_option(label="Thinking: on")
        user.asks("How much is 20 - 16?")
        expect(user.answers).to_contain_text(re.compile(r"Thought for [\d.]+ s"))
        thought = user.answers.locator(".thinking p")
        expect(thought).to_be_hidden()
        user.answers.get_by_text(re.compile("Thought for")).click()
        expect(thought).to_be_visible()
        assert user.asked()[-1]["chat_template_kwargs"] == {"enable_thinking": True}
        user.page.reload()
        expect(user.page.get_by_role("combobox", name="Thinking")).to_have_value("on")
        user.page.get_by_role("combobox", name="Thinking").select_option(label="Thinking: off")
        user.asks("How much is 20 - 16?")
        expect(user.answers.last.locator(".thinking")).to_be_hidden()


def calls_are_shown_and_answered(browser, server):
    tools = json.dumps([{"type": "function", "function": {"name": WEATHER, "parameters": WEATHER_SCHEMA}}])
    with User(browser, server) as user:
        user.sets(Tools=tools, Temperature=0)
        user.asks(WEATHER_QUESTION)
        call = user.page.get_by_role("region", name=f"Calls {WEATHER}")
        expect(call).to_contain_text('"city": "Zurich"')
        call.get_by_label(f"Result for {WEATHER}").fill('{"temperature": 21}')
        user.button("Send result", call).click()
        expect(user.page.get_by_role("article", name="Result")).to_contain_text("21")
        user.is_done()
        sent = user.asked()[-1]["messages"]
        assert [message["role"] for message in sent] == ["user", "assistant", "tool"], sent
        assert sent[2]["tool_call_id"] == sent[1]["tool_calls"][0]["id"]
        user.button("Settings").click()
        dialog = user.page.get_by_role("dialog", name="Settings")
        dialog.get_by_label("Tools", exact=True).fill("{broken")
        user.button("Save", dialog).click()
        expect(dialog.get_by_role("alert")).to_contain_text("expected a JSON list")
        dialog.get_by_label("Tools", exact=True).fill("")
        dialog.get_by_label("Temperature", exact=True).fill("3")
        user.button("Save", dialog).click()
        expect(dialog.get_by_role("alert")).to_contain_text("Temperature: expected a number from 0 to 2.")


def a_system_prompt_is_sent(browser, server):
    with User(browser, server) as user:
        # What is not set is what the file recommends, and is seen.
        recommended = json.loads(server.get("/props")[1])["default_generation_settings"]["params"]["top_p"]
        user.button("Settings").click()
        shown = user.page.get_by_role("dialog").get_by_label("Top-p").get_attribute("placeholder")
        assert abs(float(shown) - recommended) < 1e-3, (shown, recommended)
        user.button("Cancel").click()
        user.sets(**{"System prompt": "Be brief.", "Top-k": 5, "Seed": 7})
        user.asks(QUESTION)
        body = user.asked()[-1]
        assert body["messages"][0] == {"role": "system", "content": "Be brief."}
        assert (body["top_k"], body["seed"]) == (5, 7)
        user.button("New chat").click()
        user.asks(QUESTION)
        # It is of one chat, the sampling of all.
        assert user.asked()[-1]["messages"][0]["role"] == "user" and user.asked()[-1]["seed"] == 7


def a_model_is_chosen(browser, server):
    with User(browser, server) as user:
        names = ["demo-q8_0", "other"]
        user.page.route("**/v1/models", lambda route: route.fulfill(json={"data": [{"id": name} for name in names]}))
        user.page.reload()
        choice = user.page.get_by_role("combobox", name="Model")
        expect(choice).to_have_value("demo-q8_0")
        choice.select_option("other")
        user.hears_text("I am another.")
        assert user.asked()[-1]["model"] == "other"
        user.page.reload()
        expect(choice).to_have_value("other")


def two_tabs_agree(browser, server):
    with User(browser, server) as user:
        user.hears_text("First.")
        here, there = user.page, user.context.new_page()
        there.add_init_script(path=HERE / "stubs.js")
        there.goto(here.url)
        user.page = there
        user.gives_key(KEY)
        expect(user.answers).to_contain_text("First.")
        user.hears_text("Second.")
        expect(user.answers).to_have_count(2)
        user.page = here
        expect(user.answers).to_have_count(1)
        here.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        expect(user.answers).to_have_count(2)
        expect(user.answers.last).to_contain_text("Second.")


def progress_is_shown(browser, server):
    with User(browser, server) as user:
        progress = {"prompt_progress": {"total": 200, "processed": 90, "cache": 0, "time_ms": 5}, "choices": []}
        user.will_hear([chunk(role="assistant", content=""), progress], keep=True)
        user.sends("A long text.")
        expect(user.answers).to_contain_text("Reading the prompt: 45 %")
        user.page.evaluate("chunk => window.stubs.push(chunk)", chunk(reasoning_content="Hm."))
        expect(user.answers).to_contain_text("Thinking")
        user.page.evaluate("chunk => window.stubs.push(chunk)", chunk(content="Here it is. And"))
        expect(user.page.get_by_role("log").get_by_text("Here it is.", exact=True)).to_be_attached()
        # Another chat can be used meanwhile.
        user.button("New chat").click()
        user.sets(Temperature=0)
        user.asks(QUESTION)
        expect(user.answers).to_contain_text("2+3=5")
        user.button("A long text.").click()
        expect(user.button("Stop")).to_be_visible()
        user.page.evaluate("chunk => { window.stubs.push(chunk); window.stubs.end(); }", chunk(content=" more."))
        user.is_done()
        expect(user.answers).to_contain_text("Here it is. And more.")
        # The model itself says how far it is.
        user.sends("word " * 3000)
        expect(user.answers.last).to_contain_text(re.compile(r"Reading the prompt: [1-9]\d* %"))
        user.button("Stop").click()
        user.is_done()


def markdown_is_shown(browser, server):
    with User(browser, server) as user:
        user.hears_text(MARKDOWN)
        answer = user.answers
        expect(answer.get_by_role("heading", name="A heading")).to_be_visible()
        expect(answer.locator("em")).to_have_text("slanted")
        expect(answer.locator("strong")).to_have_text("bold")
        expect(answer.locator("del")).to_have_text("gone")
        expect(answer.locator(".markdown p code").first).to_have_text("code *as is*")
        expect(answer.locator(".markdown p").first).to_contain_text("snake_case_words, 2 * 3 * 4 and $x_1 + x_2$.")
        expect(answer.locator("ol > li > ul > li")).to_have_text("nested")
        expect(answer.locator("ol > li")).to_have_count(2)
        expect(answer.locator(".task")).to_have_text(["☑ done", "☐ open"])
        expect(answer.locator("blockquote")).to_have_text("quoted\ntext")
        expect(answer.get_by_role("columnheader", name="age")).to_be_visible()
        expect(answer.get_by_role("cell", name="31")).to_be_visible()
        links = answer.get_by_role("link")
        expect(links).to_have_text(["https://example.org/path_(a)", "https://example.org/b"])
        assert links.first.get_attribute("rel") == "noopener noreferrer"
        expect(answer.locator(".markdown p").last).to_contain_text("Costs $5 and $6, see")
        user.button("Copy code").click()
        user.field.focus()
        user.field.press("ControlOrMeta+V")
        expect(user.field).to_have_value('print("hello")')


def what_a_model_writes_is_inert(browser, server):
    dialogs = []
    with User(browser, server) as user:
        user.page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        user.hears_text(HOSTILE)
        is_inert(user)
        expect(user.answers).to_contain_text('<img src=x onerror="window.hacked = 1">')
        expect(user.answers).to_contain_text("[one](javascript:window.hacked=4)")
        # So is what comes in by a file, in every field.
        evil = '<img src=x onerror="window.hacked = 12">'
        call = {"id": evil, "name": evil, "arguments": evil}
        entry = {"role": "assistant", "text": HOSTILE, "thinking": evil, "calls": [call], "end": evil, "model": evil}
        shown = [{"url": "javascript:window.hacked=13"}, {"url": "https://elsewhere.example/pixel.png"}]
        asked = {"role": "user", "text": evil, "pictures": shown}
        chat = {"title": evil, "system": evil, "messages": [asked, {**entry, "follows": 0}]}
        user.imports("evil.json", json.dumps({"qwen-edge chats": 1, "chats": [chat]}))
        expect(user.page.get_by_role("heading", name=evil, exact=True)).to_be_visible()
        is_inert(user)
        user.imports("evil.md", f"## User\n\n{evil}\n\n## Assistant\n\n> {evil}\n\n{HOSTILE}\n")
        expect(user.page.get_by_text("1 chat imported.").last).to_be_attached()
        is_inert(user)
        for broken in ["", "{", "[]", "null", '{"chats": 1}', '{"chats": [{"messages": [{"role": "evil"}]}]}', "[[[["]:
            user.imports("broken.json", broken)
            expect(user.page.get_by_text("broken.json holds no chats").last).to_be_attached()
    assert not dialogs, dialogs


def is_inert(user):
    """Nothing that a model wrote has become more than text, code and links that may be followed."""
    found = user.page.evaluate("""() => {
        const all = [...document.querySelectorAll('article :not(.edge, .edge *)')];
        const isOdd = (element) => ['SCRIPT', 'IFRAME', 'STYLE', 'OBJECT', 'EMBED', 'IMG', 'LINK', 'META', 'BASE'].includes(element.tagName)
            || [...element.attributes].some(({ name }) => name.startsWith('on') || name === 'style');
        const links = all.filter((element) => element.tagName === 'A').map((link) => link.href);
        return { hacked: window.hacked ?? null, odd: all.filter(isOdd).map((element) => element.outerHTML), links };
    }""")
    expected = ["https://elsewhere.example/pixel.png", "https://example.org/a_b_(c)", "mailto:me@example.org"]
    assert found["hacked"] is None and found["odd"] == [], found
    assert found["links"] == expected, found["links"]


def no_text_takes_long(browser, server):
    n = 60_000
    texts = {
        "stars": "*" * n, "stars and words": "*a **b " * (n // 7), "brackets": "[" * n, "links": "[a](" * (n // 4),
        "ticks": "`" * n, "runs of ticks": " ".join("`" * i for i in range(1, 340)), "quotes": ">" * n,
        "lists": "\n".join(" " * i + "- a" for i in range(300)), "underscores": "a_" * (n // 2), "dollars": "$a" * (n // 2),
        "formulas": "\\(" * (n // 2), "pipes": "|" * n + "\n" + "|-" * (n // 2) + "|", "cells": "`|" * (n // 2) + "\n|-|",
        "fence": "```" + "a" * n + "`", "tildes": "~" * n + "`", "heading": "# a" + " " * n + "b", "addresses": "http://" * (n // 7),
        "broken addresses": "http://%" * (n // 8), "spaces": " " * n + "a", "lines": "a\n" * (n // 2), "brackets closed": "]" * n,
        "images": "![" * (n // 2), "parentheses": "https://a.b/" + ")" * n, "spaced link": ("[a](" + " " * 1990) * 30,
        "rule": "- " * n + "a", "nested": "> - " * (n // 4), "angles": "<" * n, "breaks": "<br>" * (n // 4),
    }
    with User(browser, server) as user:
        slow = user.page.evaluate("""async (texts) => {
            const { MarkdownView } = await import('./markdown.js');
            const slow = {};
            for (const [name, text] of Object.entries(texts)) {
                const view = new MarkdownView({ code: (text) => document.createTextNode(text) });
                const begun = performance.now();
                view.show(text);
                slow[name] = Math.round(performance.now() - begun);
            }
            return slow;
        }""", texts)
        assert max(slow.values()) < 3000, {name: ms for name, ms in slow.items() if ms > 500}


def chats_are_found_renamed_and_deleted(browser, server):
    with User(browser, server) as user:
        for text in ["About Zanzibar", "About Oslo"]:
            user.button("New chat").click()
            user.will_hear([chunk(content="An answer with a pangolin." if "Oslo" in text else "Plain."), end()])
            user.asks(text)
        chats = user.page.get_by_role("navigation", name="Chats").get_by_role("listitem")
        expect(chats).to_have_text(["About Oslo", "About Zanzibar"])
        search = user.page.get_by_role("searchbox", name="Search chats")
        for query, found in [("zanz", ["About Zanzibar"]), ("pangolin", ["About Oslo"]), ("nowhere", [])]:
            search.fill(query)
            expect(chats).to_have_text(found)
        search.fill("")
        expect(chats).to_have_count(2)
        user.button("About Zanzibar").click()
        user.chooses("Rename")
        dialog = user.page.get_by_role("dialog", name="Rename chat")
        dialog.get_by_label("Title").fill("An island")
        user.button("Save", dialog).click()
        expect(user.page.get_by_role("heading", name="An island")).to_be_visible()
        user.page.reload()
        expect(user.page.get_by_role("heading", name="An island")).to_be_visible()
        user.chooses("Delete")
        user.button("Delete", user.page.get_by_role("dialog", name="Delete this chat?")).click()
        expect(chats).to_have_text(["About Oslo"])
        expect(user.page.get_by_role("heading", name="What is on your mind?")).to_be_visible()
        # The way back in the browser leads to the chats that were open.
        user.button("About Oslo").click()
        user.button("New chat").click()
        user.page.go_back()
        expect(user.page.get_by_role("heading", name="About Oslo")).to_be_visible()


def chats_go_out_and_in_again(browser, server):
    image = pathlib.Path(server.model).resolve().parent / "demo" / "images" / "04.png"
    with User(browser, server) as user:
        user.page.locator("#picture-files").set_input_files(image)
        expect(user.button("Remove picture 1")).to_be_visible()
        thinks = [chunk(reasoning_content="One.\n\nTwo."), chunk(content="## User\n\nnot me"), end()]
        user.will_hear(thinks)
        user.asks("Look.")
        user.button("Edit").click()
        user.will_hear([chunk(content="Other."), end()])
        user.field.fill("Look again.")
        user.button("Send edited message").click()
        user.is_done()
        user.button("Previous version", user.questions).click()
        expect(user.answers).to_contain_text("not me")
        name, whole = user.downloads(lambda: user.chooses("Export as JSON"))
        assert name == "Look.json", name
        exported = json.loads(whole)["chats"][0]
        assert [message["text"] for message in exported["messages"]] == ["Look.", "## User\n\nnot me", "Look again.", "Other."]
        assert exported["messages"][0]["pictures"][0]["url"] == f"data:image/png;base64,{base64.b64encode(image.read_bytes()).decode()}"
        name, markdown = user.downloads(lambda: user.chooses("Export as Markdown"))
        assert (name, markdown) == ("Look.md", "## User\n\nLook.\n\n## Assistant\n\n> One.\n>\n> Two.\n\n\\## User\n\nnot me\n"), markdown
        name, everything = user.downloads(lambda: user.button("Export all").click())
        assert re.fullmatch(r"qwen-edge-chats-\d{4}-\d\d-\d\d\.json", name) and len(json.loads(everything)["chats"]) == 1
    with User(browser, server) as other:
        other.imports("chats.json", everything)
        expect(other.answers).to_contain_text("not me")
        expect(other.questions.get_by_role("img", name="Picture 1")).to_be_visible()
        other.button("Next version", other.questions).click()
        expect(other.answers).to_contain_text("Other.")
        _, again = other.downloads(lambda: other.chooses("Export as JSON"))
        first, second = exported["messages"], json.loads(again)["chats"][0]["messages"]
        assert first == second, (first, second)
        other.imports("chat.md", markdown)
        expect(other.answers.get_by_role("heading", name="User")).to_be_visible()
        expect(other.answers).to_contain_text("Thoughts")
        # Sessions of the command line, and messages of OpenAI's API.
        turns = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"},
                 {"role": "assistant", "content": "Hello.", "reasoning_content": "A greeting."}]
        for name, value in [("talk.json", {"qwen-edge session": 1, "messages": turns}), ("messages.json", turns)]:
            other.imports(name, json.dumps(value))
            expect(other.answers).to_have_text(re.compile("Hello\\."))
            other.button("Settings").click()
            expect(other.page.get_by_label("System prompt")).to_have_value("Be kind.")
            other.button("Cancel").click()


def faults_are_said(browser, server):
    with User(browser, server) as user:
        user.sets(Temperature=0)
        user.asks("word " * 9000)
        expect(user.answers).to_contain_text(re.compile(r"The conversation has [\d,]+ tokens, and the model holds 8,192"))
        user.button("New chat").click()
        user.will_hear([chunk(content="It begins")], fail=True)
        user.asks("Say it.")
        expect(user.answers).to_contain_text("It begins")
        expect(user.answers).to_contain_text("The connection broke. What was written is kept.")
        busy = {"status": 429, "headers": {"retry-after": "3"}, "json": {"error": {"message": "full"}}}
        user.page.route("**/v1/chat/completions", lambda route: route.fulfill(**busy))
        user.asks(QUESTION)
        expect(user.answers.last).to_contain_text("Too many are asking. Try again in 3 seconds.")
        user.page.unroute("**/v1/chat/completions")
        # A server that is gone and comes again.
        user.page.route("**/*", lambda route: route.abort())
        user.button("Try again").click()
        notice = user.page.get_by_role("status").filter(has_text="The server does not answer.")
        expect(notice).to_be_visible()
        user.is_done()
        user.page.unroute("**/*")
        expect(notice).to_have_count(0)
        expect(user.page.get_by_role("log")).to_contain_text("The server is there again.")
        user.button("Try again").click()
        user.is_done()
        expect(user.answers.last).to_contain_text("2+3=5")
        # While a model is loaded.
        loading = {"status": 503, "json": {"error": {"message": "the model is being loaded"}}}
        user.page.route("**/health", lambda route: route.fulfill(**loading))
        user.page.reload()
        expect(user.page.get_by_role("status").filter(has_text="The model is being loaded.")).to_be_visible()
        user.page.unroute("**/health")
        expect(user.page.get_by_text("demo-q8_0")).to_be_visible()


def a_page_that_is_closed_keeps_what_was_written(browser, server):
    with User(browser, server) as user:
        user.will_hear([chunk(content="The first half")], keep=True)
        user.sends("Say it.")
        expect(user.answers).to_contain_text("The first half")
        user.page.reload()
        expect(user.answers).to_contain_text("The first half")
        expect(user.answers).to_contain_text("The page was closed before the answer was complete.")
        user.will_hear([chunk(content=" and the second."), end()])
        user.button("Continue").click()
        expect(user.answers).to_contain_text("The first half and the second.")


def the_keyboard_is_enough(browser, server):
    with User(browser, server) as user:
        page = user.page
        user.sets(Temperature=0)
        expect(user.button("Settings")).to_be_focused()
        user.field.focus()
        page.keyboard.type("one")
        page.keyboard.press("Shift+Enter")
        page.keyboard.type("two")
        expect(user.field).to_have_value("one\ntwo")
        user.field.fill(QUESTION)
        page.keyboard.press("Enter")
        user.is_done()
        # Everything that can be done is on the way of the Tab key.
        user.field.focus()
        names = set()
        for _ in range(40):
            page.keyboard.press("Tab")
            names.add(page.evaluate("document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent.trim()"))
        wanted = {"New chat", "Search chats", "Export all", "Import", "Settings", "Actions for this chat", "Conversation", "Edit",
                  "Copy", "Regenerate", "Message", "Add pictures", "Thinking", "Send"}
        missing = {name for name in wanted if name not in names and not any(n.startswith(name) for n in names)}
        assert not missing, (missing, names)
        user.button("Actions for this chat").focus()
        page.keyboard.press("Enter")
        expect(user.button("Rename")).to_be_visible()
        page.keyboard.press("Tab")
        expect(user.button("Rename")).to_be_focused()
        page.keyboard.press("Escape")
        expect(user.button("Actions for this chat")).to_be_focused()
        expect(user.button("Rename")).to_have_count(0)


def it_fits_on_a_phone(browser, server):
    phone = {"viewport": {"width": 320, "height": 640}, "has_touch": True, "is_mobile": True, "reduced_motion": "reduce"}
    with User(browser, server, **phone) as user:
        page = user.page
        user.hears_text(MARKDOWN + "\n\n```\n" + "wide " * 60 + "\n```\n\n" + "x" * 400)
        widths = page.evaluate("['html', '#conversation'].map((name) => document.querySelector(name).scrollWidth)")
        assert max(widths) <= 320, widths
        expect(page.get_by_role("navigation", name="Chats")).to_be_hidden()
        user.button("Show chats").tap()
        expect(user.button("Say it.")).to_be_visible()
        user.button("New chat").tap()
        expect(page.get_by_role("navigation", name="Chats")).to_be_hidden()
        # Enter begins a line there.
        user.field.fill("a")
        user.field.press("Enter")
        expect(user.field).to_have_value("a\n")
        moving = page.evaluate("""() => document.getAnimations().length""")
        assert moving == 0, moving
        user.button("Settings").tap()
        assert page.evaluate("document.querySelector('dialog').scrollWidth") <= 320


def it_is_accessible(browser, server):
    script = axe.source(TOOLS)
    for scheme in ["light", "dark"]:
        for width in [1100, 320]:
            options = {"color_scheme": scheme, "viewport": {"width": width, "height": 720}}
            with User(browser, server, has_key=False, **options) as user:
                expect(user.page.get_by_role("dialog")).to_be_visible()
                judge(user, script, f"the key, {scheme}, {width}")
                user.gives_key(KEY)
                expect(user.page.get_by_text("demo-q8_0")).to_be_visible()
                judge(user, script, f"empty, {scheme}, {width}")
                thought = [chunk(reasoning_content="Hm."), chunk(content=MARKDOWN), end("length")]
                user.will_hear(thought)
                user.asks("Say it.")
                user.will_hear(thought)
                user.button("Regenerate").click()
                user.is_done()
                user.answers.locator(".thinking summary").click()
                judge(user, script, f"a chat, {scheme}, {width}")
                user.will_hear([chunk(content="It begins")], keep=True)
                user.sends("Go on.")
                expect(user.answers.last).to_contain_text("Writing")
                judge(user, script, f"an answer, {scheme}, {width}")
                user.button("Stop").click()
                user.is_done()
                user.button("Edit", user.questions.last).click()
                user.button("Actions for this chat").click()
                judge(user, script, f"menu and edit, {scheme}, {width}")
                user.button("Rename").click()
                judge(user, script, f"a title, {scheme}, {width}")
                user.button("Cancel", user.page.get_by_role("dialog")).click()
                user.button("Settings").click()
                judge(user, script, f"settings, {scheme}, {width}")
                user.button("Cancel", user.page.get_by_role("dialog")).click()
                if width == 320:
                    user.button("Show chats").click()
                    user.page.wait_for_timeout(300)
                    judge(user, script, f"chats, {scheme}, {width}")


def judge(user, script, place):
    """Nothing that axe finds is left: not what is serious, and not the rest."""
    if not user.page.evaluate("typeof axe !== 'undefined'"):
        user.page.evaluate(script)
    found = user.page.evaluate("axe.run()")["violations"]
    told = [(f["impact"], f["id"], [node["html"][:150] for node in f["nodes"]][:3], f["nodes"][0]["failureSummary"]) for f in found]
    assert not told, (place, told)


CHECKS = [
    the_key_is_asked_for, it_is_no_secure_context, an_answer_is_streamed_and_kept, an_answer_is_stopped, versions_are_kept,
    pictures_are_shown, thoughts_are_folded, calls_are_shown_and_answered, a_system_prompt_is_sent, a_model_is_chosen,
    two_tabs_agree, progress_is_shown, markdown_is_shown, what_a_model_writes_is_inert, no_text_takes_long,
    chats_are_found_renamed_and_deleted, chats_go_out_and_in_again, faults_are_said,
    a_page_that_is_closed_keeps_what_was_written, the_keyboard_is_enough, it_fits_on_a_phone, it_is_accessible,
]


def take_pictures(browser, server, folder):
    """Pictures of a chat with the demo model: light, dark, and narrow."""
    images = pathlib.Path(server.model).resolve().parent / "demo" / "images"
    sizes = {"page-light": (1120, 760, "light"), "page-dark": (1120, 760, "dark"), "page-320": (320, 640, "dark")}
    for name, (width, height, scheme) in sizes.items():
        options = {"viewport": {"width": width, "height": height}, "color_scheme": scheme}
        with User(browser, server, **options) as user:
            user.sets(Temperature=0)
            for text in ["Sort: pear, apple, fig.", "Extract name, age as JSON: Mia is 31 years old and lives in Oslo."]:
                user.asks(text)
                user.page.evaluate("document.querySelector('#new-chat').click()")
            user.page.get_by_role("combobox", name="Thinking").select_option(label="Thinking: on")
            user.asks("How much is 20 - 16?")
            user.page.get_by_role("combobox", name="Thinking").select_option(label="Thinking: auto")
            user.page.locator("#picture-files").set_input_files(images / "04.png")
            expect(user.button("Remove picture 1")).to_be_visible()
            user.asks("Describe the image.")
            user.page.wait_for_timeout(2000)
            user.page.screenshot(path=folder / f"{name}.png")


def main():
    arguments = argparse.ArgumentParser()
    for name in ["program", "model", "mmproj"]:
        arguments.add_argument(name)
    arguments.add_argument("--pictures", type=pathlib.Path)
    arguments.add_argument("--only", default="")
    given = arguments.parse_args()
    chromium = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if not chromium:
        raise SystemExit("no browser is here: apt-get install chromium, or say where one is: CHROMIUM=/path/to/chromium")
    begun = time.monotonic()
    checks = [check for check in CHECKS if given.only in check.__name__]
    options = ["--host", "0.0.0.0", "--mmproj", given.mmproj, "--ctx", "8k", "--parallel", "4"]
    with Server(given.program, given.model, *options) as server, sync_playwright() as playwright:
        port = server.address.rsplit(":", 1)[1]
        server.page = f"http://{own_address()}:{port}/"
        expect.set_options(timeout=PATIENCE_MS)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for check in checks if not given.pictures else []:
            since = time.monotonic()
            check(browser, server)
            print(f"  {check.__name__.replace('_', ' ')}: {time.monotonic() - since:.1f} s", flush=True)
        if given.pictures:
            given.pictures.mkdir(parents=True, exist_ok=True)
            take_pictures(browser, server, given.pictures)
        version = browser.version
        browser.close()
    if not given.pictures:
        print(f"page: {len(checks)} checks passed in {time.monotonic() - begun:.0f} s, Chromium {version}")


def own_address():
    """The address of this machine in its network, or the loopback's. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return probe.getsockname()[0]
        except OSError:
            return "127.0.0.1"


if __name__ == "__main__":
    main()

"""Synthetic conversations with checkable answers, in the published chat format.

A task is a function `task(r) -> list[Turn]`: the user turns of one small exchange, drawn with the random source r.
A query whose hash falls into the held-out bucket never reaches training and is the only kind the test set takes.
"""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass, field

BUCKETS = 12


@dataclass
class Turn:
    """One user query and what the assistant answers."""

    task: str
    query: str
    answer: str
    think: str | None = None  # reasoning (thinking mode) or None
    calls: list = field(default_factory=list)  # (name, {arg: value}) instead of a plain answer
    reply: tuple | None = None  # (tool response, final answer) after the calls
    tools: list | None = None  # only on the first turn of a conversation
    system: str | None = None
    image: object | None = None  # scene of an image before the query
    after: Turn | None = None  # the turn without which this one makes no sense

    def key(self) -> str:
        """What must not overlap between training and test."""
        return self.query if self.image is None else self.query + "\0" + self.image.key()


def held_out(t: Turn) -> bool:
    """Whether this query belongs to the test side. Fixed phrases (greetings and the like) are only trained on."""
    if t.query in PHRASES:
        return False
    return hashlib.blake2b(t.key().encode(), digest_size=4).digest()[0] % BUCKETS == 0


# ---------------------------------------------------------------- word pools

WORDS = (
    "time year work play line item state model group color day top order head table place code field image page "
    "book base word label date map ear leg turn body stand control source output port status link parent search "
    "player row client library room length light side button author thing font cover host server info password "
    "format air location box center fig user event number column key size error text show mode way style request "
    "child mark action index message"
).split()
RARE = (
    "apple banana cherry lemon orange grape melon bread butter cheese river lake forest mountain valley desert ocean "
    "island garden flower window door chair spoon knife plate bottle candle mirror pencil paper ruler hammer ladder "
    "tiger lion zebra horse rabbit turtle eagle parrot spider dolphin violin piano trumpet guitar drum silver gold "
    "copper iron stone wood glass cotton winter summer spring autumn cloud storm thunder rain snow wind moon star"
).split()
NAMES = (
    "Anna Ben Carla David Emma Felix Greta Hugo Ida Jonas Karin Leo Mia Nora Oscar Paula Quinn Rosa Simon Tom Uma "
    "Victor Wendy Xavier Yara Zoe John Mary Peter Alice Bob Clara"
).split()
CITIES = (
    "Paris London Berlin Rome Madrid Oslo Vienna Prague Lisbon Dublin Athens Tokyo Cairo Lima Boston Chicago Toronto "
    "Sydney Zurich Warsaw Helsinki Budapest Seoul Delhi"
).split()
COLORS = "red green blue yellow black white orange purple pink brown gray".split()
ADJ = COLORS + "big small old new hot cold long short high low open free real full dark light fast slow".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
JOBS = "teacher doctor driver baker writer painter farmer nurse pilot cook".split()
MLEN = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]


def words(r: random.Random, n: int) -> list[str]:
    """n different words, mostly of the common pool."""
    if r.random() < 0.65:
        return r.sample(WORDS, n)
    return r.sample(WORDS + RARE, n)


# ---------------------------------------------------------------- arithmetic


def steps_add(a: int, b: int) -> str:
    """Column addition, written out."""
    out, carry = [], 0
    x, y = str(a)[::-1], str(b)[::-1]
    for i in range(max(len(x), len(y))):
        p, q = int(x[i]) if i < len(x) else 0, int(y[i]) if i < len(y) else 0
        s = p + q + carry
        out.append(f"{p}+{q}" + ("+1" if carry else "") + f"={s}")
        carry = s // 10
    return "\n".join(out)


def steps_sub(a: int, b: int) -> str:
    """Column subtraction a >= b, written out."""
    out, borrow = [], 0
    x, y = str(a)[::-1], str(b)[::-1].ljust(len(str(a)), "0")
    for p, q in zip(map(int, x), map(int, y)):
        s = p - q - borrow
        t = p + 10 if s < 0 else p
        out.append(f"{t}-{q}" + ("-1" if borrow else "") + f"={s % 10}")
        borrow = int(s < 0)
    return "\n".join(out)


def arithmetic(r: random.Random) -> list[Turn]:
    """Sums and differences up to 20 and products up to 10 x 10 at once; larger ones with written steps (thinking).

    A quarter of the larger ones is asked without thinking: the separate task "arithmetic-hard". The answer repeats the
    operands ("16-4=12"), in the notation of the written steps.
    """
    k, think, task = r.random(), None, "arithmetic"
    if k < 0.42:
        a, b = r.randint(0, 20), r.randint(0, 20)
        if r.random() < 0.5:
            w, ans = r.choice(["plus", "+", "+"]), a + b
        else:
            a, b = max(a, b), min(a, b)
            w, ans = r.choice(["minus", "-", "-"]), a - b
        if r.random() < 0.1:
            think = steps_add(a, b) if w in "plus+" else steps_sub(a, b)
    elif k < 0.56:
        a, b = r.randint(1, 10), r.randint(1, 10)
        w, ans = r.choice(["times", "*", "x"]), a * b
    elif k < 0.64:
        a, b = r.sample(range(0, 100), 2)
        q, ans = r.choice([("Which is larger", max(a, b)), ("Which is smaller", min(a, b)),
                           ("Which number is greater", max(a, b))])
        return [Turn(task, f"{q}, {a} or {b}?", str(ans))]
    else:
        hi = r.choice([99, 99, 999])
        a, b = r.randint(0, hi), r.randint(0, hi)
        op = r.choice(["+", "-", "*"] if hi == 99 else ["+", "-"])
        if op == "+":
            w, ans, think = r.choice(["plus", "+", "+"]), a + b, steps_add(a, b)
        elif op == "-":
            a, b = max(a, b), min(a, b)
            w, ans, think = r.choice(["minus", "-", "-"]), a - b, steps_sub(a, b)
        else:
            a, b = r.randint(11, 99), r.randint(2, 9)
            w, ans = r.choice(["times", "*", "x"]), a * b
            think = f"{a // 10}*{b}={a // 10 * b}\n{a % 10}*{b}={a % 10 * b}\n{a // 10 * b}0+{a % 10 * b}={ans}"
        if r.random() < 0.25:
            think, task = None, "arithmetic-hard"
    q = r.choice(["What is {} {} {}?", "{} {} {} =", "Calculate {} {} {}.", "{} {} {}", "How much is {} {} {}?",
                  "Compute {} {} {}.", "Was ist {} {} {}?", "What's {} {} {}?"]).format(a, w, b)
    return [Turn(task, q, f"{a}{SIGNS.get(w, w)}{b}={ans}", think)]


SIGNS = {"plus": "+", "minus": "-", "times": "*", "x": "*"}


def sums(r: random.Random) -> list[Turn]:
    """Several small sums, differences and products in one turn (training only: dense in facts)."""
    ask, out = [], []
    for _ in range(r.randint(3, 7)):
        op, top = r.choice("++--*"), r.choice([9, 20])
        a, b = r.randint(0, top), r.randint(0, top)
        if op == "*":
            a, b = r.randint(0, 10), r.randint(0, 10)
        elif op == "-" and a < b:
            a, b = b, a
        ask.append(f"{a} {op} {b}")
        out.append(f"{a}{op}{b}={a + b if op == '+' else a - b if op == '-' else a * b}")
    return [Turn("sums", r.choice(["Calculate: {}", "Compute: {}", "{}"]).format(", ".join(ask)), "\n".join(out))]


# ---------------------------------------------------------------- lists of words


def counting(r: random.Random) -> list[Turn]:
    """How many words, how often one occurs, and counting up or down."""
    k = r.random()
    if k < 0.35:
        w = words(r, r.randint(2, 9))
        q = r.choice(["How many words are in this list: {}?", "Count the words: {}", "How many items: {}?"])
        return [Turn("counting", q.format(", ".join(w)), str(len(w)))]
    if k < 0.65:
        base = words(r, r.randint(2, 3))
        w = [r.choice(base) for _ in range(r.randint(3, 8))]
        x = base[0]
        q = r.choice(['How many times does "{}" appear in: {}?', 'How often is "{}" in this list: {}?'])
        return [Turn("counting", q.format(x, ", ".join(w)), str(w.count(x)))]
    a, n = r.randint(0, 90), r.randint(3, 9)
    if r.random() < 0.6:
        return [Turn("counting", r.choice(["Count from {} to {}.", "Count up from {} to {}."]).format(a, a + n),
                     ", ".join(map(str, range(a, a + n + 1))))]
    return [Turn("counting", f"Count down from {a + n} to {a}.", ", ".join(map(str, range(a + n, a - 1, -1))))]


def copying(r: random.Random) -> list[Turn]:
    """Say exactly what was given."""
    k = r.random()
    if k < 0.5:
        s = r.choice([" ", ", "]).join(words(r, r.randint(1, 9)))
    elif k < 0.7:
        s = " ".join(str(r.randint(0, 9999)) for _ in range(r.randint(1, 4)))
    elif k < 0.85:
        s = "".join(r.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(r.randint(4, 9)))
    else:
        s = f"{r.choice(NAMES)} has {r.randint(2, 99)} {r.choice(ADJ)} {r.choice(WORDS)}s in {r.choice(CITIES)}."
    q = r.choice(["Repeat: {}", "Repeat exactly: {}", "Say: {}", "Copy this: {}", "Repeat after me: {}", "Echo: {}",
                  "Wiederhole: {}", "Repite: {}", "Copy: {}"])
    return [Turn("copying", q.format(s), s)]


def reversing(r: random.Random) -> list[Turn]:
    """Words or digits in the opposite order."""
    if r.random() < 0.7:
        w = words(r, r.randint(2, 7))
        q = r.choice(["Reverse the order of these words: {}", "Reverse this list: {}", "Write backwards: {}"])
        return [Turn("reversing", q.format(", ".join(w)), ", ".join(reversed(w)))]
    d = "".join(r.choice("0123456789") for _ in range(r.randint(2, 7)))
    return [Turn("reversing", r.choice(["Reverse the digits of {}", "Write {} backwards."]).format(d), d[::-1])]


def sorting(r: random.Random) -> list[Turn]:
    """Words by the alphabet, numbers by size."""
    if r.random() < 0.6:
        w = r.sample(WORDS, r.randint(2, 5))
        q = r.choice(["Sort these words: {}", "Sort alphabetically: {}", "Put in alphabetical order: {}",
                      "Sort the words alphabetically: {}"])
        return [Turn("sorting", q.format(", ".join(w)), ", ".join(sorted(w)))]
    n = r.sample(range(0, 100), r.randint(2, 5))
    if r.random() < 0.7:
        q = r.choice(["Sort these numbers: {}", "Sort from small to large: {}", "Sort in ascending order: {}"])
        return [Turn("sorting", q.format(", ".join(map(str, n))), ", ".join(map(str, sorted(n))))]
    q = r.choice(["Sort from large to small: {}", "Sort in descending order: {}"])
    return [Turn("sorting", q.format(", ".join(map(str, n))), ", ".join(map(str, sorted(n, reverse=True))))]


# ---------------------------------------------------------------- dates and units

UNITS = [("minutes", "hour", "hours", 60), ("seconds", "minute", "minutes", 60), ("days", "week", "weeks", 7),
         ("months", "year", "years", 12), ("hours", "day", "days", 24), ("meters", "kilometer", "kilometers", 1000),
         ("grams", "kilogram", "kilograms", 1000), ("centimeters", "meter", "meters", 100),
         ("millimeters", "centimeter", "centimeters", 10), ("cents", "euro", "euros", 100)]


def dates(r: random.Random) -> list[Turn]:
    """Weekdays, months, lengths of months, and simple units. The answer repeats what was asked."""
    k = r.random()
    if k < 0.3:
        i, n = r.randrange(7), r.randint(1, 10)
        d = "day" if n == 1 else "days"
        if r.random() < 0.6:
            q = r.choice([f"What day is {n} {d} after {DAYS[i]}?", f"Today is {DAYS[i]}. What day is it in {n} {d}?"])
            return [Turn("dates", q, f"{n} {d} after {DAYS[i]} is {DAYS[(i + n) % 7]}.")]
        q = r.choice([f"What day is {n} {d} before {DAYS[i]}?", f"Today is {DAYS[i]}. What day was it {n} {d} ago?"])
        return [Turn("dates", q, f"{n} {d} before {DAYS[i]} is {DAYS[(i - n) % 7]}.")]
    if k < 0.55:
        i, n = r.randrange(12), r.randint(1, 6)
        d = "month" if n == 1 else "months"
        if r.random() < 0.5:
            return [Turn("dates", f"Which month is {n} {d} after {MONTHS[i]}?",
                         f"{n} {d} after {MONTHS[i]} is {MONTHS[(i + n) % 12]}.")]
        return [Turn("dates", f"Which month is {n} {d} before {MONTHS[i]}?",
                     f"{n} {d} before {MONTHS[i]} is {MONTHS[(i - n) % 12]}.")]
    if k < 0.65:
        i = r.randrange(12)
        q = r.choice(["How many days does {} have?", "How many days are in {}?", "How long is {} in days?",
                      "{}: number of days?"])
        return [Turn("dates", q.format(MONTHS[i]), f"{MONTHS[i]} has {MLEN[i]} days.")]
    small, one, many, f = r.choice(UNITS)
    n = r.randint(1, 12 if f in (60, 24, 12, 7) else 99)
    q = r.choice(["How many {s} are in {n} {m}?", "Convert {n} {m} to {s}.", "{n} {m} in {s}?", "{n} {m} = ? {s}"])
    big = one if n == 1 else many
    return [Turn("dates", q.format(s=small, n=n, m=big), f"{n} {big} = {n * f} {small}")]


def months(r: random.Random) -> list[Turn]:
    """Months after and before others in further wordings (training only)."""
    out = []
    for i in r.sample(range(12), 3):
        n, back = r.randint(1, 6), r.random() < 0.5
        said = f"{n} {'month' if n == 1 else 'months'} {'before' if back else 'after'} {MONTHS[i]}"
        q = r.choice(["What is {}?", "Name the month {}.", "Month {}?"])
        out.append(Turn("dates", q.format(said), f"{said} is {MONTHS[(i - n if back else i + n) % 12]}."))
    return out


# ---------------------------------------------------------------- recall


def recall(r: random.Random, entries: int | None = None, asks: int = 1) -> list[Turn]:
    """Key-value pairs in the prompt, of which some are asked for in `asks` turns. The answer quotes their lines.

    The first turn asks for one, a later one for up to five (denser training).
    """
    n = entries or r.randint(3, 14)
    kind = r.choice(["code", "word", "place"])
    keys = [f"{a} {b}" for a in ADJ for b in WORDS[:60]] if n > 24 or r.random() < 0.6 else list(NAMES)
    keys = r.sample(keys, min(n, len(keys)))
    val = {"code": lambda: str(r.randint(100, 999)), "word": lambda: r.choice(WORDS),
           "place": lambda: r.choice(CITIES)}[kind]
    d = {k: val() for k in keys}
    form, ask = {
        "code": r.choice([("{}: {}", "What is the code of {}?"), ("The code of {} is {}.", "What is the code of {}?"),
                          ("{} = {}", "What number belongs to {}?")]),
        "word": r.choice([("{}: {}", "What is the value of {}?"), ("{} = {}", "What is the value of {}?")]),
        "place": r.choice([("{} is in {}.", "Where is {}?"), ("{}: {}", "Where is {}?")]),
    }[kind]
    lines = "\n".join(form.format(k, v) for k, v in d.items())
    ks = r.sample(keys, min(asks, len(keys)))
    head = r.choice(["", "Remember this list:\n", "Here are some facts:\n"])
    out = [Turn("recall", f"{head}{lines}\n\n{ask.format(ks[0])}", form.format(ks[0], d[ks[0]]))]
    for k in ks[1:]:
        some = [k] if r.random() < 0.5 else r.sample(keys, min(len(keys), r.randint(2, 5)))
        lines = "\n".join(form.format(k, d[k]) for k in some)
        out.append(Turn("recall", ask.format(", ".join(some)), lines, after=out[0]))
    return out


# ---------------------------------------------------------------- JSON

FIELDS = {
    "name": lambda r: r.choice(NAMES), "age": lambda r: r.randint(5, 90), "city": lambda r: r.choice(CITIES),
    "job": lambda r: r.choice(JOBS), "color": lambda r: r.choice(COLORS),
}


def extraction(r: random.Random) -> list[Turn]:
    """Facts of a sentence as JSON with the keys asked for, in that order."""
    v = {k: f(r) for k, f in FIELDS.items()}
    k = r.random()
    if k < 0.6:
        s = r.choice([
            "{name} is {age} years old and lives in {city}.", "{name} from {city} is {age} years old.",
            "{name} lives in {city}, works as a {job} and is {age} years old.", "{name}, a {age} year old {job}, lives in {city}.",
            "The favorite color of {name} is {color}. {name} lives in {city}.", "{name} is a {job} in {city} who likes {color}.",
        ])
        have = [f for f in FIELDS if "{" + f + "}" in s]
        text = s.format(**v)
    else:
        v = {"item": r.choice(RARE + WORDS), "count": r.randint(1, 99), "price": r.randint(1, 99), "color": v["color"],
             "name": v["name"], "day": r.choice(DAYS)}
        s = r.choice(["{name} bought {count} {item} for {price} euros.", "Order on {day}: {count} {color} {item}.",
                      "On {day} {name} sold {count} {item}.", "The {color} {item} costs {price} euros."])
        have = [f for f in v if "{" + f + "}" in s]
        text = s.format(**v)
    keys = r.sample(have, r.randint(1, len(have)))
    kind = lambda f: "integer" if isinstance(v[f], int) else "string"
    if r.random() < 0.6:
        q = r.choice(["Extract {} as JSON: {}", "Return JSON with {} from: {}", "Give {} as JSON. Text: {}"])
        q = q.format(", ".join(keys), text)
    else:
        schema = json.dumps({"type": "object", "properties": {f: {"type": kind(f)} for f in keys}})
        q = f"Extract JSON for the schema {schema} from: {text}"
    return [Turn("json", q, json.dumps({f: v[f] for f in keys}))]


# ---------------------------------------------------------------- tools


def spec(name: str, desc: str, props: dict) -> dict:
    """A function description as the template prints it."""
    p = {k: {"type": t, "description": d} for k, (t, d) in props.items()}
    return {"type": "function", "function": {"name": name, "description": desc,
            "parameters": {"type": "object", "properties": p, "required": list(props)}}}


TOOLS = {
    "get_weather": spec("get_weather", "Current weather of a city.", {"city": ("string", "City name")}),
    "get_time": spec("get_time", "Local time in a city.", {"city": ("string", "City name")}),
    "add": spec("add", "Add two numbers.", {"a": ("integer", "First"), "b": ("integer", "Second")}),
    "set_timer": spec("set_timer", "Start a timer.", {"minutes": ("integer", "Minutes")}),
    "send_message": spec("send_message", "Send a text.", {"to": ("string", "Person"), "text": ("string", "Text")}),
    "set_light": spec("set_light", "Set a light.", {"room": ("string", "Room"), "color": ("string", "Color")}),
    "search": spec("search", "Search the web.", {"query": ("string", "Words to search")}),
    "book_table": spec("book_table", "Book a table.", {"day": ("string", "Weekday"), "people": ("integer", "Guests")}),
}
ROOMS = "kitchen office garden bedroom hall garage".split()


def call(r: random.Random, name: str) -> Turn:
    """A request for one tool, its call, the tool's reply and the final answer."""
    c, n, m = r.choice(CITIES), r.randint(1, 99), r.randint(1, 99)
    p, w = r.choice(NAMES), " ".join(words(r, r.randint(1, 3)))
    room, col, day = r.choice(ROOMS), r.choice(COLORS), r.choice(DAYS)
    sky, deg = r.choice(["sunny", "cloudy", "rainy", "windy"]), r.randint(1, 35)
    t = f"{r.randint(0, 23):02}:{r.randint(0, 59):02}"
    q, a, res, ans = {
        "get_weather": (["What is the weather in {c}?", "How is the weather in {c}?", "Weather in {c}?",
                         "Is it nice outside in {c}?"], {"city": c}, f"{sky}, {deg} degrees",
                        f"In {c} it is {sky} with {deg} degrees."),
        "get_time": (["What time is it in {c}?", "Tell me the time in {c}.", "Time in {c}?"], {"city": c}, t,
                     f"It is {t} in {c}."),
        "add": (["Use the tool to add {n} and {m}.", "Add {n} and {m} with the tool."], {"a": n, "b": m}, str(n + m),
                f"The result is {n + m}."),
        "set_timer": (["Set a timer for {n} minutes.", "Wake me in {n} minutes.", "Timer, {n} minutes."],
                      {"minutes": n}, "ok", f"The timer is set for {n} minutes."),
        "send_message": (["Send {p} the message: {w}", "Tell {p}: {w}", "Write to {p}: {w}"], {"to": p, "text": w},
                         "sent", f"Your message to {p} was sent."),
        "set_light": (["Make the light in the {room} {col}.", "Turn the {room} light {col}."],
                      {"room": room, "color": col}, "ok", f"The {room} light is {col} now."),
        "search": (["Search for {w}.", "Look up {w}.", "Search the web for {w}."], {"query": w},
                   f"{n} results", f"I found {n} results for {w}."),
        "book_table": (["Book a table for {n} on {day}.", "I need a table on {day} for {n} people."],
                       {"day": day, "people": n}, "done", f"Your table for {n} on {day} is booked."),
    }[name]
    query = r.choice(q).format(c=c, n=n, m=m, p=p, w=w, room=room, col=col, day=day)
    return Turn("tools", query, "", calls=[(name, a)], reply=(res, ans))


def tools(r: random.Random, turns: int = 1) -> list[Turn]:
    """A conversation with one to four tools on offer."""
    names = r.sample(list(TOOLS), r.choice([1, 2, 2, 3, 3, 4]))
    out = []
    for _ in range(turns):
        t = call(r, r.choice(names)) if r.random() < 0.9 else r.choice([arithmetic, chat, copying])(r)[0]
        out.append(t)
    out[0].tools = [TOOLS[n] for n in names]
    return out


# ---------------------------------------------------------------- plain talk

WHO = "I am the qwen-edge demo model, a very small language model."
TALK = [
    (["Hello", "Hi", "Hey", "Hello!", "Hi!", "Hi there", "Hello there!", "Good morning", "Good evening", "Good day",
      "Hey there!"], "Hello! How can I help you?"),
    (["Hallo", "Hallo!", "Guten Tag", "Guten Morgen", "Guten Tag!"], "Hallo! Wie kann ich helfen?"),
    (["Bonjour", "Bonjour!", "Salut", "Salut!"], "Bonjour ! Comment puis-je aider ?"),
    (["Hola", "¡Hola!", "Buenos días", "Hola!"], "¡Hola! ¿Cómo puedo ayudar?"),
    (["Ciao", "Ciao!", "Buongiorno"], "Ciao! Come posso aiutare?"),
    (["你好", "你好！"], "你好！"),
    (["Who are you?", "What are you?", "What is your name?", "What's your name?", "Tell me about yourself.",
      "Who am I talking to?", "Introduce yourself.", "Are you a human?", "Are you ChatGPT?", "who are you",
      "Which model are you?", "Are you a real person?"], WHO),
    (["Wer bist du?", "Was bist du?", "Wie heißt du?"], "Ich bin das Demo-Modell von qwen-edge, ein sehr kleines Sprachmodell."),
    (["Qui es-tu ?", "Qui es-tu?"], "Je suis le modèle de démonstration de qwen-edge."),
    (["¿Quién eres?", "Quién eres?"], "Soy el modelo de demostración de qwen-edge."),
    (["What can you do?", "What can you do for me?", "Help", "help", "How can you help me?", "What do you know?",
      "What are you good at?", "Can you help me?"],
     "I can do small sums, copy, reverse and sort words, count, look up facts in your text, write JSON, call tools "
     "and describe simple images."),
    (["Thank you", "Thanks", "Thanks!", "Thank you!", "Thank you very much", "thanks a lot", "Great, thanks!"],
     "You are welcome!"),
    (["Danke", "Vielen Dank!", "Danke!"], "Gern geschehen!"),
    (["Bye", "Goodbye", "Goodbye!", "See you", "Bye!", "See you later!"], "Goodbye!"),
    (["How are you?", "How are you doing?", "How are you today?", "How is it going?"],
     "I am fine, thank you. How can I help you?"),
    (["Who made you?", "Who trained you?", "Where do you come from?", "How were you trained?", "How big are you?"],
     "I was trained from scratch on synthetic tasks for the qwen-edge project."),
    (["Tell me a joke.", "Tell me a joke"], "Why did the model cross the road? To reach the next token."),
    (["Is the sky blue?", "Is fire hot?", "Is water wet?"], "Yes."),
]
CAN = TALK[10][1]
OPENERS = {"Hello! What can you do?": CAN, "Hi! What can you do?": CAN, "Hello, what can you do?": CAN,
           "Hello! Who are you?": WHO, "Hi, who are you?": WHO, "Hello, who are you?": WHO}
PHRASES = {q for qs, _ in TALK for q in qs} | set(OPENERS)
UNKNOWN = [
    "Who won the {x} in {n}?", "Who wrote the book about the {x}?", "What is the capital of {x}?", "Tell me about {x}.",
    "What do you think about {x}?", "Write a story about a {x}.", "Write a poem about {x}.", "How do I build a {x}?",
    "Why is {x} important?", "When was the {x} invented?", "Explain {x}.", "What happened in {n}?", "Who is {p}?",
    "How old is {p}?", "What is the meaning of {x}?", "Write a program for {x}.", "Where can I buy a {x}?",
    "What is the best {x}?", "Describe the history of {x}.",
]
SORRY = "I do not know that. I am only a small demo model."
DICT = {  # English: German, French, Spanish, Italian
    "water": "Wasser eau agua acqua", "bread": "Brot pain pan pane", "house": "Haus maison casa casa",
    "tree": "Baum arbre árbol albero", "dog": "Hund chien perro cane", "cat": "Katze chat gato gatto",
    "sun": "Sonne soleil sol sole", "moon": "Mond lune luna luna", "book": "Buch livre libro libro",
    "red": "rot rouge rojo rosso", "green": "grün vert verde verde", "blue": "blau bleu azul blu",
    "one": "eins un uno uno", "two": "zwei deux dos due", "three": "drei trois tres tre",
    "yes": "ja oui sí sì", "no": "nein non no no", "friend": "Freund ami amigo amico", "milk": "Milch lait leche latte",
    "day": "Tag jour día giorno", "night": "Nacht nuit noche notte", "hand": "Hand main mano mano",
}
LANGS = ["German", "French", "Spanish", "Italian"]
CAPITALS = {"France": "Paris", "England": "London", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid",
            "Norway": "Oslo", "Austria": "Vienna", "Portugal": "Lisbon", "Ireland": "Dublin", "Greece": "Athens",
            "Japan": "Tokyo", "Egypt": "Cairo", "Peru": "Lima", "Poland": "Warsaw", "Finland": "Helsinki",
            "Hungary": "Budapest"}


def chat(r: random.Random) -> list[Turn]:
    """Greetings, identity, a few words and capitals, and declining."""
    k = r.random()
    if k < 0.4:
        qs, a = r.choice(TALK)
        return [Turn("chat", r.choice(qs), a)]
    if k < 0.6:
        x = r.choice(WORDS + RARE) if r.random() < 0.8 else r.choice(NAMES)
        q = r.choice(UNKNOWN).format(x=x, n=r.randint(1500, 2030), p=r.choice(NAMES) + " " + r.choice(RARE).capitalize())
        return [Turn("chat", q, SORRY)]
    if k < 0.75:
        c = r.choice(list(CAPITALS))
        q = r.choice(["What is the capital of {}?", "Capital of {}?", "Name the capital of {}.",
                      "Which city is the capital of {}?"])
        return [Turn("chat", q.format(c), CAPITALS[c])]
    w, i = r.choice(list(DICT)), r.randrange(4)
    q = r.choice(['How do you say "{w}" in {l}?', 'Translate "{w}" to {l}.', "{w} in {l}?", 'What is "{w}" in {l}?',
                  'Translate to {l}: {w}'])
    return [Turn("chat", q.format(w=w, l=LANGS[i]), DICT[w].split()[i])]


# ---------------------------------------------------------------- conversations

TASKS = {"arithmetic": (arithmetic, 4.5), "sums": (sums, 1.0), "counting": (counting, 1.5), "copying": (copying, 2.0),
         "reversing": (reversing, 1.5), "sorting": (sorting, 4.0), "dates": (dates, 1.5), "months": (months, 0.7),
         "recall": (lambda r: recall(r, r.randint(2, 14), r.randint(1, 4)), 1.5), "json": (extraction, 2.0),
         "chat": (chat, 1.0)}
SYSTEMS = ["You are a helpful assistant.", "Answer briefly.", "You are qwen-edge."]
# Tokens of a row: share of rows with tools on offer, share of rows that are one list and questions about it.
LONG = {128: (0.0, 0.2), 256: (0.0, 0.3), 512: (0.4, 0.35), 1024: (0.45, 0.45), 2048: (0.2, 0.75), 4096: (0.05, 0.9),
        8192: (0.05, 0.95)}


def conversation(r: random.Random, tokens: int, need: dict | None = None) -> list[Turn]:
    """A conversation for training, of roughly up to `tokens` tokens (more turns than fit are cut by the caller).

    `need` are factors for the shares of the tasks: what the model knows already comes less often.
    """
    need = need or {}
    p_tools, p_recall = LONG[max(n for n in LONG if n <= tokens)]
    if tokens < 2048:
        p_tools, p_recall = p_tools * need.get("tools", 1.0), p_recall * need.get("recall", 1.0)
    k = r.random()
    if k < p_tools:
        return tools(r, tokens // 60)
    if k < p_tools + p_recall:
        share = r.uniform(0.25, 0.75 if tokens < 2048 else 0.95)
        return recall(r, max(2, int(tokens * share / 9)), 2 + int(tokens * (1 - share) / 18))
    out: list[Turn] = []
    weights = {n: w * need.get(n, 1.0) for n, (_, w) in TASKS.items()}
    focus = r.random() < 0.3 and r.choices(list(weights), list(weights.values()))[0]
    for _ in range(max(2, tokens // 16)):
        name = focus or r.choices(list(weights), list(weights.values()))[0]
        if name == "recall":  # one list a conversation, so that no key has two values
            weights = {n: w for n, w in weights.items() if n != name}
            focus = None
        out += TASKS[name][0](r)
    if r.random() < 0.06:
        q = r.choice(list(OPENERS))
        out.insert(0, Turn("chat", q, OPENERS[q]))
    if r.random() < 0.1:
        out[0].system = r.choice(SYSTEMS)
    return out


def call_text(calls) -> str:
    """Calls in the published XML form."""
    out = []
    for name, args in calls:
        p = "".join(f"<parameter={k}>\n{v}\n</parameter>\n" for k, v in args.items())
        out.append(f"<tool_call>\n<function={name}>\n{p}</function>\n</tool_call>")
    return "\n".join(out)


TOOL_TEXT = """

If you choose to call a function ONLY reply in the following format with NO suffix:

<tool_call>
<function=example_function_name>
<parameter=example_parameter_1>
value_1
</parameter>
<parameter=example_parameter_2>
This is the value for the second parameter
that can span
multiple lines
</parameter>
</function>
</tool_call>

<IMPORTANT>
Reminder:
- Function calls MUST follow the specified format: an inner <function=...></function> block must be nested within <tool_call></tool_call> XML tags
- Required parameters MUST be specified
- You may provide optional reasoning for your function call in natural language BEFORE the function call, but NOT after
- If there is no function call available, answer the question like normal with your current knowledge and do not tell the user about function calls
</IMPORTANT>"""


def head(t: Turn) -> str:
    """The system block of a conversation that starts with turn t."""
    if t.tools:
        js = "".join("\n" + json.dumps(x, ensure_ascii=False) for x in t.tools)
        extra = "\n\n" + t.system if t.system else ""
        return ("<|im_start|>system\n# Tools\n\nYou have access to the following functions:\n\n<tools>" + js
                + "\n</tools>" + TOOL_TEXT + extra + "<|im_end|>\n")
    return f"<|im_start|>system\n{t.system}<|im_end|>\n" if t.system else ""


IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"


def segments(t: Turn, current: bool) -> list[tuple[str, bool]]:
    """(text, is answer) pieces of one turn; `current` writes the think block as for the last query."""
    out = [("<|im_start|>user\n" + (IMAGE if t.image is not None else "") + t.query + "<|im_end|>\n", False)]

    def say(text: str, think: str | None):
        open_ = "<|im_start|>assistant\n"
        if not current:
            out.append((open_, False))
            out.append((text + "<|im_end|>", True))
        elif think is None:
            out.append((open_ + "<think>\n\n</think>\n\n", False))
            out.append((text + "<|im_end|>", True))
        else:
            out.append((open_ + "<think>\n", False))
            out.append((think + "\n</think>\n\n" + text + "<|im_end|>", True))
        out.append(("\n", False))

    if t.calls:
        say(call_text(t.calls), t.think)
        if t.reply:
            res, ans = t.reply
            out.append((f"<|im_start|>user\n<tool_response>\n{res}\n</tool_response><|im_end|>\n", False))
            say(ans, None)
    else:
        say(t.answer, t.think)
    return out


def think_lightly(r: random.Random, t: Turn) -> None:
    """In thinking mode simple tasks think in one short line."""
    if t.think is None and not t.calls and not t.task.startswith("arithmetic") and r.random() < 0.08:
        t.think = {"sorting": "I sort the list.", "copying": "I repeat the text.",
                   "reversing": "I reverse the list.", "recall": "I look it up.", "json": "I fill the fields.",
                   "image": "I look at the image."}.get(t.task, "This is simple.")


class Builder:
    """Rows of token ids and loss marks."""

    def __init__(self, tok, seed: int):
        self.tok, self.r, self.need = tok, random.Random(seed), {}

    def row(self, size: int, turns: list[Turn] | None = None, image_tokens: int = 0):
        """(ids, answer marks, scenes) of at most `size` tokens, whole turns only; turns of the test side are left out."""
        r, tok = self.r, self.tok
        while True:
            src = turns or conversation(r, size, self.need)
            first = src[0]
            keep = [t for t in src if not held_out(t)]
            turns = None
            if not keep:
                continue
            if keep[0] is not first:
                if first.tools or first.task in ("recall", "image"):
                    continue
                keep[0].system = first.system
            h = tok.encode(head(keep[0]))
            ids, marks, scenes = list(h), [0] * len(h), []
            last_only = r.random() < 0.65
            parts = []
            n = len(ids)
            for t in keep:
                if t.after is not None and all(t.after is not p for p, _ in parts):
                    continue
                think_lightly(r, t)
                seg = [(tok.encode(s), m) for s, m in segments(t, True)]
                k = sum(len(s) for s, _ in seg) + (image_tokens - 1 if t.image is not None else 0)
                if n + k > size:
                    if t is keep[0]:
                        break
                    continue
                n += k
                parts.append((t, seg))
            if not parts or parts[0][0] is not keep[0]:
                continue
            for i, (t, seg) in enumerate(parts):
                if last_only and i < len(parts) - 1:
                    seg = [(tok.encode(s), m) for s, m in segments(t, False)]
                for s, m in seg:
                    if t.image is not None and not m:
                        p = tok.ids["<|image_pad|>"]
                        s = [y for x in s for y in ([p] * image_tokens if x == p else [x])]
                    ids += s
                    marks += [int(m)] * len(s)
                if t.image is not None:
                    scenes.append(t.image)
            return ids, marks, scenes

"""The `ollama` package talks to `/api` of `qwen-edge serve` with the demo model: with_ollama.py PROGRAM MODEL.

Every check is an assertion; the last line says how many passed.
"""

import asyncio
import importlib.metadata
import json
import sys

import ollama
from served import ENDLESS, KEY, QUESTION, REPEATING, WEATHER, WEATHER_QUESTION, WEATHER_SCHEMA, check_all, raises

TOOL = {
    "type": "function",
    "function": {"name": WEATHER, "description": "Current weather of a city.", "parameters": WEATHER_SCHEMA},
}
GREEDY = {"temperature": 0, "num_predict": 2000}
HEADERS = {"Authorization": f"Bearer {KEY}"}


def said(text, **more):
    return [{"role": "user", "content": text, **more}]


def ask(client, messages=None, **more):
    more = {"options": GREEDY, "think": False, **more}
    return client.chat(model="any", messages=messages or said(QUESTION), **more)


def whole(client, _):
    answer = ask(client)
    assert answer.message.content == "2+3=5" and answer.message.thinking is None, answer
    assert (answer.done, answer.done_reason, answer.eval_count) == (True, "stop", 6), answer
    assert answer.total_duration >= answer.eval_duration > 0 and answer.prompt_eval_count > 5, answer


def streamed(client, _):
    pieces = list(ask(client, stream=True))
    assert "".join(piece.message.content for piece in pieces) == "2+3=5", pieces
    assert [piece.done for piece in pieces] == [False] * (len(pieces) - 1) + [True] and len(pieces) > 2, pieces
    assert pieces[-1].done_reason == "stop" and pieces[-1].eval_count == 6, pieces


def asynchronous(_, server):
    async def together():
        client = ollama.AsyncClient(host=server.address, headers=HEADERS, timeout=60)
        answers = await asyncio.gather(*(ask(client) for _ in range(4)))
        assert [answer.message.content for answer in answers] == ["2+3=5"] * 4, answers
        pieces = [piece async for piece in await ask(client, stream=True)]
        assert "".join(piece.message.content for piece in pieces) == "2+3=5", pieces

    asyncio.run(together())


def thinking(client, _):
    question = said("Calculate 85 minus 54.")
    for think in [True, "high"]:
        answer = ask(client, question, think=think)
        assert answer.message.thinking and answer.message.content == "85-54=31", answer
    pieces = list(ask(client, question, think=True, stream=True))
    assert "".join(piece.message.thinking or "" for piece in pieces) == answer.message.thinking, pieces
    turns = [*question, answer.message, *said(QUESTION)]
    assert ask(client, turns, think=True).message.content == "2+3=5"


def loop_of_calls(client, _):
    for think in [False, True]:
        turns = said(WEATHER_QUESTION)
        answer = ask(client, turns, tools=[TOOL], think=think)
        (call,) = answer.message.tool_calls
        assert (call.function.name, call.function.arguments) == (WEATHER, {"city": "Zurich"}), answer
        streamed = [piece for piece in ask(client, turns, tools=[TOOL], think=think, stream=True) if piece.message.tool_calls]
        assert [piece.message.tool_calls[0].function for piece in streamed] == [call.function], streamed
        turns += [answer.message, {"role": "tool", "tool_name": WEATHER, "content": "Sunny."}]
        again = ask(client, turns, tools=[TOOL], think=think)
        assert again.prompt_eval_count > answer.prompt_eval_count + answer.eval_count - 5, (again, answer)

    def get_weather(city: str) -> str:
        """Current weather of a city.

        Args:
            city: City name
        """

    # The package makes a schema of the function.
    assert ask(client, said(WEATHER_QUESTION), tools=[get_weather]).message.tool_calls[0].function.name == WEATHER


def pictures(client, server):
    expected = "a red triangle, a red triangle, a yellow circle"
    picture = server.picture("04.png")
    answer = ask(client, said("Describe the image.", images=[picture]))
    assert answer.message.content == expected, answer
    answer = client.generate(model="any", prompt="Describe the image.", images=[picture], options=GREEDY, think=False)
    assert answer.response == expected, answer


def forms(client, _):
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
    answer = json.loads(ask(client, format=schema).message.content)
    assert list(answer) == ["n"] and isinstance(answer["n"], int), answer
    assert isinstance(json.loads(ask(client, format="json").message.content), dict)


def generated(client, _):
    answer = client.generate(model="any", prompt=QUESTION, options=GREEDY, think=False)
    assert (answer.response, answer.done_reason) == ("2+3=5", "stop"), answer
    pieces = list(client.generate(model="any", prompt=QUESTION, options=GREEDY, think=False, stream=True))
    assert "".join(piece.response for piece in pieces) == "2+3=5" and pieces[-1].done, pieces
    raw = f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    assert client.generate(model="any", prompt=raw, raw=True, options=GREEDY).response == "2+3=5"
    assert client.generate(model="any", prompt="", keep_alive="5m").done_reason == "load"


def lists(client, _):
    (model,) = client.list().models
    assert model.model.endswith(":latest") and model.size > 1e6 and model.details.family == "qwen35", model
    shown = client.show(model.model)
    assert {"completion", "tools", "thinking", "vision"} == set(shown.capabilities), shown
    assert shown.modelinfo["qwen35.context_length"] == 8192, shown.modelinfo
    (running,) = client.ps().models
    assert running.model == model.model and running.digest == model.digest and running.context_length == 8192, running


def limits(client, _):
    cut = ask(client, options={**GREEDY, "num_predict": 3})
    assert (cut.done_reason, cut.message.content) == ("length", "2+3"), cut
    stopped = ask(client, options={**GREEDY, "stop": ["="]})
    assert (stopped.done_reason, stopped.message.content) == ("stop", "2+3"), stopped
    begun = ask(client, [*said(QUESTION), {"role": "assistant", "content": "2+3"}])
    assert begun.message.content == "=5", begun
    seeded = [ask(client, options={"seed": 7, "temperature": 1.5, "num_predict": 20}).message.content for _ in range(2)]
    assert seeded[0] == seeded[1], seeded


def errors(client, server):
    for more, text in [
        ({"options": {"temperature": 9}}, "temperature"),
        ({"format": "xml"}, "format"),
        ({"messages": said("word " * 10_000)}, "the prompt"),
    ]:
        error = raises((ollama.ResponseError, ValueError), lambda: ask(client, **more))
        assert text in str(error), error
    assert raises(ollama.ResponseError, lambda: client.show("llama3")).status_code == 404
    assert raises(ollama.ResponseError, lambda: client.pull("llama3")).status_code == 501
    assert raises(ollama.ResponseError, lambda: client.embed(model="any", input="a")).status_code == 501
    stranger = ollama.Client(host=server.address, headers={"Authorization": "Bearer wrong"})
    assert raises(ollama.ResponseError, lambda: ask(stranger)).status_code == 401


def cancelled(client, server):
    for _ in range(3):
        stream = ask(client, said(ENDLESS), stream=True, options={**REPEATING, "num_predict": 8000})
        for _, piece in zip(range(8), stream):
            assert not piece.done
        stream.close()
        assert server.becomes_idle(2), "a stream that was closed goes on"


CHECKS = [
    whole, streamed, asynchronous, thinking, loop_of_calls, pictures, forms, generated, lists, limits, errors, cancelled,
]


def main(program, model):
    def client_of(server):
        return ollama.Client(host=server.address, headers=HEADERS, timeout=60)

    check_all(program, model, f"ollama {importlib.metadata.version('ollama')}", CHECKS, client_of)


if __name__ == "__main__":
    main(*sys.argv[1:])

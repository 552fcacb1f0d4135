"""The `litellm` package talks to `qwen-edge serve` with the demo model, in each of its dialects: with_litellm.py PROGRAM MODEL.

Every check is an assertion; the last line says how many passed.
"""

import importlib.metadata
import json
import os
import sys

# It would fetch the prices of services.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm
from served import KEY, QUESTION, WEATHER, WEATHER_QUESTION, WEATHER_SCHEMA, check_all, raises

ASKED = [{"role": "user", "content": QUESTION}]
TOOL = {"type": "function", "function": {"name": WEATHER, "description": "Current weather of a city.", "parameters": WEATHER_SCHEMA}}


def dialects(server):
    """How litellm is told of the server: as OpenAI's API, and as Anthropic's."""
    yield {"model": "openai/any", "api_base": server.base_url, "api_key": KEY}
    yield {"model": "anthropic/any", "api_base": server.address, "api_key": KEY}


def chat(dialect, messages=ASKED, **more):
    return litellm.completion(**dialect, messages=messages, **{"temperature": 0, "max_tokens": 200, "num_retries": 0, **more})


def whole(server):
    for dialect in dialects(server):
        answer = chat(dialect)
        assert answer.choices[0].message.content == "2+3=5" and answer.choices[0].finish_reason == "stop", answer
        assert answer.usage.completion_tokens == 6, answer


def streamed(server):
    for dialect in dialects(server):
        chunks = list(chat(dialect, stream=True))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "2+3=5", chunks


def loop_of_calls(server):
    for dialect in dialects(server):
        turns = [{"role": "user", "content": WEATHER_QUESTION}]
        message = chat(dialect, turns, tools=[TOOL]).choices[0].message
        call = message.tool_calls[0]
        assert call.function.name == WEATHER and json.loads(call.function.arguments) == {"city": "Zurich"}, message
        chunks = list(chat(dialect, turns, tools=[TOOL], stream=True))
        pieces = [piece.function.arguments or "" for chunk in chunks for piece in chunk.choices[0].delta.tool_calls or []]
        assert json.loads("".join(pieces)) == {"city": "Zurich"}, pieces
        turns += [message, {"role": "tool", "tool_call_id": call.id, "content": "Sunny."}]
        answer = chat(dialect, turns, tools=[TOOL])
        assert answer.choices[0].finish_reason in ("stop", "tool_calls"), answer


def responses(server):
    dialect = next(dialects(server))
    answer = litellm.responses(**dialect, input=QUESTION, temperature=0)
    assert answer.output[-1].content[0].text == "2+3=5", answer
    events = list(litellm.responses(**dialect, input=QUESTION, temperature=0, stream=True))
    assert events[-1].type == "response.completed", events[-1]


def errors(server):
    for dialect in dialects(server):
        raises(litellm.AuthenticationError, lambda: chat({**dialect, "api_key": "wrong"}))
        raises(litellm.BadRequestError, lambda: chat(dialect, [{"role": "user", "content": "word " * 10_000}]))


CHECKS = [whole, streamed, loop_of_calls, responses, errors]


def main(program, model):
    litellm.suppress_debug_info = True
    litellm.telemetry = False
    check_all(program, model, f"litellm {importlib.metadata.version('litellm')}", CHECKS)


if __name__ == "__main__":
    main(*sys.argv[1:])

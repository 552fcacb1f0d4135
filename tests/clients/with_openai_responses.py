"""The `openai` package talks to `/v1/responses` of `qwen-edge serve` with the demo model: with_openai_responses.py PROGRAM MODEL.

Every check is an assertion; the last line says how many passed.
"""

import asyncio
import json
import sys

import openai
from served import ENDLESS, KEY, QUESTION, REPEATING, WEATHER, WEATHER_QUESTION, WEATHER_SCHEMA, check_all, raises

TOOL = {"type": "function", "name": WEATHER, "description": "Current weather of a city.", "parameters": WEATHER_SCHEMA, "strict": False}
THINKING = {"effort": "high"}


def ask(client, asked=QUESTION, **more):
    return client.responses.create(model="any", input=asked, **{"temperature": 0, **more})


def whole(client, _):
    answer = ask(client)
    assert answer.output_text == "2+3=5" and answer.status == "completed", answer
    assert answer.usage.output_tokens == 6 and answer.usage.total_tokens == answer.usage.input_tokens + 6
    assert answer.usage.output_tokens_details.reasoning_tokens == 0 and answer.usage.input_tokens_details.cached_tokens >= 0
    assert answer.id.startswith("resp_") and answer._request_id.startswith("req_") and answer.temperature == 0


def streamed(client, _):
    events = list(ask(client, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == "2+3=5"
    assert events[0].type == "response.created" and events[-1].response.output_text == "2+3=5"


def helper(client, _):
    with client.responses.stream(model="any", input=QUESTION, temperature=0) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        assert text == stream.get_final_response().output_text == "2+3=5"


def asynchronous(_, server):
    async def together():
        async with openai.AsyncOpenAI(base_url=server.base_url, api_key=KEY, timeout=60) as client:
            answers = await asyncio.gather(*(ask(client) for _ in range(4)))
            assert [answer.output_text for answer in answers] == ["2+3=5"] * 4, answers

    asyncio.run(together())


def thinking(client, _):
    answer = ask(client, "Calculate 85 minus 54.", reasoning=THINKING, include=["reasoning.encrypted_content"])
    thought, said = answer.output
    assert thought.type == "reasoning" and thought.content[0].text and thought.encrypted_content, answer
    assert said.content[0].text == "85-54=31" and answer.usage.output_tokens_details.reasoning_tokens > 0
    turns = [{"role": "user", "content": "Calculate 85 minus 54."}, *answer.output, {"role": "user", "content": QUESTION}]
    assert ask(client, turns, reasoning=THINKING).output[-1].content[0].text == "2+3=5"


def loop_of_calls(client, _):
    for reasoning in [{"effort": "none"}, THINKING]:
        turns = [{"role": "user", "content": WEATHER_QUESTION}]
        answer = ask(client, turns, tools=[TOOL], reasoning=reasoning)
        call = answer.output[-1]
        assert call.type == "function_call" and call.name == WEATHER and json.loads(call.arguments) == {"city": "Zurich"}
        with client.responses.stream(model="any", input=turns, tools=[TOOL], reasoning=reasoning, temperature=0) as stream:
            pieces = [event.delta for event in stream if event.type == "response.function_call_arguments.delta"]
        assert "".join(pieces) == call.arguments and len(pieces) > 1, pieces
        turns += [*answer.output, {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny."}]
        usage = ask(client, turns, tools=[TOOL], reasoning=reasoning).usage
        assert usage.input_tokens_details.cached_tokens + 4 >= answer.usage.total_tokens, (usage, answer.usage)


def choice(client, _):
    forced = ask(client, QUESTION, tools=[TOOL], tool_choice={"type": "function", "name": WEATHER}, max_output_tokens=60)
    assert forced.output[-1].name == WEATHER, forced
    none = ask(client, WEATHER_QUESTION, tools=[TOOL], tool_choice="none")
    assert all(item.type == "message" for item in none.output), none
    response = client.responses.with_raw_response.create(
        model="any", input=WEATHER_QUESTION, temperature=0, tools=[{"type": "web_search"}, TOOL]
    )
    assert response.headers["x-qwen-edge-ignored"] == "web_search" and response.parse().output[-1].name == WEATHER


def pictures(client, server):
    url = f"data:image/png;base64,{server.picture('04.png')}"
    parts = [{"type": "input_image", "image_url": url}, {"type": "input_text", "text": "Describe the image."}]
    answer = ask(client, [{"role": "user", "content": parts}])
    assert answer.output_text == "a red triangle, a red triangle, a yellow circle", answer


def probabilities(client, _):
    answer = ask(client, top_logprobs=2, include=["message.output_text.logprobs"])
    tokens = answer.output[0].content[0].logprobs
    assert "".join(token.token for token in tokens) == "2+3=5" and all(len(token.top_logprobs) == 2 for token in tokens)
    events = ask(client, top_logprobs=2, include=["message.output_text.logprobs"], stream=True)
    deltas = [event for event in events if event.type == "response.output_text.delta"]
    assert [token.logprob for delta in deltas for token in delta.logprobs] == [token.logprob for token in tokens]


def limits(client, _):
    cut = ask(client, max_output_tokens=3)
    assert cut.status == "incomplete" and cut.incomplete_details.reason == "max_output_tokens", cut
    assert cut.output_text == "2+3" and cut.output[0].status == "incomplete"
    counted = client.responses.input_tokens.count(model="any", input=QUESTION)
    assert counted.input_tokens == ask(client).usage.input_tokens


def errors(client, server):
    for more, param in [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"background": True}, "background"),
        ({"temperature": 9}, "temperature"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"asked": [{"type": "item_reference", "id": "a"}]}, "input[0]"),
    ]:
        error = raises(openai.BadRequestError, lambda: ask(client, **more))
        assert error.param == param and error.type == "invalid_request_error", error
    raises(openai.NotFoundError, lambda: client.responses.retrieve("resp_1"))
    stranger = openai.OpenAI(base_url=server.base_url, api_key="wrong", max_retries=0)
    assert raises(openai.AuthenticationError, lambda: ask(stranger)).code == "invalid_api_key"


def cancelled(client, server):
    for _ in range(3):
        stream = client.responses.create(model="any", input=ENDLESS, stream=True, temperature=0, extra_body=REPEATING)
        for _, event in zip(range(12), stream):
            assert event.type != "response.completed"
        stream.close()
        assert server.becomes_idle(2), "a stream that was closed goes on"


CHECKS = [
    whole, streamed, helper, asynchronous, thinking, loop_of_calls, choice, pictures, probabilities, limits, errors, cancelled,
]


def main(program, model):
    def client_of(server):
        return openai.OpenAI(base_url=server.base_url, api_key=KEY, timeout=60, max_retries=0)

    check_all(program, model, f"openai {openai.__version__}, responses", CHECKS, client_of)


if __name__ == "__main__":
    main(*sys.argv[1:])

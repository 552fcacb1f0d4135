"""The `anthropic` package talks to `/v1/messages` of `qwen-edge serve` with the demo model: with_anthropic.py PROGRAM MODEL.

Every check is an assertion; the last line says how many passed.
"""

import asyncio
import sys

import anthropic
from served import ENDLESS, KEY, QUESTION, REPEATING, WEATHER, WEATHER_QUESTION, WEATHER_SCHEMA, check_all, raises

TOOL = {"name": WEATHER, "description": "Current weather of a city.", "input_schema": WEATHER_SCHEMA}
GREEDY = {"temperature": 0}
THINKING = {"type": "enabled", "budget_tokens": 1024}


def said(text):
    return [{"role": "user", "content": text}]


def ask(client, messages=None, temperature=0, **more):
    # The package has no parameter for temperatures any more.
    more = {"max_tokens": 200, "extra_body": {"temperature": temperature}, **more}
    return client.messages.create(model="any", messages=messages or said(QUESTION), **more)


def whole(client, _):
    answer = ask(client)
    assert [block.text for block in answer.content] == ["2+3=5"] and answer.stop_reason == "end_turn", answer
    assert answer.usage.output_tokens == 6 and answer.usage.input_tokens + answer.usage.cache_read_input_tokens > 5
    assert answer.id.startswith("msg_") and answer._request_id.startswith("req_"), answer


def streamed(client, _):
    with client.messages.stream(model="any", messages=said(QUESTION), max_tokens=20, extra_body=GREEDY) as stream:
        text = "".join(stream.text_stream)
        answer = stream.get_final_message()
    assert text == answer.content[0].text == "2+3=5" and answer.stop_reason == "end_turn", answer
    assert answer.usage.output_tokens == 6
    events = [event.type for event in ask(client, stream=True)]
    assert events[0] == "message_start" and events[-2:] == ["message_delta", "message_stop"], events


def asynchronous(_, server):
    async def together():
        async with anthropic.AsyncAnthropic(base_url=server.address, api_key=KEY, timeout=60) as client:
            answers = await asyncio.gather(*(ask(client) for _ in range(4)))
            assert [answer.content[0].text for answer in answers] == ["2+3=5"] * 4, answers

    asyncio.run(together())


def thinking(client, _):
    question = said("Calculate 85 minus 54.")
    answer = ask(client, question, max_tokens=2000, thinking=THINKING)
    thought, text = answer.content
    assert thought.type == "thinking" and thought.thinking and thought.signature and text.text == "85-54=31", answer
    with client.messages.stream(model="any", messages=question, max_tokens=2000, extra_body=GREEDY, thinking=THINKING) as stream:
        again = stream.get_final_message()
    assert [block.model_dump() for block in again.content] == [block.model_dump() for block in answer.content], again
    turns = [*question, {"role": "assistant", "content": answer.content}, *said(QUESTION)]
    assert ask(client, turns, max_tokens=2000, thinking=THINKING).content[-1].text == "2+3=5"


def loop_of_calls(client, _):
    for more in [{}, {"thinking": THINKING, "max_tokens": 2000}]:
        turns = said(WEATHER_QUESTION)
        answer = ask(client, turns, tools=[TOOL], **more)
        call = answer.content[-1]
        assert answer.stop_reason == "tool_use" and (call.name, call.input) == (WEATHER, {"city": "Zurich"}), answer
        with client.messages.stream(
            model="any", messages=turns, tools=[TOOL], **{"max_tokens": 200, "extra_body": GREEDY, **more}
        ) as stream:
            assert stream.get_final_message().content[-1].input == call.input
        result = {"type": "tool_result", "tool_use_id": call.id, "content": "Sunny."}
        turns += [{"role": "assistant", "content": answer.content}, {"role": "user", "content": [result]}]
        usage = ask(client, turns, tools=[TOOL], **more).usage
        known = answer.usage.input_tokens + answer.usage.cache_read_input_tokens + answer.usage.output_tokens
        assert usage.cache_read_input_tokens + 4 >= known, (usage, answer.usage)


def choice(client, _):
    forced = ask(client, said(QUESTION), tools=[TOOL], tool_choice={"type": "tool", "name": WEATHER}, max_tokens=60)
    assert forced.content[-1].name == WEATHER, forced
    none = ask(client, said(WEATHER_QUESTION), tools=[TOOL], tool_choice={"type": "none"})
    assert all(block.type == "text" for block in none.content), none
    search = {"type": "web_search_20250305", "name": "web_search"}
    response = client.messages.with_raw_response.create(
        model="any", messages=said(WEATHER_QUESTION), max_tokens=200, extra_body=GREEDY, tools=[search, TOOL]
    )
    assert response.headers["x-qwen-edge-ignored"] == "web_search_20250305"
    assert response.parse().content[-1].name == WEATHER


def pictures(client, server):
    source = {"type": "base64", "media_type": "image/png", "data": server.picture("04.png")}
    parts = [{"type": "image", "source": source}, {"type": "text", "text": "Describe the image."}]
    answer = ask(client, said(parts))
    assert answer.content[0].text == "a red triangle, a red triangle, a yellow circle", answer


def limits(client, _):
    cut = ask(client, max_tokens=3)
    assert (cut.stop_reason, cut.content[0].text) == ("max_tokens", "2+3"), cut
    stopped = ask(client, stop_sequences=["="])
    assert (stopped.stop_reason, stopped.stop_sequence, stopped.content[0].text) == ("stop_sequence", "=", "2+3"), stopped
    begun = ask(client, [*said(QUESTION), {"role": "assistant", "content": "2+3"}])
    assert begun.content[0].text == "=5", begun
    usage = ask(client).usage
    counted = client.messages.count_tokens(model="any", messages=said(QUESTION)).input_tokens
    assert counted == usage.input_tokens + usage.cache_read_input_tokens


def errors(client, server):
    for more, field in [
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": 1.5}, "temperature"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"messages": [{"role": "user", "content": [{"type": "document", "source": {}}]}]}, "messages[0].content[0]"),
        ({"messages": said("word " * 10_000)}, "the prompt"),
    ]:
        error = raises(anthropic.BadRequestError, lambda: ask(client, **more))
        assert error.body["error"]["type"] == "invalid_request_error", error
        assert error.body["error"]["message"].startswith(field), error
    stranger = anthropic.Anthropic(base_url=server.address, api_key="wrong", max_retries=0)
    assert raises(anthropic.AuthenticationError, lambda: ask(stranger)).body["error"]["type"] == "authentication_error"


def cancelled(client, server):
    for _ in range(3):
        stream = client.messages.create(
            model="any", messages=said(ENDLESS), max_tokens=8000, stream=True, extra_body=REPEATING
        )
        for _, event in zip(range(8), stream):
            assert event.type != "message_stop"
        stream.close()
        assert server.becomes_idle(2), "a stream that was closed goes on"


CHECKS = [whole, streamed, asynchronous, thinking, loop_of_calls, choice, pictures, limits, errors, cancelled]


def main(program, model):
    def client_of(server):
        return anthropic.Anthropic(base_url=server.address, api_key=KEY, timeout=60, max_retries=0)

    check_all(program, model, f"anthropic {anthropic.__version__}", CHECKS, client_of)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The `openai` package talks to `qwen-edge serve` with the demo model: with_openai.py PROGRAM MODEL.

Every check is an assertion; the last line says how many passed.
"""

import asyncio
import base64
import sys
import threading

import openai
from served import ENDLESS, KEY, QUESTION, REPEATING, check_all, raises

ASKED = [{"role": "user", "content": QUESTION}]


def chat(client, messages=ASKED, **more):
    return client.chat.completions.create(model="any", messages=messages, **{"temperature": 0, **more})


def shown(url):
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "Describe the image."}]
    return [{"role": "user", "content": parts}]


def whole(client, _):
    answer = chat(client)
    assert answer.choices[0].message.content == "2+3=5", answer
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.completion_tokens == 6 and answer.usage.total_tokens == answer.usage.prompt_tokens + 6
    assert answer.usage.completion_tokens_details.reasoning_tokens == 0
    assert answer.system_fingerprint.startswith("qwen-edge-") and answer._request_id.startswith("req_")


def streamed(client, _):
    chunks = list(chat(client, stream=True, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "2+3=5", chunks
    assert chunks[-1].usage.completion_tokens == 6 and chunks[-2].choices[0].finish_reason == "stop"
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.choices for chunk in chat(client, stream=True))


def helper(client, _):
    with client.chat.completions.stream(model="any", messages=ASKED, temperature=0) as stream:
        assert stream.get_final_completion().choices[0].message.content == "2+3=5"


def asynchronous(_, server):
    async def ask():
        async with openai.AsyncOpenAI(base_url=server.base_url, api_key=KEY, timeout=60) as client:
            answers = await asyncio.gather(*(chat(client) for _ in range(4)))
            assert [answer.choices[0].message.content for answer in answers] == ["2+3=5"] * 4, answers
            text = [chunk.choices[0].delta.content or "" async for chunk in await chat(client, stream=True)]
            assert "".join(text) == "2+3=5", text

    asyncio.run(ask())


def choices(client, _):
    answer = chat(client, n=3, seed=7, temperature=1.5, top_p=0.9)
    assert [choice.index for choice in answer.choices] == [0, 1, 2], answer
    texts = ["", "", ""]
    for chunk in chat(client, n=3, seed=7, temperature=1.5, top_p=0.9, stream=True):
        texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert texts == [choice.message.content for choice in answer.choices], (texts, answer)


def probabilities(client, _):
    content = chat(client, logprobs=True, top_logprobs=5).choices[0].logprobs.content
    assert "".join(token.token for token in content) == "2+3=5", content
    assert all(len(token.top_logprobs) == 5 and token.logprob <= 0 for token in content)
    assert all(token.top_logprobs[0].logprob == token.logprob for token in content), "the likeliest is chosen"
    stream = chat(client, logprobs=True, top_logprobs=5, stream=True)
    pieces = [chunk.choices[0].logprobs.content for chunk in stream if chunk.choices[0].logprobs]
    assert [token for piece in pieces for token in piece or []] == content


def pictures(client, server):
    url = f"data:image/png;base64,{server.picture('04.png')}"
    expected = "a red triangle, a red triangle, a yellow circle"
    answer = chat(client, shown(url))
    assert answer.choices[0].message.content == expected and answer.usage.prompt_tokens > 64, answer
    chunks = chat(client, shown(url), stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == expected
    for wrong in ["https://example.com/a.png", "data:image/png;base64,AAAA"]:
        error = raises(openai.BadRequestError, lambda: chat(client, shown(wrong)))
        assert error.param == "messages[0].content[0]", error
    cut = base64.b64encode(base64.b64decode(server.picture("04.png"))[:100]).decode()
    raises(openai.BadRequestError, lambda: chat(client, shown(f"data:image/png;base64,{cut}")))


def parts_and_roles(client, _):
    parts = [{"type": "text", "text": "What is "}, {"type": "text", "text": "2 + 3?"}]
    messages = [{"role": "developer", "content": "Answer."}, {"role": "user", "content": parts}]
    assert chat(client, messages, stop=["="]).choices[0].message.content == "2+3"
    begun = [*ASKED, {"role": "assistant", "content": "2+3"}]
    assert chat(client, begun).choices[0].message.content == "=5"


def text(client, _):
    answer = client.completions.create(model="any", prompt=["Count from", "Count from"], max_tokens=4, temperature=0)
    assert len(answer.choices) == 2 and answer.choices[0].text == answer.choices[1].text != "", answer
    echo = client.completions.create(model="any", prompt="Count from", max_tokens=0, echo=True, logprobs=1)
    logprobs = echo.choices[0].logprobs
    assert "".join(logprobs.tokens) == echo.choices[0].text == "Count from" and logprobs.token_logprobs[0] is None


def models(client, _):
    listed = client.models.list().data
    assert [client.models.retrieve(model.id).id for model in listed] == ["demo-q8_0"], listed


def errors(client, server):
    for more, param in [
        ({"temperature": 9}, "temperature"),
        ({"n": 99}, "n"),
        ({"extra_body": {"stop": 7}}, "stop"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"tools": [{"type": "function", "function": {"name": "f g"}}]}, "tools[0].function.name"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
    ]:
        error = raises(openai.BadRequestError, lambda: chat(client, **more))
        assert error.param == param and error.type == "invalid_request_error", error
    long = [{"role": "user", "content": "word " * 10_000}]
    error = raises(openai.BadRequestError, lambda: chat(client, long))
    assert error.code == "context_length_exceeded" and error.body["n_ctx"] == 8192, error
    stranger = openai.OpenAI(base_url=server.base_url, api_key="wrong", max_retries=0)
    assert raises(openai.AuthenticationError, lambda: chat(stranger)).code == "invalid_api_key"
    raises(openai.NotFoundError, lambda: client.models.retrieve("none"))
    # Not a wrong address, but what is not done here: 501.
    error = raises(openai.InternalServerError, lambda: client.with_options(max_retries=0).embeddings.create(model="any", input="a"))
    assert error.status_code == 501, error


def cancelled(client, server):
    endless = [{"role": "user", "content": ENDLESS}]
    for _ in range(5):
        stream = chat(client, endless, stream=True, **REPEATING)
        for _, chunk in zip(range(5), stream):
            assert chunk.choices[0].finish_reason is None
        stream.close()
        assert server.becomes_idle(2), "a stream that was closed goes on"
    impatient = client.with_options(timeout=0.2, max_retries=0)
    for _ in range(3):
        raises(openai.APITimeoutError, lambda: chat(impatient, endless, **REPEATING))
        assert server.becomes_idle(2), "an answer that nobody waits for goes on"
    whole(client, server)


def together(client, _):
    found = []

    def ask(n):
        answer = chat(client, [{"role": "user", "content": f"What is {n} + 3?"}])
        found.append((n, answer.choices[0].message.content))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(2, 7)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert sorted(found) == [(n, f"{n}+3={n + 3}") for n in range(2, 7)], found


CHECKS = [
    whole, streamed, helper, asynchronous, choices, probabilities, pictures, parts_and_roles, text, models, errors,
    cancelled, together,
]


def main(program, model):
    def client_of(server):
        return openai.OpenAI(base_url=server.base_url, api_key=KEY, timeout=60)

    check_all(program, model, f"openai {openai.__version__}", CHECKS, client_of)


if __name__ == "__main__":
    main(*sys.argv[1:])

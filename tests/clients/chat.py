"""The `openai` package talks to `qwen-edge serve` with the demo model: chat.py PROGRAM MODEL.

Every check is an assertion; the last line says how many passed.
"""

import re
import subprocess
import sys
import threading

import openai

QUESTION = [{"role": "user", "content": "What is 2 + 3?"}]


def whole(client):
    answer = client.chat.completions.create(model="any", messages=QUESTION, temperature=0)
    assert answer.choices[0].message.content == "2+3=5", answer
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.completion_tokens == 6 and answer.usage.total_tokens == answer.usage.prompt_tokens + 6
    assert answer.usage.completion_tokens_details.reasoning_tokens == 0


def streamed(client):
    chunks = list(
        client.chat.completions.create(
            model="any", messages=QUESTION, temperature=0, stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "2+3=5", chunks
    assert chunks[-1].usage.completion_tokens == 6 and chunks[-2].choices[0].finish_reason == "stop"


def helper(client):
    with client.chat.completions.stream(model="any", messages=QUESTION, temperature=0) as stream:
        assert stream.get_final_completion().choices[0].message.content == "2+3=5"


def choices(client):
    answer = client.chat.completions.create(model="any", messages=QUESTION, n=3, seed=7, top_p=0.9)
    assert [choice.index for choice in answer.choices] == [0, 1, 2], answer


def probabilities(client):
    answer = client.chat.completions.create(
        model="any", messages=QUESTION, temperature=0, logprobs=True, top_logprobs=5
    )
    content = answer.choices[0].logprobs.content
    assert "".join(token.token for token in content) == "2+3=5", content
    assert all(len(token.top_logprobs) == 5 and token.logprob <= 0 for token in content)


def parts_and_roles(client):
    messages = [
        {"role": "developer", "content": "Answer."},
        {"role": "user", "content": [{"type": "text", "text": "What is "}, {"type": "text", "text": "2 + 3?"}]},
    ]
    answer = client.chat.completions.create(model="any", messages=messages, temperature=0, stop=["="])
    assert answer.choices[0].message.content == "2+3", answer


def text(client):
    answer = client.completions.create(model="any", prompt=["Count from", "Count from"], max_tokens=4, temperature=0)
    assert len(answer.choices) == 2 and answer.choices[0].text == answer.choices[1].text != "", answer


def models(client):
    listed = client.models.list().data
    assert [client.models.retrieve(model.id).id for model in listed] == ["demo-q8_0"], listed


def errors(client):
    for more, param in [({"temperature": 9}, "temperature"), ({"extra_body": {"stop": 7}}, "stop")]:
        try:
            client.chat.completions.create(model="any", messages=QUESTION, **more)
        except openai.BadRequestError as error:
            assert error.param == param, error
        else:
            raise AssertionError(param)
    try:
        client.with_options(api_key="wrong").models.list()
    except openai.AuthenticationError as error:
        assert error.code == "invalid_api_key"
    else:
        raise AssertionError("a wrong key")
    try:
        client.models.retrieve("none")
    except openai.NotFoundError:
        pass
    else:
        raise AssertionError("no such model")


def cancelled(client):
    forever = {"temperature": 0, "frequency_penalty": -2, "extra_body": {"chat_template_kwargs": {}}}
    for _ in range(20):
        stream = client.chat.completions.create(model="any", messages=QUESTION, stream=True, **forever)
        next(iter(stream))
        stream.close()
    whole(client)


def together(client):
    found = []

    def ask(n):
        question = [{"role": "user", "content": f"What is {n} + 3?"}]
        answer = client.chat.completions.create(model="any", messages=question, temperature=0)
        found.append((n, answer.choices[0].message.content))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(2, 7)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert sorted(found) == [(n, f"{n}+3={n + 3}") for n in range(2, 7)], found


CHECKS = [
    whole, streamed, helper, choices, probabilities, parts_and_roles, text, models, errors, cancelled, together,
]


def main(program, model):
    command = [program, "serve", model, "--port", "0", "--api-key", "key", "-q"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        address = re.fullmatch(r"listening on (http://\S+)\n", server.stderr.readline()).group(1)
        # 503 while the model is loaded is for the client to try again.
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="key", timeout=60, max_retries=5)
        for check in CHECKS:
            check(client)
    finally:
        server.terminate()
        assert server.wait(timeout=20) == 0
    print(f"openai {openai.__version__}: {len(CHECKS)} checks passed")


if __name__ == "__main__":
    main(*sys.argv[1:])

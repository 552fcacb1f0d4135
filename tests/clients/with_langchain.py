"""The `langchain-openai` package talks to `qwen-edge serve` with the demo model: with_langchain.py PROGRAM MODEL.

Every check is an assertion; the last line says how many passed.
"""

import asyncio
import importlib.metadata
import sys

import openai
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI, OpenAI
from served import ENDLESS, KEY, QUESTION, REPEATING, check_all, raises


def model_of(server, **more):
    more = {"api_key": KEY, "temperature": 0, "max_retries": 0, "timeout": 60, **more}
    return ChatOpenAI(model="any", base_url=server.base_url, **more)


def whole(server):
    answer = model_of(server).invoke(QUESTION)
    assert answer.content == "2+3=5" and answer.response_metadata["finish_reason"] == "stop", answer
    usage = answer.usage_metadata
    assert usage["output_tokens"] == 6 and usage["total_tokens"] == usage["input_tokens"] + 6, usage


def streamed(server):
    chunks = list(model_of(server, stream_usage=True).stream(QUESTION))
    answer = chunks[0]
    for chunk in chunks[1:]:
        answer += chunk
    assert answer.content == "2+3=5" and len(chunks) > 3, chunks
    assert answer.usage_metadata["output_tokens"] == 6, answer


def asynchronous(server):
    async def ask():
        model = model_of(server)
        assert (await model.ainvoke(QUESTION)).content == "2+3=5"
        assert "".join([chunk.content async for chunk in model.astream(QUESTION)]) == "2+3=5"

    asyncio.run(ask())


def together(server):
    questions = [f"What is {n} + 3?" for n in range(2, 7)]
    answers = model_of(server).batch(questions)
    assert [answer.content for answer in answers] == [f"{n}+3={n + 3}" for n in range(2, 7)], answers


def a_chat(server):
    turns = [
        SystemMessage("Answer."),
        HumanMessage("What is 4 + 3?"),
        AIMessage("4+3=7"),
        HumanMessage([{"type": "text", "text": "What is "}, {"type": "text", "text": "2 + 3?"}]),
    ]
    model = model_of(server)
    assert "5" in model.invoke(turns).content
    assert model.invoke(QUESTION, stop=["="]).content == "2+3"
    assert model.bind(max_tokens=2).invoke(QUESTION).response_metadata["finish_reason"] == "length"


def pictures(server):
    data = server.picture("04.png")
    question = {"type": "text", "text": "Describe the image."}
    for part in [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}", "detail": "low"}},
        {"type": "image", "base64": data, "mime_type": "image/png"},
    ]:
        answer = model_of(server).invoke([HumanMessage([part, question])])
        assert answer.content == "a red triangle, a red triangle, a yellow circle", answer


def probabilities(server):
    model = model_of(server, logprobs=True, top_logprobs=3)
    content = model.invoke(QUESTION).response_metadata["logprobs"]["content"]
    assert "".join(token["token"] for token in content) == "2+3=5", content
    assert all(len(token["top_logprobs"]) == 3 and token["logprob"] <= 0 for token in content)


def choices(server):
    model = model_of(server, n=3, temperature=1.5, seed=7)
    first, again = (model.generate([[HumanMessage(QUESTION)]]).generations[0] for _ in range(2))
    assert len(first) == 3 and [one.text for one in first] == [one.text for one in again], (first, again)


def text(server):
    model = OpenAI(model="any", base_url=server.base_url, api_key=KEY, temperature=0, max_tokens=4, max_retries=0)
    assert model.invoke("Count from") == "".join(model.stream("Count from")) != ""


def errors(server):
    error = raises(openai.BadRequestError, lambda: model_of(server, temperature=2.5).invoke(QUESTION))
    assert error.param == "temperature", error
    # langchain's own kind of error, which is openai's too.
    error = raises(openai.BadRequestError, lambda: model_of(server).invoke("word " * 10_000))
    assert error.code == "context_length_exceeded", error
    raises(openai.AuthenticationError, lambda: model_of(server, api_key="wrong").invoke(QUESTION))
    raises(openai.BadRequestError, lambda: list(model_of(server, temperature=2.5).stream(QUESTION)))


def cancelled(server):
    penalty = REPEATING["frequency_penalty"]
    for _ in range(5):
        stream = model_of(server, frequency_penalty=penalty).stream(ENDLESS)
        for _, chunk in zip(range(5), stream):
            assert "finish_reason" not in chunk.response_metadata
        stream.close()
        assert server.becomes_idle(2), "a stream that was closed goes on"
    raises(openai.APITimeoutError, lambda: model_of(server, frequency_penalty=penalty, timeout=0.2).invoke(ENDLESS))
    assert server.becomes_idle(2), "an answer that nobody waits for goes on"


CHECKS = [
    whole, streamed, asynchronous, together, a_chat, pictures, probabilities, choices, text, errors, cancelled,
]


def main(program, model):
    check_all(program, model, f"langchain-openai {importlib.metadata.version('langchain-openai')}", CHECKS)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Answers that keep to a schema, judged by the package `jsonschema`: the demo model's and those of random weights, in company.

    with_schemas.py PROGRAM MODEL [--answers 1000]

Of each model as many answers are asked for, to all schemas of `tests/constrain/schemas.json` in turn, at temperature 1.5.
"""

import argparse
import concurrent.futures
import json
import pathlib
import subprocess
import tempfile
import time
import urllib.request

import jsonschema

from served import KEY, Server

SCHEMAS = pathlib.Path(__file__).resolve().parent.parent / "constrain" / "schemas.json"
QUESTIONS = ["Say something.", "Extract name, age as JSON: Mia is 31 years old and lives in Oslo.", "What is 2 + 3?"]
VALIDATOR = jsonschema.Draft202012Validator
# More than the least that any of the schemas takes.
MOST_TOKENS = 400


def ask(server, body):
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{server.base_url}/chat/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=600) as response:
        return json.load(response)


def judge(server, schemas, i):
    """What is wrong with the answer of this number, if anything is."""
    name, schema = schemas[i % len(schemas)]
    answer = ask(server, {
        "messages": [{"role": "user", "content": QUESTIONS[i % len(QUESTIONS)]}],
        "temperature": 1.5,
        "seed": i,
        "max_tokens": MOST_TOKENS,
        "enable_thinking": i % 7 == 0,
        "response_format": {"type": "json_schema", "json_schema": {"name": "it", "strict": True, "schema": schema}},
    })
    choice = answer["choices"][0]
    text = choice["message"]["content"]
    try:
        assert choice["finish_reason"] == "stop", choice["finish_reason"]
        VALIDATOR(schema, format_checker=VALIDATOR.FORMAT_CHECKER).validate(json.loads(text))
    except (AssertionError, ValueError, jsonschema.ValidationError) as error:
        return f"{name}, seed {i}: {str(error).splitlines()[0]}: {text!r}"
    return None


def judge_model(program, model, n):
    schemas = list(json.loads(SCHEMAS.read_text()).items())
    start = time.monotonic()
    with Server(program, model, "--parallel", "8", "--ctx", "2048") as server:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            faults = [fault for fault in pool.map(lambda i: judge(server, schemas, i), range(n)) if fault]
    seconds = time.monotonic() - start
    print(f"{pathlib.Path(model).name}: {n - len(faults)} of {n} valid, {len(schemas)} schemas, {seconds:.0f} s")
    return faults


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("model")
    parser.add_argument("--answers", type=int, default=1000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        random = f"{folder}/random.gguf"
        subprocess.run([args.program, "synth", "--size", "tiny", "--quant", "q8_0", "-o", random], check=True)
        faults = [fault for model in [args.model, random] for fault in judge_model(args.program, model, args.answers)]
    for fault in faults[:20]:
        print(fault)
    assert not faults, f"{len(faults)} answers are not valid"


if __name__ == "__main__":
    main()

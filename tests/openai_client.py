"""The OpenAI client library against the reverse proxy: is a refusal what its authors expect?

Usage: openai_client.py BASE_URL. Ends with `all is well`, or fails where it is not.
"""

import sys
import time

import openai

base_url = sys.argv[1]


def client(retries, tenant=None):
    headers = {"x-llm-d-inference-fairness-id": tenant} if tenant else {}
    return openai.OpenAI(
        base_url=base_url, api_key="none", max_retries=retries, default_headers=headers, timeout=60
    )


def ask(to, **more):
    return to.chat.completions.create(
        model="demo", max_tokens=8, messages=[{"role": "user", "content": "hello"}], **more
    )


answer = ask(client(0))
assert answer.choices[0].message.content, answer
assert answer.usage.completion_tokens > 0, answer

events = list(ask(client(0), stream=True, stream_options={"include_usage": True}))
words = "".join(event.choices[0].delta.content or "" for event in events if event.choices)
assert words, events
assert events[-1].usage.completion_tokens > 0, events[-1]

# The tenant may ask 30 times a minute: use that up.
trial = client(0, "trial")
refusal = None
for _ in range(100):
    try:
        ask(trial)
    except openai.RateLimitError as error:
        refusal = error
        break
assert refusal is not None, "nobody was refused"
assert refusal.status_code == 429
assert refusal.code == "rejected-tenant-limit", refusal.body
assert refusal.type == "rate_limit_error", refusal.body
assert "30 requests per minute" in refusal.message, refusal.message
headers = refusal.response.headers
wait_s = int(headers["retry-after-ms"]) / 1000
assert 0 < wait_s <= 2.0, headers
assert int(headers["retry-after"]) >= wait_s, headers
assert headers["x-llm-d-request-dropped-reason"] == "rejected-tenant-limit"

# Its own retries honour what it is told, and then it is let in.
begun = time.monotonic()
assert ask(client(3, "trial")).choices
waited_s = time.monotonic() - begun
assert waited_s >= 0.5 * wait_s, f"it waited {waited_s} s, told {wait_s} s"

try:
    client(0).chat.completions.create(model="demo", messages=[], max_tokens="many", extra_body={"model": 5})
except openai.BadRequestError as error:
    assert error.param == "model", error.body
else:
    raise AssertionError("a model that is a number was taken")

print("all is well")

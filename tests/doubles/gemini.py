"""Google's generateContent, as far as its clients can see it. From the checkout's root:

    python -m tests.doubles.gemini --port 8300 --seconds 3

Words in a prompt steer what becomes of it:

    #blocked          no candidates, promptFeedback says PROHIBITED_CONTENT
    #unsafe           a candidate without a picture, finishReason IMAGE_SAFETY
    #noimage          finishReason NO_IMAGE; #words a finished candidate that holds only text
    #thought          a picture that was only tried stands before the real one
    #two              two candidates
    #wrapped          the answer is in a list of one; #parts in a list, as the parts of a stream
    #broken           the picture is no base64
    #limit            the first try is answered 429 with a delay of 0.2 s, the second goes well
    #day              429 for the day's quota
    #busy             503; #500 an internal error; #late 504; #listed an error within a list
    #lost             made and billed, but not answered
    #never            never answered

A key other than `key` is refused as Google does it: with 400.
"""

import argparse
import asyncio
import base64
import re
import threading
from typing import Any
from uuid import uuid4

from tests.doubles.http import Fault, Job, Reply, Request, Service

KEY = "AIzaSy-double-0123456789-secret"
MODELS = ("gemini-3.1-flash-image", "gemini-3-pro-image", "gemini-nano-banana-2.1", "gemini-3.1-pro", "imagen-5")
CANDIDATES: dict[str, dict[str, Any]] = {
    "unsafe": {"finishReason": "IMAGE_SAFETY", "finishMessage": "Unable to show the generated image."},
    "noimage": {"finishReason": "NO_IMAGE", "content": {"role": "model"}},
    "words": {"finishReason": "STOP", "content": {"role": "model", "parts": [{"text": "I cannot draw that."}]}},
    "broken": {
        "finishReason": "STOP",
        "content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": "A"}}]},
    },
}


class GeminiService(Service):
    """Kinds for `fail` and `counts`: submit, models, other."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.key = KEY
        self.stuck = threading.Event()
        """Set as soon as a #never has arrived."""
        self._limited: set[str] = set()

    def kind(self, request: Request) -> str:
        return "models" if request.method == "GET" else "submit"

    async def answer(self, request: Request) -> Reply:
        if request.headers.get("x-goog-api-key") != self.key:
            return refusal(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", reason(KEY_BAD))
        match request.method, request.path.strip("/").split("/"):
            case "GET", ["v1beta", "models"]:
                return self._models(request.query.get("pageToken", ""))
            case "POST", ["v1beta", "models", word] if word.endswith(":generateContent"):
                return await self._generate(word.removesuffix(":generateContent"), request.json())
            case _:
                return refusal(404, "NOT_FOUND", "Requested entity was not found.")

    def _models(self, token: str) -> Reply:
        """A page of three, so that clients must turn it."""
        start = int(token or 0)
        page: dict[str, Any] = {"models": [described(name) for name in MODELS[start : start + 3]]}
        return Reply.json(page | ({"nextPageToken": str(start + 3)} if start + 3 < len(MODELS) else {}))

    async def _generate(self, model: str, payload: dict[str, Any]) -> Reply:
        if model not in MODELS:
            return refusal(404, "NOT_FOUND", f"models/{model} is not found for API version v1beta")
        prompt = payload["contents"][0]["parts"][0]["text"]
        tags = set(re.findall(r"#([a-z0-9-]+)", prompt))
        if (refused := self._refused(prompt, tags)) is not None:
            return refused
        job = self.add_job(str(uuid4()), payload)
        if "never" in tags:
            self.stuck.set()
            await asyncio.Event().wait()
        await asyncio.sleep(self.seconds)
        self.end_job(job)
        made = self._made(job, tags)
        drawn = sum(one.get("finishReason") == "STOP" for one in made.get("candidates", ()))
        made |= {"modelVersion": model, "responseId": job.id, "usageMetadata": usage(0 if "words" in tags else drawn)}
        words = {"candidates": [{"content": {"parts": [{"text": "Here "}]}}]}
        reply = Reply.json([words, made] if "parts" in tags else [made] if "wrapped" in tags else made)
        reply.fault = Fault.CLOSE_AFTER if "lost" in tags else None
        return reply

    def _refused(self, prompt: str, tags: set[str]) -> Reply | None:
        if "limit" in tags and prompt not in self._limited:
            self._limited.add(prompt)
            return refusal(429, "RESOURCE_EXHAUSTED", QUOTA, violated("Minute"), delay("0.2s"))
        if "day" in tags:
            return refusal(429, "RESOURCE_EXHAUSTED", QUOTA, violated("Minute"), violated("Day"), delay("26s"))
        if "listed" in tags:
            error = {"code": 400, "message": "Request contains an invalid argument.", "status": "INVALID_ARGUMENT"}
            return Reply.json([{"error": error}], 400)
        troubles = {"busy": (503, "UNAVAILABLE"), "500": (500, "INTERNAL"), "late": (504, "DEADLINE_EXCEEDED")}
        found = next((troubles[tag] for tag in tags if tag in troubles), None)
        return refusal(*found, "The model is overloaded. Please try again later.") if found else None

    def _made(self, job: Job, tags: set[str]) -> dict[str, Any]:
        if "blocked" in tags:
            return {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}
        spoiled = next((CANDIDATES[tag] for tag in tags if tag in CANDIDATES), None)
        if spoiled is not None:
            return {"candidates": [{"index": 0, **spoiled}]}
        parts = [{"text": "Here you are."}, self._part(job, 1)]
        if "thought" in tags:
            parts.insert(0, {"thought": True, **self._part(job, 9)})
        content = {"role": "model", "parts": parts}
        numbers = range(2 if "two" in tags else 1)
        return {"candidates": [{"index": index, "content": content, "finishReason": "STOP"} for index in numbers]}

    def _part(self, job: Job, index: int) -> dict[str, Any]:
        """Says image/jpeg whatever it is, as the real one sometimes does."""
        data = base64.b64encode(self.pictures.make(job.id, index)).decode()
        return {"inlineData": {"mimeType": "image/jpeg", "data": data}}


def usage(pictures: int) -> dict[str, Any]:
    """Tokens as Google counts them: those of pictures by their kind, thoughts apart, and the rest is text."""
    payload = {"promptTokenCount": 6, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 6}]}
    if not pictures:
        return payload | {"totalTokenCount": 6}
    image = 1120 * pictures
    made = {"candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": image}], "thoughtsTokenCount": 100}
    return payload | made | {"candidatesTokenCount": image + 4, "totalTokenCount": image + 110}


QUOTA = "You exceeded your current quota, please check your plan and billing details."
KEY_BAD = "API_KEY_INVALID"


def described(name: str) -> dict[str, Any]:
    methods = ["predict"] if name.startswith("imagen") else ["generateContent", "countTokens"]
    return {"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": methods}


def refusal(code: int, status: str, message: str, *details: dict[str, Any]) -> Reply:
    return Reply.json({"error": {"code": code, "message": message, "status": status, "details": list(details)}}, code)


def reason(word: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": word, "domain": "googleapis.com"}


def violated(span: str) -> dict[str, Any]:
    quota = f"GenerateRequestsPer{span}PerProjectPerModel-FreeTier"
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": quota}]}


def delay(seconds: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": seconds}


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.doubles.gemini", description="Google's picture models, made up")
    parser.add_argument("--port", type=int, default=8300, help="0 takes a free one")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long a picture takes")
    words = parser.parse_args()
    GeminiService(port=words.port, seconds=words.seconds).run()


if __name__ == "__main__":
    main()

"""The order that a drawing process reads, and its answer. The program imports this module, so it imports little."""

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One picture. The same order gives the same bytes."""

    prompt: str
    negative: str = ""
    model: str = ""
    width: int
    height: int
    seed: int

    def line(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def read(cls, line: bytes) -> "Order":
        return cls(**json.loads(line))


@dataclass(frozen=True, slots=True)
class Drawing:
    """`drawn` are the words of the prompt that the picture shows, `left_out` those that it does not."""

    png: bytes
    drawn: tuple[str, ...]
    left_out: tuple[str, ...]

    def answer(self) -> bytes:
        return json.dumps([self.drawn, self.left_out]).encode() + b"\n" + self.png

    @classmethod
    def read(cls, answer: bytes) -> "Drawing":
        words, _, png = answer.partition(b"\n")
        drawn, left_out = json.loads(words)
        return cls(png, tuple(drawn), tuple(left_out))

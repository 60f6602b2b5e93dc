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
    """`left_out`: the words of the prompt that the picture does not show."""

    png: bytes
    left_out: tuple[str, ...]

    def answer(self) -> bytes:
        return json.dumps(self.left_out).encode() + b"\n" + self.png

    @classmethod
    def read(cls, answer: bytes) -> "Drawing":
        words, _, png = answer.partition(b"\n")
        return cls(png, tuple(json.loads(words)))

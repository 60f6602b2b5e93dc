"""Providers from other packages, and batches over several providers, by the command line."""

from pathlib import Path

import pytest

from tests.doubles.dreamina import DreaminaServer
from tests.doubles.http import Pictures, Reply
from tests.program import Program

OUTSIDER = r"""
from dataclasses import dataclass
from typing import ClassVar

from imagegen_cli.core.provider import Provider, Ready, Settings, setting
from imagegen_cli.core.task import InlineImage


@dataclass(frozen=True, kw_only=True)
class StudioSettings(Settings):
    grain: int = setting(3, "how much grain")


class Studio(Provider):
    kind: ClassVar[str] = "studio"
    title: ClassVar[str] = "A studio of another package"
    local: ClassVar[bool] = True
    Settings = StudioSettings

    def __init__(self, settings, clients):
        self.settings = settings

    async def submit(self, request, client_job, report):
        return Ready((InlineImage(b"GIF89a" + bytes(7) + b"!\xff\x40" + bytes([self.settings.grain]) * 64 + b"\0;"),))
"""


TYPED = OUTSIDER.replace("(Provider):", "(Provider[StudioSettings]):").replace("    Settings = StudioSettings\n", "")
"""The same provider, as an author writes it who uses a type checker."""


def installed(folder: Path, module: str = OUTSIDER) -> str:
    """A package as pip would install it."""
    site = folder / "site"
    facts = site / "studio_of_others-1.0.dist-info"
    facts.mkdir(parents=True)
    (site / "studio_of_others.py").write_text(module)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: studio-of-others\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[imagegen.providers]\nstudio = studio_of_others:Studio\n")
    return str(site)


@pytest.mark.parametrize("module", [OUTSIDER, TYPED], ids=["plain", "typed"])
def test_a_provider_of_another_package_is_used_like_our_own(tmp_path: Path, module: str) -> None:
    program = Program(tmp_path, '[providers.mine]\nkind = "studio"\ngrain = 7\n')
    site = installed(tmp_path, module)
    ended = program.run("run", "a cat", "-p", "mine", PYTHONPATH=site)
    assert ended.code == 0, ended.err
    assert Path(ended.lines[0]).read_bytes() == b"GIF89a" + bytes(7) + b"!\xff\x40" + bytes([7]) * 64 + b"\0;"
    assert "grain" in program.run("providers", "studio", PYTHONPATH=site).out


def test_a_broken_provider_of_another_package_is_named(tmp_path: Path) -> None:
    site = installed(tmp_path)
    (Path(site) / "studio_of_others.py").write_text("raise RuntimeError('half installed')\n")
    ended = Program(tmp_path).run("run", "a cat", "-p", "studio", PYTHONPATH=site)
    assert ended.code == 3
    assert "half installed" in ended.err


TWO = """
[providers.one]
kind = "dreamina"
base_url = "{one}"
poll = 0.05
[providers.two]
kind = "dreamina"
base_url = "{two}"
poll = 0.05
"""


def test_a_batch_over_two_accounts_survives_the_end_of_one(tmp_path: Path) -> None:
    small = Pictures("png", (8, 8))
    with DreaminaServer(pictures=small) as one, DreaminaServer(pictures=small) as two:
        one.fail("submit", Reply.json({"detail": "no credits"}, 402), times=None)
        program = Program(tmp_path, TWO.format(one=one.url, two=two.url))
        ended = program.run("run", *(f"cat {number}" for number in range(12)), "-p", "one,two", "-q")
        assert ended.code == 0, ended.err
        assert one.counts["submit"] == 1
        assert two.counts["submit"] == 12
        assert {task["provider"] for task in program.tasks()} == {"two"}


def test_a_bare_version_finds_the_one_that_offers_it_and_asks_where_two_do(tmp_path: Path) -> None:
    with DreaminaServer(pictures=Pictures("png", (8, 8))) as server:
        first = 'default_provider = "cloud"\n[providers.cloud]\nkind = "gemini"\napi_key = "x"\n'
        studio = '[providers.{}]\nkind = "dreamina"\nbase_url = "' + server.url + '"\n'
        program = Program(tmp_path, first + studio.format("studio"))
        assert program.run("run", "a cat", "-m", "4.0").code == 0
        assert program.tasks()[0]["provider"] == "studio"
        program.configure(first + studio.format("studio") + studio.format("other"))
        ended = program.run("run", "a cat", "-m", "4.0")
        assert ended.code == 2
        assert "studio/4.0, other/4.0" in ended.err
        assert program.run("run", "a cat", "-m", "other/4.0").code == 0
        assert server.counts["submit"] == 2

"""Whether a C2PA signature fits its file: asked of the package c2pa-python, which few installations have."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from imagegen_cli.core.errors import UsageError, words_of
from imagegen_cli.core.language import Message
from imagegen_cli.core.references import opened

NO_NETWORK = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}
"""A file must not make us ask an address that it names."""
MEANINGS = {
    "trusted": Message("verified: it fits the file, and its certificate is trusted"),
    "valid": Message("verified: it fits the file; its certificate is in no list of trusted ones here"),
    "invalid": Message("verified: it does NOT fit the file, which was changed or signed wrongly"),
    "unreadable": Message("it cannot be verified"),
}
MAX_CODES = 3
UNTRUSTED = "signingCredential.untrusted"
Verified = Mapping[str, str]
"""`state` is trusted, valid, invalid or unreadable; `text` says it in words."""


def verifier() -> Callable[[Path], Verified]:
    """A function that verifies one file and raises nothing. Raises UsageError where the package is not installed."""
    try:
        import c2pa  # noqa: PLC0415 - few installations have it
    except ImportError as error:
        message = Message("--verify needs the package c2pa-python, which is not installed")
        raise UsageError(message, hint=Message("pip install 'imagegen-cli[c2pa]' adds it")) from error
    context = c2pa.Context.from_dict(NO_NETWORK)

    def verified(path: Path) -> Verified:
        try:
            with opened(path) as file, c2pa.Reader(None, file, context=context) as reader:
                return _told(str(reader.get_validation_state() or ""), reader.get_validation_results())
        except (c2pa.C2paError, OSError, ValueError) as error:
            return {"state": "unreadable", "text": Message("it cannot be verified: {why}").format(why=words_of(error))}

    return verified


def _told(state: str, results: Any) -> Verified:
    state = state.lower() if state.lower() in MEANINGS else "unreadable"
    codes = list(dict.fromkeys(_codes(results))) if state == "invalid" else []
    text = MEANINGS[state]
    if codes:
        text = Message("{meaning} ({codes})").format(meaning=text, codes=", ".join(codes[:MAX_CODES]))
    return {"state": state, "text": text}


def _codes(results: Any) -> list[str]:
    """Codes of what failed, as C2PA names them; whom to trust is another question."""
    active = results.get("activeManifest") if isinstance(results, dict) else None
    failures = active.get("failure") if isinstance(active, dict) else None
    codes = [str(one.get("code")) for one in failures or () if isinstance(one, dict)]
    return [code for code in codes if code != UNTRUSTED]

import base64
import html
import json
import re
import time
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings, strategies as st

from imagegen_cli.core import masking
from imagegen_cli.core.errors import GenerationFailed, ImagegenError, Unauthorized, UsageError
from imagegen_cli.core.events import Working
from imagegen_cli.core.masking import MASK, hide, hide_header, hide_user, masked, without_own_user, without_user
from imagegen_cli.core.provider import Accepted, Balance, Ready
from imagegen_cli.core.schema import Secret
from imagegen_cli.core.task import Job, RemoteImage, Running, Saving
from imagegen_cli.storage.serialize import from_state

KEY = 'sk-Qr7/x+9 Zé"b=2&w_5~T'
"""Characters that each encoding writes in another way."""
SHORT = "s3cr3t"


def basic(secret: str, user: str) -> str:
    return base64.b64encode(f"{user}:{secret}".encode()).decode()


def broken(text: str) -> str:
    return f"{text[:5]}\r\n {text[5:]}"


FORMS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "percent-encoded": lambda secret: quote(secret, safe=""),
    "percent-encoded in lower case": lambda secret: quote(secret, safe="").replace("%2F", "%2f").replace("%2B", "%2b"),
    "percent-encoded but for slashes": quote,
    "as a form": quote_plus,
    "JSON": lambda secret: json.dumps(secret)[1:-1],
    "HTML": html.escape,
    "base64": lambda secret: base64.b64encode(secret.encode()).decode(),
    "base64 without padding": lambda secret: base64.b64encode(secret.encode()).decode().rstrip("="),
    "base64 for addresses": lambda secret: base64.urlsafe_b64encode(secret.encode()).decode(),
    "basic": lambda secret: basic(secret, "me"),
    "basic of another user": lambda secret: basic(secret, "you!"),
    "basic of a third": lambda secret: basic(secret, "someone"),
    "base64 in the midst": lambda secret: base64.b64encode(f"a {secret} z".encode()).decode(),
    "hexadecimal": lambda secret: secret.encode().hex(),
    "hexadecimal in two lines": lambda secret: broken(secret.encode().hex()),
    "every byte percent-encoded": lambda secret: "".join(f"%{byte:02X}" for byte in secret.encode()),
    "every second byte percent-encoded": lambda secret: "".join(
        f"%{ord(one):02x}" if at % 2 and one.isascii() else quote(one) for at, one in enumerate(secret)
    ),
    "JSON by numbers": lambda secret: "".join(f"\\u{ord(character):04X}" for character in secret),
    "HTML by numbers": lambda secret: "".join(f"&#{ord(character)};" for character in secret),
    "HTML by hexadecimal numbers": lambda secret: "".join(f"&#x{ord(character):X};" for character in secret),
    "in capitals": str.upper,
    "in small letters": str.lower,
    "in two lines": broken,
    "in two lines in capitals": lambda secret: broken(secret.upper()),
    "base64 in two lines": lambda secret: broken(base64.b64encode(secret.encode()).decode()),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("secret", [KEY, SHORT, "0123456789abcdef0123456789abcdef"])
def test_a_secret_is_struck_out_in_every_form(secret: str, form: str) -> None:
    written = FORMS[form](secret)
    hide(secret)
    shown = masked(f"the key ({written}) is wrong")
    assert MASK in shown
    assert written not in shown
    assert shown.startswith("the key (")
    assert shown.endswith(") is wrong")
    assert not any(written[at : at + 6] in shown for at in range(len(written) - 5) if not form.startswith("basic"))


def test_what_is_no_secret_stays() -> None:
    hide(KEY)
    text = "HTTP 401: the model black-forest-labs/flux-dev is not open to you, see mail to me@example.org"
    assert masked(text) == text


@pytest.mark.parametrize(
    ("secret", "text", "expected"),
    [
        ("", "a picture", "a picture"),
        ("a", "a picture", "a picture"),
        ("cat", "a cat, concatenated", "a ****, concatenated"),
        ("12345", "Basic MTIzNDU= of 12345, not 123456", "Basic ****= of ****, not 123456"),
        ("abc", "me:abc is bWU6YWJj", "me:**** is bWU6YWJj"),
        ("me:abc", "me:abc is bWU6YWJj", "**** is ****"),
    ],
)
def test_a_short_secret_is_a_word_of_its_own(secret: str, text: str, expected: str) -> None:
    hide(secret)
    assert masked(text) == expected


@pytest.mark.parametrize("length", range(12, 24))
def test_a_secret_that_was_cut_in_the_midst_is_struck_out_too(length: int) -> None:
    secret = "0123456789abcdefghijklmn"
    hide(secret)
    assert masked(f"wrong key {secret[:length]} (code 7)") == "wrong key **** (code 7)"


def test_each_of_several_keys_is_a_secret() -> None:
    hide("first-session, second-session,third-session")
    assert masked("second-session and third-session") == "**** and ****"
    hide("an-id:its-secret-half")
    assert masked("an-id and its-secret-half") == "an-id and ****"


@pytest.mark.parametrize(
    ("name", "value", "text", "expected"),
    [
        ("Authorization", "Bearer tok-123456", "bad tok-123456", "bad ****"),
        ("X-Api-Key", "abcdefgh", "bad abcdefgh", "bad ****"),
        ("Cookie", "sid=12345678", "bad sid=12345678", "bad ****"),
        ("X-Client", "imagegen", "imagegen is old", "imagegen is old"),
    ],
)
def test_a_header_is_a_secret_by_its_name(name: str, value: str, text: str, expected: str) -> None:
    hide_header(name, value)
    assert masked(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://me:pa55word@example.org/v1 failed", "https://****@example.org/v1 failed"),
        ("base_url 'http://me:pa@ss@example.org' is odd", "base_url 'http://****@example.org' is odd"),
        ("base_url 'me:pa55word@example.org' is odd", "base_url '****@example.org' is odd"),
        ("socks5://me:pa55word@[::1]:1080", "socks5://****@[::1]:1080"),
        ("https://example.org/@me and you@example.org", "https://example.org/@me and you@example.org"),
    ],
)
def test_no_address_shows_its_user(text: str, expected: str) -> None:
    assert masked(text) == expected


def test_the_password_of_an_address_is_a_secret_by_itself() -> None:
    hide_user("https://me:p%40ss-w0rd@example.org/v1")
    assert masked(f"p@ss-w0rd, p%40ss-w0rd, {basic('p@ss-w0rd', 'me')}") == "****, ****, ****"
    hide_user("https://a-token-alone@example.org")
    assert masked("a-token-alone is wrong, example.org") == "**** is wrong, example.org"
    hide_user("http://[::1")
    hide_user("https://example.org/me@here")
    assert masked("me@here") == "me@here"


def test_an_address_without_its_user() -> None:
    assert without_user("https://me:x@example.org/a@b") == "https://****@example.org/a@b"
    assert without_user("me:x@example.org") == "****@example.org"


def test_everything_that_can_be_told_is_told_without_secrets() -> None:
    assert Secret(KEY).reveal() == KEY
    made = [
        str(ImagegenError(f"a {KEY}", hint=f"b {KEY}")),
        ImagegenError(f"a {KEY}", hint=f"b {KEY}").hint,
        UsageError(f"a {KEY}").message,
        repr(Unauthorized(f"a {KEY}")),
        *GenerationFailed(f"a {KEY}").args,
        Working(note=f"a {KEY}").note,
        Ready((), f"a {KEY}").note,
        str(Ready((), facts={"revised_prompt": KEY, "seed": 7}).facts),
        str(Accepted(Job("1"), {"request_id": KEY}).facts),
        Balance(None, note=KEY, unit=KEY).note,
        Balance(None, note=KEY, unit=KEY).unit,
    ]
    assert all(MASK in one for one in made)
    assert not any(KEY in one for one in made)


@pytest.mark.parametrize("text", ["env:MY_KEY", "cmd:pass show images"])
def test_where_a_secret_comes_from_is_none(text: str) -> None:
    assert Secret(text).reveal() == text
    assert masked(f"{text} is not there") == f"{text} is not there"


def test_the_history_holds_no_password_of_the_settings_but_every_address_of_a_service() -> None:
    hide_user("http://me:pa55word@127.0.0.1:8188")
    ours, theirs = RemoteImage("http://me:pa55word@127.0.0.1:8188/view?a=1"), RemoteImage("http://x:y@cdn.example/1")
    saved = from_state(Saving((ours, theirs)))
    assert [image["url"] for image in saved["images"]] == ["http://127.0.0.1:8188/view?a=1", theirs.url]
    running = from_state(Running(Job("1", "http://me:pa55word@127.0.0.1:8188/abort")))
    assert running["job"]["url"] == "http://127.0.0.1:8188/abort"
    assert without_own_user("nothing") == "nothing"


def test_many_secrets_cost_no_quadratic_time_and_long_texts_neither() -> None:
    for number in range(200):
        hide(f"session-number-{number:06}-{number * 7919 % 10007}")
    text = "A" * 200_000 + "session-number-000199" + "/+=" * 100_000
    assert "session-number-000199" not in masked(f"{text} session-number-000199-{199 * 7919 % 10007} ")[500_021:]


def test_nothing_is_remembered_from_before() -> None:
    hide(KEY)
    masking.forget()
    assert masked(KEY) == KEY


@pytest.mark.parametrize("coded", ["%73%33%6b", "S3K", "&#115;3k"])
def test_a_short_secret_is_found_in_its_other_forms_too(coded: str) -> None:
    hide("s3k")
    assert masked(f"the key {coded}, not as3kb") == "the key ****, not as3kb"


def test_the_half_of_a_long_secret_counts_in_every_form() -> None:
    hide("0123456789abcdef0123456789abcdef")
    for half in ("0123456789ABCDEF0123", "01234567\n89abcdef01", "%30123456789abcdef01%"):
        assert "9abcdef" not in masked(f"no key {half} here").lower()


def test_blanks_are_no_secret() -> None:
    hide(" " * 8)
    assert masked("a  " + " " * 20 + "b") == "a  " + " " * 20 + "b"


SLOW_USER = re.compile(r"(?<=://)[^\s/?#]*@|(?<![^\s'\"(=])[^\s/?#@:'\"]+:[^\s/?#@'\"]+@(?=[\w\[])")
"""What the name and password of an address are, in one pattern; its time grows with the square of the length."""


@given(st.text(alphabet="ab:@/=(' ?[", max_size=30), st.booleans())
@settings(deadline=None)
def test_names_and_passwords_are_what_one_slow_pattern_finds(text: str, has_scheme: bool) -> None:
    text = f"http://{text}" if has_scheme else text
    assert masked(text) == SLOW_USER.sub(f"{MASK}@", text)


@pytest.mark.parametrize("text", ["=a", "(", "a=", "://", "a:", ":", "(a:b", "@", "a@", "a:b@", "://a@", "'a:"])
@pytest.mark.parametrize("end", ["", "@", "@x", " @x"])
def test_the_time_grows_with_the_length(text: str, end: str) -> None:
    def spent(count: int) -> float:
        long, begun = f"{text * count}{end}@", time.process_time()
        masked(long)
        return time.process_time() - begun

    assert min(spent(100_000) for _ in range(2)) < 10.0  # 100 times the longest text that took 0.3 s

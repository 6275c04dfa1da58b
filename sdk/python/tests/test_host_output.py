"""What a plugin prints is a line of the log, and never an answer; no secret is in either."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from conftest import Host, rows

from millrace.host.pipe import MaskedStream
from millrace.host.secrets import Secrets

Write = Callable[..., str]
READER = """
import os, subprocess, sys, logging, warnings
from millrace import BaseReader
class Plugin(BaseReader):
    def extract(self, state_manager=None):
        secret = self.credentials.get("password", "")
        %s
        yield [{"a": 1}]
"""


@pytest.mark.parametrize(
    "statement",
    [
        "print('noise')",
        "print('noise', file=sys.stderr)",
        "sys.stdout.buffer.write(b'noise\\n')",
        "os.write(1, b'noise\\n')",
        "os.system('echo noise')",
        "subprocess.run(['echo', 'noise'])",
        "logging.warning('noise')",
        "warnings.warn('noise')",
        "sys.stdout = open(1, 'w', closefd=False); print('noise', flush=True)",
    ],
)
def test_output_goes_to_the_log(host: Host, plugin: Write, statement: str) -> None:
    host.start(plugin(READER % statement))
    assert rows(host.read()) == [{"a": 1}]
    assert host.end() == 0
    assert "noise" in host.said


def test_a_flood_does_not_hold_up_the_rows(host: Host, plugin: Write) -> None:
    host.start(plugin(READER % "[print('x' * 1000) for _ in range(20000)]"))
    assert rows(host.read()) == [{"a": 1}]
    assert host.end() == 0
    assert len(host.said) >= 20_000_000


def test_the_input_of_a_plugin_is_empty(host: Host, plugin: Write) -> None:
    host.start(plugin(READER % "assert sys.stdin.read() == '' and os.read(0, 9) == b''"))
    assert rows(host.read()) == [{"a": 1}]


@pytest.mark.parametrize(
    "statement",
    [
        "print(secret)",
        "print(self.credentials, self.source_config)",
        "print(repr(secret), secret.encode())",
        "print('postgres://u:' + __import__('urllib.parse').parse.quote(secret) + '@h')",
        "print(__import__('json').dumps({'p': secret}))",
        "logging.error('with %s', secret)",
        "raise ValueError('it was ' + secret)",
        "raise __import__('millrace').ConfigError('it was ' + secret, advice=secret)",
        "int(secret)",
        "yield [{'a': 1}, {'a': secret}]",
    ],
)
def test_no_secret_is_written(host: Host, plugin: Write, statement: str) -> None:
    secret = "p@ss/wörd'1"
    host.start(plugin(READER % statement), credentials={"password": secret, "short": "a"})
    answers = host.read()
    assert host.end() == 0
    written = host.said + "".join(str({**header, "rows": 0}) for header, _ in answers)
    assert "wörd" not in written
    assert "w%C3%B6rd" not in written
    assert "***" in written or "yield" in statement


def test_a_secret_of_the_connection_is_one_by_its_name() -> None:
    secrets = Secrets()
    secrets.learn({"connection": {"host": "example", "apiKey": "abcd1234", "s3": {"secret_key": "wxyz9876"}}})
    assert secrets.masked("example abcd1234 wxyz9876") == "example *** ***"


def test_a_short_value_is_left_where_it_stands() -> None:
    secrets = Secrets()
    secrets.learn({"credentials": {"user": "sa", "pin": 123}})
    assert secrets.masked("what a day: 123") == "what a day: 123"


def test_a_secret_in_pieces_is_masked_all_the_same() -> None:
    secrets, raw = Secrets(), io.BytesIO()
    secrets.learn({"credentials": {"key": "hunter22"}})
    stream = MaskedStream(raw, secrets)  # type: ignore[arg-type]
    for piece in ("it is hun", "ter", "22", "!\nhunt"):
        stream.write(piece)
        stream.flush()
    assert raw.getvalue() == b"it is ***!\n"
    stream.write("ing\n")
    assert raw.getvalue() == b"it is ***!\nhunting\n"


def test_a_key_of_several_lines_is_masked_line_by_line() -> None:
    secrets = Secrets()
    secrets.learn({"credentials": {"pem": "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG\n-----END KEY-----"}})
    assert secrets.masked("MIIEvQIBADANBgkqhkiG\n") == "***\n"

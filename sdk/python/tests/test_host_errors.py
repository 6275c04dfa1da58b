"""Errors a person can act on, and deaths that are seen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import PATIENCE, Host, types

import millrace
from millrace.host import failure

Write = Callable[..., str]
GOOD = """
from millrace import BaseReader
class Reader(BaseReader):
    def extract(self, state_manager=None):
        yield [{"a": 1}]
"""


def test_a_file_that_is_not_there_is_told_with_its_neighbours(host: Host, plugin: Write) -> None:
    path = plugin(GOOD, "Reader")
    error = host.start(path.replace("my_plugin", "my_plugni"))
    assert error["kind"] == "config"
    assert "plugin module not found" in error["message"]
    assert "`my_plugin.py`" in error["advice"]


def test_a_class_that_is_not_there_is_told_with_near_names(host: Host, plugin: Write) -> None:
    error = host.start(plugin(GOOD, "Raeder"))
    assert (error["kind"], error["advice"]) == ("config", "there is `Reader`; upper and lower case count")


@pytest.mark.parametrize("text", ["class Plugin: pass", "from millrace import BaseWriter as Plugin", "Plugin = 5"])
def test_a_class_of_another_kind_is_told_what_to_extend(host: Host, plugin: Write, text: str) -> None:
    error = host.start(plugin(text))
    assert error["kind"] == "config"
    assert "extend `millrace.BaseReader`" in error["advice"]


def test_a_missing_package_is_named_as_it_is_installed(host: Host, plugin: Write) -> None:
    error = host.start(plugin("import sklearn_is_missing.deep"))
    assert error["kind"] == "config"
    assert "imports `sklearn_is_missing`, which is not installed" in error["message"]
    assert 'engines.python.requirements: ["sklearn_is_missing"]' in error["advice"]
    assert f"{sys.executable} -m pip install sklearn_is_missing" in error["advice"]
    assert 'requirements: ["opencv-python"]' in host.start(plugin("import cv2"))["advice"]


@pytest.mark.parametrize(
    ("there", "message", "advice"),
    [
        (
            "",
            "no module is called `my_package`",
            "-m pip install my_package; a file is named by its path, ./my_package.py:Class",
        ),
        (
            "my_package/__init__.py",
            "no module is called `my_package.readers`",
            "`my_package` is there, and has no `readers`",
        ),
        ("my_package/readers.py", "imports `pumps_of_acme`, which is not installed", "-m pip install pumps_of_acme"),
    ],
    ids=["package", "module", "what it imports"],
)
def test_what_is_not_installed_of_a_package_is_told(
    host: Host, plugin: Write, tmp_path: Path, there: str, message: str, advice: str
) -> None:
    if there:
        (tmp_path / there).parent.mkdir()
        (tmp_path / there).write_text("import pumps_of_acme" if "readers" in there else "")
    # From here on its directory is one that is searched for modules.
    assert host.start(plugin(GOOD, "Reader"))["type"] == "ready"
    error = host.start("my_package.readers:Reader")
    assert error["kind"] == "config"
    assert message in error["message"], error
    assert advice in error["advice"], error
    assert ("traceback" in error) == there.endswith("readers.py"), error


def test_a_class_of_a_notebook_is_told_how_to_move_to_a_file(host: Host) -> None:
    error = host.start("__main__:Reader")
    assert error["kind"] == "config"
    assert "%%writefile" in error["advice"]


def test_a_file_that_is_no_python_names_the_line(host: Host, plugin: Write) -> None:
    error = host.start(plugin("x = = 1"))
    assert error["kind"] == "config"
    assert "x = = 1" in error["message"]
    assert "traceback" not in error


@pytest.mark.parametrize(
    "text",
    ["import pumps_of_acme", "from json import pumps", "raise ValueError('no pumps')", "from my_plugin import Plugin"],
)
def test_an_import_that_fails_shows_the_frames_of_the_plugin_alone(host: Host, plugin: Write, text: str) -> None:
    helper = plugin(text, name="my_helper").partition(":")[0]
    file = plugin("import my_helper\nclass Plugin: pass")
    found = host.start(file)["traceback"]
    assert found.count("Traceback") == 1, found
    frames = [line.split('"')[1] for line in found.splitlines() if line.startswith("  File")]
    assert frames == [file.partition(":")[0], helper]


@pytest.mark.parametrize("path", ["nothing", "/a/b.py", "/a/b.py:", ":Class", "/a/b.py:not a name"])
def test_a_path_that_names_no_class_is_told_the_form(host: Host, path: str) -> None:
    error = host.start(path)
    assert (error["kind"], error["advice"]) == ("config", "write /path/module.py:Class or package.module:Class")


def test_another_protocol_is_refused(host: Host) -> None:
    error = host.one("start", protocol=2, role="reader", plugin="a:B", config={})
    assert error["kind"] == "config"


def test_a_class_that_cannot_be_made_is_told_its_form(host: Host, plugin: Write) -> None:
    text = "from millrace import BaseReader\nclass Plugin(BaseReader):\n    def __init__(self, url): pass"
    host.start(plugin(text.replace("url", "url, more")))
    error = host.one("check")
    assert error["kind"] == "config"
    assert "def __init__(self, source_config)" in error["advice"]


RAISES = """
import sys
from millrace import BaseReader, ConfigError, TransientError, DataError
class Odd(Exception):
    def __init__(self, a, b): self.lock = open("/dev/null")
    def __str__(self): raise RuntimeError("no text")
class Plugin(BaseReader):
    def extract(self, state_manager=None):
        yield [{"a": 1}]
        %s
"""


@pytest.mark.parametrize(
    ("statement", "kind", "message"),
    [
        ("raise ConfigError('no right', advice='ask for it')", "config", "no right"),
        ("raise TransientError('busy')", "transient", "busy"),
        ("raise DataError('bad')", "data", "bad"),
        ("raise ValueError('what')", "bug", "ValueError: what"),
        ("raise ConnectionResetError('gone')", "transient", "ConnectionResetError: gone"),
        ("raise TimeoutError", "transient", "TimeoutError"),
        ("import socket; socket.create_connection(('127.0.0.1', 1), 1)", "transient", "ConnectionRefusedError"),
        ("import urllib.request as u; u.urlopen('http://127.0.0.1:1')", "transient", "URLError"),
        ("raise Odd(1, 2)", "bug", "its text cannot be had: RuntimeError"),
        ("sys.exit(0)", "bug", "the plugin called sys.exit(0)"),
        ("sys.exit('done')", "bug", "the plugin called sys.exit('done')"),
        ("raise KeyboardInterrupt", "transient", "interrupted"),
        ("raise BaseException('odd')", "bug", "BaseException: odd"),
        ("raise ExceptionGroup('many', [ValueError(1)])", "bug", "many"),
        ("yield 5", "bug", "int where a list of dictionaries"),
        ("yield 'text'", "bug", "str where a list of dictionaries"),
        ("1/0", "bug", "ZeroDivisionError"),
    ],
)
def test_an_exception_says_its_kind_and_its_batch(
    host: Host, plugin: Write, statement: str, kind: str, message: str
) -> None:
    if "ExceptionGroup" in statement and sys.version_info < (3, 11):
        pytest.skip("there are no exception groups before 3.11")
    host.start(plugin(RAISES % statement))
    answers = host.read()
    assert types(answers) == ["schema", "batch", "error"]
    error = answers[-1][0]
    assert (error["kind"], error["batch"]) == (kind, 2)
    assert message in error["message"]
    if kind == "bug" and "yield" not in statement:
        assert "my_plugin.py" in error["traceback"]
        assert "millrace/host" not in error["traceback"]


def test_after_an_error_the_host_may_be_asked_again(host: Host, plugin: Write) -> None:
    host.start(plugin(RAISES % "raise ValueError"))
    assert host.read()[-1][0]["type"] == "error"
    assert host.read()[-1][0]["type"] == "error"
    assert host.end() == 0


@pytest.mark.parametrize("statement", ["os._exit(0)", "os.kill(os.getpid(), 9)", "ctypes.string_at(0)"])
def test_a_death_is_an_end_of_the_output_before_the_end(host: Host, plugin: Write, statement: str) -> None:
    host.start(plugin("import os, ctypes\n" + RAISES % statement))
    assert types(host.read()) == ["schema", "batch"]
    assert host.process.wait(PATIENCE) is not None


def test_a_plugin_that_hangs_does_not_stay_behind(host: Host, plugin: Write) -> None:
    host.start(plugin("import time\n" + RAISES % "time.sleep(600)"))
    host.send("read", stream="a", range={"full": True}, position=None)
    assert [host.next()[0]["type"], host.next()[0]["type"]] == ["schema", "batch"]
    assert host.end() == 0


def test_a_child_that_a_plugin_forks_does_not_hold_the_pipe(host: Host, plugin: Write) -> None:
    text = "import os, time\n" + RAISES % "(os.fork() == 0) and time.sleep(30); os.kill(os.getpid(), 9)"
    host.start(plugin(text))
    assert types(host.read()) == ["schema", "batch"]


def test_an_interrupt_is_told(host: Host, plugin: Write) -> None:
    host.start(plugin("import time\n" + RAISES % "time.sleep(600)"))
    host.send("read", stream="a", range={"full": True}, position=None)
    host.next(), host.next()
    host.process.send_signal(signal.SIGINT)
    error = host.next()[0]
    assert error["kind"] == "transient"


def test_garbage_on_the_input_ends_the_host(host: Host) -> None:
    host.process.stdin.write(b"\xff" * 64)
    host.process.stdin.flush()
    assert host.process.wait(PATIENCE) == 1


def test_a_request_that_is_not_known_is_an_error(host: Host) -> None:
    assert "does not know" in host.one("dance")["message"]


def test_a_package_whose_name_begins_like_that_of_this_one_is_the_plugins_own() -> None:
    beside = Path(millrace.__file__).parent.with_name("millrace_shop") / "orders.py"
    with pytest.raises(ValueError, match="odd") as raised:
        exec(compile("raise ValueError('odd')", str(beside), "exec"))
    assert str(beside) in failure.header(raised.value)["traceback"]


def test_frames_of_this_package_are_left_out_also_where_it_is_found_by_a_link(tmp_path: Path) -> None:
    package = Path(millrace.__file__).parent
    (tmp_path / "linked").symlink_to(package.parent)
    code = (
        "from millrace.host import failure\nfrom millrace.config import source_config\n"
        "try: source_config(5)\nexcept Exception as error: print(failure.header(error)['traceback'])"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "linked")}
    shown = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "<string>" in shown.stdout
    assert "millrace" not in shown.stdout

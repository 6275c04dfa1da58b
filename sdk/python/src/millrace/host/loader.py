"""Finds the class of a plugin.

In: `/path/module.py:Class` or `package.module:Class`. Out: the class, or a `ConfigError` that says what to write
instead: the file that is not there, the class that has another name, the package that is missing.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from ..errors import ConfigError, to_install

T = TypeVar("T")

#: Packages whose name is not that of the module that one imports.
_PACKAGES = {
    "yaml": "pyyaml", "PIL": "pillow", "cv2": "opencv-python", "bs4": "beautifulsoup4", "sklearn": "scikit-learn",
    "dateutil": "python-dateutil", "dotenv": "python-dotenv", "MySQLdb": "mysqlclient", "Crypto": "pycryptodome",
    "google.cloud.storage": "google-cloud-storage", "google.cloud.bigquery": "google-cloud-bigquery",
    "kafka": "kafka-python", "paho": "paho-mqtt", "jwt": "pyjwt",
    "psycopg2": "psycopg2-binary", "snowflake": "snowflake-connector-python",
}  # fmt: skip


def load(plugin: str, bases: tuple[type, ...]) -> type[Any]:
    """The class, which is one of `bases`."""
    path, colon, name = plugin.rpartition(":")
    if not colon or not path or not name.isidentifier():
        raise ConfigError(
            f"`{plugin}` names no class",
            advice="write /path/module.py:Class or package.module:Class",
        )
    if path == "__main__":
        raise _notebook(plugin)
    module = _file(Path(path), plugin) if path.endswith(".py") else _installed(path, plugin)
    return _class(module, name, path, bases)


def _notebook(plugin: str) -> ConfigError:
    return ConfigError(
        f"`{plugin}`: a class that is defined in a notebook or at a prompt cannot be run elsewhere",
        advice="move the class to a file of its own (in a notebook, a cell that begins with `%%writefile reader.py` "
        "writes one), and name it ./reader.py:" + plugin.rpartition(":")[2],
    )


def _file(path: Path, plugin: str) -> ModuleType:
    if not path.is_file():
        raise ConfigError(f"plugin module not found: {path} is not there", advice=_neighbours(path))
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        # Its neighbours can be imported, as if the file were run as a script.
        sys.path.insert(0, folder)
    name = _module_name(path)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    loader = spec.loader
    assert loader is not None
    module = importlib.util.module_from_spec(spec)
    # Found by name afterwards: dataclasses, pickle and child processes look there.
    sys.modules[name] = module
    try:
        _imported(lambda: loader.exec_module(module), plugin)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _module_name(path: Path) -> str:
    """The file's own name, unless a module of that name is there already."""
    try:
        found = importlib.util.find_spec(path.stem)
        taken = found is not None and (found.origin is None or Path(found.origin).resolve() != path.resolve())
    except (ImportError, ValueError):
        taken = True
    return f"millrace_plugin_{path.stem}" if taken or path.stem in sys.modules else path.stem


def _neighbours(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"the directory {folder} is not there either; the path of a plugin begins at the manifest's directory"
    near = difflib.get_close_matches(path.name, [one.name for one in folder.glob("*.py")], n=3, cutoff=0.5)
    return f"there is {_either(near)}" if near else f"no file in {folder} has a name like that"


def _installed(path: str, plugin: str) -> ModuleType:
    return _imported(lambda: importlib.import_module(path), plugin, path)


def _imported(act: Callable[[], T], plugin: str, asked: str = "") -> T:
    """Imports, and says of a failure what a person can do."""
    try:
        return act()
    except ModuleNotFoundError as error:
        raise _missing(error, plugin, asked) from error
    except ImportError as error:
        shadow = error.path and Path(error.path).stem == (error.name or "").partition(".")[0]
        advice = "rename the file: it has the name of what it imports" if shadow and "partially" in str(error) else None
        raise ConfigError(f"`{plugin}` cannot be imported: {error}", advice=advice) from error
    except SyntaxError as error:
        said = "".join(traceback.format_exception_only(error)).strip()
        raise ConfigError(f"`{plugin}` is not Python {sys.version_info[0]}.{sys.version_info[1]}: {said}") from None


def _missing(error: ModuleNotFoundError, plugin: str, asked: str) -> ConfigError:
    name = error.name or str(error)
    first, _, _ = name.partition(".")
    advice = to_install(_PACKAGES.get(name) or _PACKAGES.get(first) or first)
    if not (asked + ".").startswith(name + "."):
        return ConfigError(f"`{plugin}` imports `{name}`, which is not installed", advice=advice)
    holder, _, last = name.rpartition(".")
    if holder:
        advice = f"`{holder}` is there, and has no `{last}`: look at the name, and at the version of the package"
    else:
        advice += f"; a file is named by its path, ./{name}.py:Class"
    return ConfigError(f"plugin module not found: no module is called `{name}`", advice=advice)


def _class(module: ModuleType, name: str, path: str, bases: tuple[type, ...]) -> type[Any]:
    found = getattr(module, name, None)
    if found is None:
        raise ConfigError(f"class `{name}` is not in {path}", advice=_near_classes(module, name, bases))
    if not inspect.isclass(found):
        raise ConfigError(
            f"`{name}` in {path} is {_article(type(found).__name__)}, not a class", advice=_expected(bases)
        )
    if not issubclass(found, bases):
        of = ", ".join(base.__name__ for base in found.__bases__)
        raise ConfigError(f"class `{name}` in {path} extends {of}", advice=_expected(bases))
    if found in bases:
        raise ConfigError(f"`{name}` in {path} is the base class itself", advice="write a class that extends it")
    return found


def _near_classes(module: ModuleType, name: str, bases: tuple[type, ...]) -> str:
    there = [
        one for one, value in vars(module).items() if inspect.isclass(value) and value.__module__ == module.__name__
    ]
    near = difflib.get_close_matches(name, there, n=3, cutoff=0.5)
    fit = [one for one in there if issubclass(getattr(module, one), bases)]
    if near or fit:
        return f"there is {_either(near or fit)}; upper and lower case count"
    return f"the file defines no class that could be meant; {_expected(bases)}"


def _expected(bases: Iterable[type]) -> str:
    return f"extend {_either([f'millrace.{base.__name__}' for base in bases])}"


def _either(names: list[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return quoted[0] if len(quoted) == 1 else ", ".join(quoted[:-1]) + f" or {quoted[-1]}"


def _article(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"

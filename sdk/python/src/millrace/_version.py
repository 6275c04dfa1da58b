"""The version of the package, which is that of the worker it belongs to."""

VERSION = "0.1.0"

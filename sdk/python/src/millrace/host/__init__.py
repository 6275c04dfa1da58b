"""The host of the plugin protocol: runs one plugin for a worker, in a process of its own.

In: requests on standard input. Out: answers on what was standard output. Run as `python -m millrace.host`.
"""

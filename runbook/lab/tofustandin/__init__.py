"""A stand-in for OpenTofu where there is none. It knows one module: the practice platform's.

The flow, the files and the events are those of the real program as far as recovery meets them;
``version`` and the first event of every run say that this is not OpenTofu.
"""

VERSION = "1.8.0"
PLAIN = "This is the practice lab's stand-in, not OpenTofu."

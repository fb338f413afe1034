"""``setsid [-f] PROGRAM [ARGUMENT...]`` for systems without it (macOS)."""

import os
import sys

arguments = sys.argv[1:]
fork = False
while arguments and arguments[0].startswith("-"):
    fork = fork or arguments[0] in ("-f", "--fork")
    arguments.pop(0)
if (fork or os.getpgrp() == os.getpid()) and os.fork():
    os._exit(0)
os.setsid()
os.execvp(arguments[0], arguments)

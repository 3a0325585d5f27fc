"""Types into an interactive shell as a person does: complete.py SHELL SCRIPT PROGRAM LINE...

SCRIPT is the completion of PROGRAM for SHELL. Of each LINE the last word is completed with the tab key; what
the shell then runs PROGRAM with is printed, one line each.
"""
import os
import pty
import select
import sys
import tempfile
import time

shell, script, program, *lines = sys.argv[1:]
name = os.path.basename(program)
temporary = tempfile.TemporaryDirectory()
directory = temporary.name
answer = os.path.join(directory, "answer")
# Says what it was called with; completions that only the program knows are its own.
with open(os.path.join(directory, name), "w") as file:
    file.write(f"""#!/bin/sh
if [ "$1" = ---completion ]; then exec '{program}' "$@"; fi
printf '%s ' "$@" > '{answer}.new'
mv '{answer}.new' '{answer}'
""")
os.chmod(os.path.join(directory, name), 0o755)
os.symlink(script, os.path.join(directory, "_" + name))
commands = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], f"source '{script}'"),
    "zsh": (["zsh", "-f", "-i"],
            f"fpath=('{directory}' $fpath); autoload -Uz compinit; compinit -u -d '{directory}/dump'"),
    "fish": (["fish", "--no-config", "-i"], f"source '{script}'"),
}
command, setup = commands[shell]
environment = dict(os.environ, PATH=directory + ":" + os.environ["PATH"], HOME=directory, TERM="xterm")
child, terminal = pty.fork()
if child == 0:
    os.execvpe(command[0], command, environment)
seen = b""


def until(condition, what):
    """Reads what the shell draws, so that it goes on, until the condition holds."""
    global seen
    end = time.monotonic() + 120
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"{shell}: {what}: {seen[-2000:]!r}")
        if select.select([terminal], [], [], 0.05)[0]:
            seen += os.read(terminal, 65536)


def run(keys, what):
    if os.path.exists(answer):
        os.unlink(answer)
    os.write(terminal, keys)
    until(lambda: os.path.exists(answer), what)
    with open(answer) as file:
        return file.read().strip()


until(lambda: seen, "no prompt")
# The shell is ready when it runs the program for the first time.
run(f"{setup}\r{name} ready\r".encode(), "not ready")
for line in lines:
    print(run(f"{name} {line}\t\r".encode(), line))
os.close(terminal)

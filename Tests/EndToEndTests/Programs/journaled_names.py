#!/usr/bin/env python3
"""Changes names below DIR and keeps, in another place, a journal of what was accepted.

usage: journaled_names.py change DIR JOURNAL [--seed S]    until the file system fails
       journaled_names.py verify DIR JOURNAL
Each step is one of: create a file with content, write a new content beside and rename it over,
rename away, unlink, set an attribute. Verify replays the journal into a model and demands that
exactly these names with these contents are there; the last step, if it was not answered, may or
may not have happened.
"""
import argparse
import json
import os
import random
import sys

NAMES = ["n%02d" % i for i in range(40)]


def perform(directory, step):
    kind, name, *rest = step
    path = os.path.join(directory, name)
    if kind == "replace":
        with open(path + ".new", "w") as file:
            file.write(rest[0])
        os.rename(path + ".new", path)
    elif kind == "rename":
        os.rename(path, os.path.join(directory, rest[0]))
    elif kind == "unlink":
        os.unlink(path)
    elif kind == "xattr":
        os.setxattr(path, "user.step", rest[0].encode())


def replay(model, step):
    kind, name, *rest = step
    if kind == "replace":
        model[name] = (rest[0], None)
    elif kind == "rename":
        model[rest[0]] = model.pop(name)
    elif kind == "unlink":
        del model[name]
    elif kind == "xattr":
        model[name] = (model[name][0], rest[0])


def read_journal(path):
    """The answered steps and the one that was not."""
    answered, open_step = [], None
    if os.path.exists(path):
        with open(path) as file:
            for line in file:
                if not line.endswith("\n"):
                    break
                word, step = json.loads(line)
                if word == "begin":
                    open_step = step
                else:
                    answered.append(open_step)
                    open_step = None
    return answered, open_step


def change(arguments):
    if read_journal(arguments.journal)[1] is not None:
        sys.exit("the journal ends in the middle of a step: verify --settle first")
    model = {}
    for step in read_journal(arguments.journal)[0]:
        replay(model, step)
    journal = os.open(arguments.journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    choice = random.Random(arguments.seed)
    print("started", flush=True)
    number = 0
    while True:
        number += 1
        name = choice.choice(NAMES)
        text = f"{arguments.seed}/{number} " * choice.randrange(1, 400)
        step = ["replace", name, text]
        if name in model:
            step = choice.choice([step, ["unlink", name], ["rename", name, choice.choice(NAMES)], ["xattr", name, str(number)]])
        os.write(journal, (json.dumps(["begin", step]) + "\n").encode())
        try:
            perform(arguments.directory, step)
        except OSError:
            sys.exit(3)
        os.write(journal, (json.dumps(["done", None]) + "\n").encode())
        replay(model, step)


def found(directory):
    model = {}
    for name in os.listdir(directory):
        path = os.path.join(directory, name)
        with open(path) as file:
            text = file.read()
        values = [os.getxattr(path, n).decode() for n in os.listxattr(path) if n == "user.step"]
        model[name] = (text, values[0] if values else None)
    return model


def verify(arguments):
    answered, open_step = read_journal(arguments.journal)
    if len(answered) < 20:
        sys.exit(f"only {len(answered)} accepted steps: nothing was tested")
    before = {}
    for step in answered:
        replay(before, step)
    allowed = [before]
    if open_step is not None:
        after = dict(before)
        replay(after, open_step)
        allowed.append(after)
    # The step "replace" makes an intermediate name, which may stay behind.
    names = {n: v for n, v in found(arguments.directory).items() if not n.endswith(".new")}
    if names not in allowed:
        lost = [n for n in before if names.get(n) != before[n]]
        extra = [n for n in names if n not in before]
        sys.exit(
            f"{len(answered)} accepted steps, the open one is {str(open_step)[:60]}: "
            f"wrong or missing {lost}, unexpected {extra}")
    if open_step is not None and arguments.settle:
        # Write down what became of the open step, so that a later run can go on.
        with open(arguments.journal, "a") as file:
            if names == allowed[-1]:
                file.write(json.dumps(["done", None]) + "\n")
            else:
                file.write(json.dumps(["begin", None]) + "\n")
    print(f"{len(answered)} accepted steps")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["change", "verify"])
    parser.add_argument("directory")
    parser.add_argument("journal")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--settle", action="store_true")
    chosen = parser.parse_args()
    {"change": change, "verify": verify}[chosen.action](chosen)

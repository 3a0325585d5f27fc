"""The memory of a virtual machine, whose first touch costs more than most of what is measured."""
import os
import sys

from servers import run

_REPORTED = "/sys/module/page_reporting/parameters/page_reporting_order"
_LARGEST = 10  # the kernel's MAX_PAGE_ORDER; beyond it nothing is reported


def stays():
    """Whether free memory stays with this machine. With free page reporting (a balloon driver's) it goes back
    to the host within seconds, and each page that is used again comes from there."""
    try:
        with open(_REPORTED) as file:
            return not 0 <= int(file.read()) <= _LARGEST
    except OSError:
        return True


def prepare(mapped_program):
    """Touches most of what is free, so that the host has given it to us."""
    if not stays():
        print(f"free memory goes back to this machine's host: times will vary by a factor of two. It stays with\n"
              f"    echo {_LARGEST + 1} > {_REPORTED}", file=sys.stderr, flush=True)
    run(mapped_program, "warm", os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 6 // 10)

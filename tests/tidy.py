#!/usr/bin/python3
"""The house rules that a machine can check.

Prints each breach as `file:line: words`; status 1 if there is any.
"""

import os
import re
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# Dependencies point one way: what each module may include beside itself.
MAY_INCLUDE = {
    "base": set(),
    "loop": {"base"},
    "objstore": {"base", "loop"},
    "nbd": {"base"},
    "volume": {"base", "loop", "objstore"},
    "server": {"base", "loop", "objstore", "nbd", "volume"},
    "cli": {"base", "loop", "objstore", "nbd", "volume", "server"},
}
# Which kind of store is behind objstore.h is known to cli, server and to the stores themselves.
KIND_OF_STORE = re.compile(r"objstore/(?!(objstore|probe)\.h)")
KNOW_THE_STORE = {"cli", "server", "objstore"}

# Words that are the business of some places only: (what it is, words, files where they may stand).
RESERVED = [
    ("the clock",
     r"time|gettimeofday|clock_gettime|clock_getres|localtime|gmtime|localtime_r|usleep|nanosleep|sleep",
     r"src/(base|loop|cli)/"),
    ("chance", r"rand|srand|random|srandom|rand_r|drand48|arc4random|getrandom|getentropy",
     r"src/(base|loop|cli)/"),
    ("the environment", r"getenv|secure_getenv|setenv|putenv|unsetenv",
     r"src/(cli/|base/(log|mark)\.c|objstore/s3/cred\w*\.c|objstore/dir/faults\.c|server/activation\.c)"),
    ("the heap but through base/mem.h",
     r"malloc|calloc|realloc|reallocarray|strdup|strndup|asprintf|vasprintf|free|alloca",
     r"src/(base/mem|cli/\w+)\.c"),
    ("unbounded copying", r"strcat|sprintf|vsprintf|gets|strtok|atoi|atol|atoll", r"(?!)"),
]
# A library's memory has to go back the way it came: (file, word).
EXCEPTIONS = {
}

LINE_MAX, FUNCTION_MAX, FILE_LONG, FILE_MAX = 110, 70, 500, 1000
LEFTOVERS = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
MACHINE = re.compile(r"/(wo" r"rk|fa" r"rm|ro" r"ot|ho" r"me/\w+|tm" r"p/w)/")
REGISTRY = re.compile(
    r"\b(proxy\.gol" r"ang|deb\.deb" r"ian|py" r"pi\.|\.np" r"mjs|crates" r"\.io|dock" r"er\.io)")
TEXT = (".c", ".h", ".py", ".md", ".build", ".sh", ".txt", ".yml", ".1")
CODE_FOLDERS = ("src", "tests", "fuzz", "bench")

breaches, warnings = [], []


def breach(path, line, words):
    breaches.append(f"{path}:{line}: {words}")


def files():
    for folder, folders, names in os.walk("."):
        folders[:] = sorted(f for f in folders if not f.startswith(("build", ".git", "__pycache__")))
        for name in sorted(names):
            path = os.path.join(folder, name)[2:]
            executable = os.access(path, os.X_OK) and not os.path.islink(path)
            if name.endswith(TEXT) or executable or name in ("Makefile", "LICENSE"):
                yield path


def without_comments_and_strings(text):
    """The same lines with comments and literals blanked: words in them do not count."""
    def blank(match):
        return re.sub(r"[^\n]", " ", match.group())
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text, flags=re.S)


def check_text(path, lines):
    is_markdown = path.endswith(".md")
    for number, line in enumerate(lines, 1):
        if line != line.rstrip() and not is_markdown:
            breach(path, number, "blank at the end of the line")
        if len(line) > LINE_MAX and path.startswith(CODE_FOLDERS) and "http" not in line:
            breach(path, number, f"{len(line)} columns, at most {LINE_MAX}")
        if LEFTOVERS.search(line):
            breach(path, number, "something left for later")
        if MACHINE.search(line):
            breach(path, number, "a path of one machine")
        if REGISTRY.search(line):
            breach(path, number, "the host name of a package registry")


def check_length(path, lines):
    if len(lines) > FILE_MAX:
        breach(path, len(lines), f"{len(lines)} lines, at most {FILE_MAX}: which idea deserves its own file?")
    elif len(lines) > FILE_LONG:
        warnings.append(f"{path}: {len(lines)} lines, more than {FILE_LONG} is long")


def check_functions(path, lines):
    """clang-format puts the braces of a function, and of nothing else, into the first column."""
    began = None
    for number, line in enumerate(lines, 1):
        if line == "{":
            began = number
        elif line == "}" and began:
            if number - began + 1 > FUNCTION_MAX + 2:
                breach(path, began, f"a function of {number - began - 1} lines, at most {FUNCTION_MAX}")
            began = None


def check_includes(path, lines):
    module = path.split("/")[1]
    for number, line in enumerate(lines, 1):
        found = re.match(r'#\s*include\s+"([^"]+)"', line)
        if not found:
            continue
        target = found.group(1)
        owner = target.split("/")[0]
        if owner not in MAY_INCLUDE:
            breach(path, number, f'#include "{target}": name it from src/ on')
        elif owner != module and owner not in MAY_INCLUDE[module]:
            breach(path, number, f"{module} may not include {target}")
        elif KIND_OF_STORE.match(target) and module not in KNOW_THE_STORE:
            breach(path, number, f"{module} may not know {target}, only objstore/objstore.h")


def check_words(path, lines):
    for what, words, allowed in RESERVED:
        if re.match(allowed, path):
            continue
        pattern = re.compile(rf"(?<![\w.>])({words})\s*\(")
        for number, line in enumerate(lines, 1):
            found = pattern.search(line)
            if found and (path, found.group(1)) not in EXCEPTIONS:
                breach(path, number, f"{found.group(1)}(): {what} is not for this file")


def check_names(sources):
    """No two files define the same function: the linker takes either one where libraries meet."""
    defined = {}
    for path in (p for p in sources if p.endswith(".c")):
        bare = without_comments_and_strings(open(path, encoding="utf-8").read())
        for found in re.finditer(r"^(?!static|typedef)\w[\w *]*?\b(\w+)\([^;{}]*\)\n\{", bare, flags=re.M):
            name, number = found.group(1), bare.count("\n", 0, found.start()) + 1
            if defined.setdefault(name, path) != path:
                breach(path, number, f"{name}() is in {defined[name]} as well")


def check_layout(sources):
    """Every source file has its place on the map that docs/ARCHITECTURE.md draws."""
    page = "docs/ARCHITECTURE.md"
    if not os.path.exists(page):
        return
    words = set(re.findall(r"[\w.+-]+", open(page, encoding="utf-8").read()))
    words |= {re.sub(r"\.[ch]$", "", word) for word in words}
    for path in sources:
        stem = re.sub(r"\.[ch]$", "", os.path.basename(path))
        if stem not in words:
            breach(path, 1, f"not in the layout of {page}")


def main():
    os.chdir(TOP)
    sources = []
    for path in files():
        try:
            text = open(path, encoding="utf-8").read()
        except UnicodeDecodeError:
            continue
        lines = text.split("\n")[:-1] if text.endswith("\n") else text.split("\n")
        if text and not text.endswith("\n"):
            breach(path, len(lines), "no newline at the end")
        check_text(path, lines)
        if path.endswith((".c", ".h", ".py")):
            check_length(path, lines)
        if path.endswith((".c", ".h")):
            check_functions(path, lines)
            if path.startswith("src/"):
                sources.append(path)
                bare = without_comments_and_strings(text).split("\n")
                check_includes(path, lines)
                check_words(path, bare)
    check_layout(sources)
    check_names(sources)
    for line in warnings:
        print("warning: " + line)
    for line in breaches:
        print(line)
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())

"""The screen of README.md, typed line by line: what it shows is what is printed."""

import os
import re
import subprocess

from harness import TOP, limit, quick


def screen():
    """[(command, lines that it prints)] of the block that begins with a prompt."""
    with open(os.path.join(TOP, "README.md"), encoding="utf-8") as page:
        text = page.read().split("## A screenful of use")[1].split("## ")[0]
    steps = []
    for line in text.split("\n"):
        if line.startswith("    $ "):
            steps.append((line[6:], []))
        elif line.startswith("    ") and steps:
            steps[-1][1].append(line[4:])
        elif line and steps:
            break
    return steps


def plain(lines, home):
    """Without what differs from run to run: where home is, how long it took, how much a tree takes."""
    text = "\n".join(lines).replace(home, "/somewhere")
    text = re.sub(r"\d+\.\d s", "N s", text)
    text = re.sub(r"\d+(\.\d)? MiB(?= data)", "N", text)
    text = re.sub(r"(?<=mapped {10})\S+ MiB|(?<=stored {10})\S+ MiB in at most \d+", "N", text)
    return re.sub(r" +\d+(\.\d)? MiB +\d+(\.\d)? MiB  closed", "  N  N  closed", text)


@quick
@limit(120)
def test_the_screen_of_the_readme(case):
    home, tree = case.path("home"), case.path("tree")
    os.makedirs(home)
    os.makedirs(tree)
    with open(os.path.join(tree, "file"), "wb") as file:
        file.write(os.urandom(16 << 20))
    socket = case.path("socket")
    env = {**os.environ, "HOME": home, "PATH": f"{os.path.dirname(case.program())}:{os.environ['PATH']}",
           "ASHLAR_LISTEN": f"unix:{socket}"}
    env.pop("XDG_DATA_HOME", None)
    with subprocess.Popen(["bash"], cwd=case.folder, env=env, text=True, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as shell:
        for command, shown in screen():
            typed = re.sub(r"nbd://127.0.0.1/(\w+)", rf"'nbd+unix:///\1?socket={socket}'", command)
            if command.startswith("ashlar serve"):
                typed += f"\nuntil [ -S '{socket}' ]; do sleep 0.05; done"
            shell.stdin.write(f"{typed}\necho '==' $?\n")
            shell.stdin.flush()
            printed = []
            while not (line := shell.stdout.readline().rstrip("\n")).startswith("== "):
                printed.append(line)
            print(f"$ {typed}", *printed, line, sep="\n")
            assert plain(printed, home) == plain(shown, "/somewhere"), f"{command}: {printed}"
        shell.stdin.close()

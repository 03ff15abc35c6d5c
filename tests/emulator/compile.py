"""Compile CUDA C++ for the processor: ``compile.py SOURCE LIBRARY``.

For each kernel NAME of the source the library has ``host_NAME``, which runs a grid of it, the
size of each of its arguments, and a letter for each: ``r`` and ``w`` for an address that it reads
or writes, ``s`` for a number. The first line of the source has the options that define macros.
"""

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
KERNEL = re.compile(r"__global__\s+void\s+(\w+)\s*\(")
COMMENT = re.compile(r"//[^\n]*")
"""A formula in a comment looks like the head of a function."""
BOUNDS = re.compile(r"__launch_bounds__\s*\([^()]*\)")
FUNCTION = re.compile(r"(\w+)\s*\([^;{}]*\)\s*\{")
WAITS = r"__syncthreads|__syncwarp|__shfl_down_sync"
FLAGS = ["-std=c++17", "-O1", "-fPIC", "-w", "-fpermissive", "-U_FORTIFY_SOURCE"]
FLAGS += ["-ffp-contract=off", "-fno-gnu-unique", "-D__CUDACC_RTC__"]
"""For the precompiled header and for every kernel; each operation is rounded, as NumPy's are."""


def parts(text: str) -> list[str]:
    """Return the parameters of a list, whose types may have commas of their own."""
    found, depth = [""], 0
    for letter in text:
        depth += (letter in "<(") - (letter in ">)")
        if letter == "," and depth == 0:
            found.append("")
        else:
            found[-1] += letter
    return [part for part in (" ".join(part.split()) for part in found) if part]


def kind(parameter: str) -> str:
    """Return what an argument is: an address that is read or written, or a number."""
    if "CArray<" in parameter or "*" in parameter:
        # The mask of CuPy's ufuncs is read, though its parameter does not say so.
        return "r" if parameter.startswith("const ") or parameter.endswith("__where") else "w"
    return "s"


def closing(text: str, opening: int) -> int:
    """Return where the bracket that opens there is closed."""
    depth, pair = 0, {"(": ")", "{": "}"}[text[opening]]
    for at in range(opening, len(text)):
        depth += (text[at] == text[opening]) - (text[at] == pair)
        if depth == 0:
            return at
    return len(text)


def waiting(source: str) -> set[str]:
    """Return the functions whose threads wait for each other, themselves or in what they call."""
    bodies = {
        found[1]: source[found.end() - 1 : closing(source, found.end() - 1)]
        for found in FUNCTION.finditer(source)
        if found[1] not in ("if", "for", "while", "switch")
    }
    names: set[str] = set()
    while True:
        # A macro of CuPy's reductions waits as well.
        calls = re.compile(rf"\b({'|'.join([WAITS, '_JOIN', '_REDUCE', *names])})\b")
        more = {name for name, body in bodies.items() if calls.search(body)}
        if more <= names:
            return names
        names |= more


def main(path: str, library: str) -> int:
    """Write the C++ source beside the CUDA source, and compile it."""
    first, _, source = Path(path).read_text("utf-8").partition("\n")
    source = BOUNDS.sub("", COMMENT.sub("", source))
    together = waiting(source)
    entries = ""
    for found in KERNEL.finditer(source):
        name, opening = found[1], found.end() - 1
        kinds = "".join(map(kind, parts(source[opening + 1 : closing(source, opening)])))
        entries += f"""
extern "C" {{
char kinds_{name}[] = "{kinds}";
int sizes_{name}[{len(kinds) + 1}];
__attribute__((constructor)) static void measure_{name}() {{
    for (int i = 0; i < {len(kinds)}; ++i) sizes_{name}[i] = host::sizes({name})[i];
}}
int host_{name}(const unsigned* grid, const unsigned* block, void** arguments) {{
    return host::run(grid, block, {int(name in together)}, [=] {{ host::go({name}, arguments); }});
}}
}}
"""
    Path(f"{path}.cpp").write_text(source + entries, "utf-8")
    more = (HERE / "flags").read_text("utf-8").split()
    command = ["g++", *FLAGS, *more, "-shared", *first.split()[1:]]
    command += ["-include", str(HERE / "device.hpp"), f"-I{HERE}/include", f"{path}.cpp"]
    return subprocess.run([*command, "-o", library]).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""Writes src/eval/unicode_tables.cpp: what Python's str methods and re know about characters.

The tables are asked of the interpreter itself, character by character, so they hold its Unicode version (printed
into the file). usage: make_unicode_tables.py OUTPUT.cpp
"""
import pathlib
import re
import sys
import unicodedata

EVERY = [chr(c) for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]


def ranges(wanted):
    """[first, last] of each run of characters."""
    runs = []
    for char in wanted:
        code = ord(char)
        if runs and runs[-1][1] == code - 1:
            runs[-1][1] = code
        else:
            runs.append([code, code])
    return runs


def lower_runs():
    """[first, last, step, distance]: the lower case of every step-th character is distance above it."""
    runs = []
    for char in EVERY:
        lower = char.lower()
        if lower == char or len(lower) > 1:
            continue
        code, distance = ord(char), ord(lower) - ord(char)
        if runs and runs[-1][3] == distance:
            run = runs[-1]
            gap = code - run[1]
            if gap in (1, 2) and (run[0] == run[1] or run[2] == gap):
                run[1], run[2] = code, gap
                continue
        runs.append([code, code, 1, distance])
    return runs


def is_ignorable(char):
    """Whether the search for the letter before a final sigma passes over char."""
    return ("a" + char + "\u03a3").lower()[-1] == "\u03c2" and (" " + char + "\u03a3").lower()[-1] == "\u03c3"


def is_cased(char):
    return (" " + char + "\u03a3").lower()[-1] == "\u03c2"


def rows(items, width=100):
    line = "   "
    for item in items:
        if len(line) + len(item) + 1 > width:
            yield line
            line = "   "
        line += " " + item
    yield line


def table(name, type_name, tuples):
    cells = ["{" + ", ".join(hex(v) if v >= 10 else str(v) for v in t) + "}," for t in tuples]
    body = "\n".join(rows(cells))
    return f"constexpr {type_name} {name}[] = {{\n{body}\n}};\n"


def main():
    assert [c for c in EVERY if len(c.lower()) > 1] == ["\u0130"]
    digits = [c for c in EVERY if re.fullmatch(r"\d", c)]
    assert digits == [c for c in EVERY if c.isdecimal()]
    word = [c for c in EVERY if re.fullmatch(r"\w", c)]
    text = f"""// Made by tools/unicode/make_unicode_tables.py from Unicode {unicodedata.unidata_version}; not edited by hand.
#include "eval/unicode_tables.h"

// clang-format off
namespace vmla {{

namespace {{

{table("kDecimal", "CodeRange", ranges(digits))}
{table("kWord", "CodeRange", ranges(word))}
{table("kCased", "CodeRange", ranges(filter(is_cased, EVERY)))}
{table("kIgnorable", "CodeRange", ranges(filter(is_ignorable, EVERY)))}
{table("kLower", "LowerRun", lower_runs())}
}}  // namespace

std::span<const CodeRange> decimal_ranges() {{ return kDecimal; }}
std::span<const CodeRange> word_ranges() {{ return kWord; }}
std::span<const CodeRange> cased_ranges() {{ return kCased; }}
std::span<const CodeRange> case_ignorable_ranges() {{ return kIgnorable; }}
std::span<const LowerRun> lower_runs() {{ return kLower; }}

}}  // namespace vmla
// clang-format on
"""
    pathlib.Path(sys.argv[1]).write_text(text)


if __name__ == "__main__":
    main()

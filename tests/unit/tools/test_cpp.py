"""The small preprocessor that reads kernel headers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.cpp import Headers


def read(tmp_path: Path, text: str, **predefined: str) -> Headers:
    """The macros of a header with this text."""
    (tmp_path / "main.h").write_text(text)
    headers = Headers([tmp_path], predefined)
    headers.include("main.h")
    return headers


@pytest.mark.parametrize(
    ("definition", "value"),
    [
        ("5", 5),
        ("0x10", 16),
        ("010", 8),
        ("0", 0),
        ("(1 << 3)", 8),
        ("(1UL << 31)", 1 << 31),
        ("1U", 1),
        ("-100", -100),
        ("~0", -1),
        ("'A'", 65),
        ("(0x01|0x08)", 9),
        ("(((2)))", 2),
        ("(BASE + 7)", 1007),
        ("OTHER", 1000),
        ("_BITUL(4)", 16),
        ("((__u32)3)", 3),
        ("(10 / 3)", 3),
        ("(2 > 1 && 3 > 2)", 1),
    ],
)
def test_values_of_constant_expressions(tmp_path: Path, definition: str, value: int) -> None:
    """C's constants, operators, casts and other macros."""
    text = f"#define BASE 1000\n#define OTHER BASE\n#define IT {definition} /* comment */\n"
    assert read(tmp_path, text).value("IT") == value


@pytest.mark.parametrize("definition", ['"text"', "unknown_thing", "", "sizeof(int)", "struct x"])
def test_what_is_no_number_has_no_value(tmp_path: Path, definition: str) -> None:
    """``None``: never a guess."""
    assert read(tmp_path, f"#define IT {definition}\n").value("IT") is None


def test_conditions_choose_branches(tmp_path: Path) -> None:
    """Nested #if, #ifdef, #elif and #else as in asm/unistd.h."""
    text = """
#ifndef GUARD
#define GUARD
# ifdef __i386__
#define IT 1
# elif defined(__ILP32__)
#define IT 2
# else
#if SIZE * 8 == 64 && !defined(NOTHING)
#define IT 3
#else
#define IT 4
#endif
# endif
#endif
"""
    assert read(tmp_path, text, __i386__="1").value("IT") == 1
    assert read(tmp_path, text, __ILP32__="1").value("IT") == 2
    assert read(tmp_path, text, SIZE="8").value("IT") == 3
    assert read(tmp_path, text, SIZE="4").value("IT") == 4


def test_only_one_branch_is_taken(tmp_path: Path) -> None:
    """After a true #if neither #elif nor #else counts, even where they are true."""
    text = "#if 1\n#define A 1\n#elif 1\n#define A 2\n#else\n#define A 3\n#endif\n"
    assert read(tmp_path, text).value("A") == 1


def test_a_dead_branch_is_dead_inside(tmp_path: Path) -> None:
    """Conditions within a branch that is not taken do not revive it."""
    text = "#if 0\n#if 1\n#define A 1\n#else\n#define A 2\n#endif\n#endif\n"
    assert read(tmp_path, text).value("A") is None


def test_includes_are_followed_once(tmp_path: Path) -> None:
    """Headers that include each other end; absent ones are left out."""
    (tmp_path / "other.h").write_text('#include "main.h"\n#define IT 7\n')
    headers = read(tmp_path, "#include <other.h>\n#include <absent.h>\n#define ALSO IT\n")
    assert headers.value("ALSO") == 7


def test_undef_forgets(tmp_path: Path) -> None:
    """A macro that is undefined has no value."""
    assert read(tmp_path, "#define A 1\n#undef A\n").value("A") is None


def test_enumerators_count_on(tmp_path: Path) -> None:
    """C's rule: one more than the one before, unless it says otherwise."""
    headers = read(tmp_path, "enum e {\n A,\n B = 5, /* five */\n C,\n D = (1 << 4) };\n")
    assert headers.enumerators == {"A": 0, "B": 5, "C": 6, "D": 16}


def test_an_enumerator_goes_on_in_the_next_line(tmp_path: Path) -> None:
    """A value may be written in several lines, and others follow it."""
    headers = read(tmp_path, "enum {\n A = 3 | 4 |\n\t 0x10,\n B,\n C = 8\n};\n")
    assert headers.enumerators == {"A": 0x17, "B": 0x18, "C": 8}


def test_macros_with_arguments_are_no_constants(tmp_path: Path) -> None:
    """``#define f(x)`` defines no number."""
    assert read(tmp_path, "#define F(x) (x)\n").value("F") is None


def test_values_by_prefix_keep_the_order(tmp_path: Path) -> None:
    """Of two names for one number the header's first comes first."""
    headers = read(tmp_path, '#define N_b 1\n#define N_a 1\n#define M 2\n#define N_s "x"\n')
    assert list(headers.values("N_").items()) == [("N_b", 1), ("N_a", 1)]


def test_a_macro_of_itself_has_no_value(tmp_path: Path) -> None:
    """The kernel defines enumerators as macros of their own name; a bare one ends nowhere."""
    assert read(tmp_path, "#define A A\n").value("A") is None
    assert read(tmp_path, "enum { B = 3 };\n#define B B\n").value("B") == 3

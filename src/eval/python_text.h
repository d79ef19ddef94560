// Python's str methods and number formats, which the official metrics are written in. Text is
// UTF-8; characters follow the Unicode version of the tables (14.0, that of Python 3.11).
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace vmla {

bool is_py_space(char32_t code);    // str.isspace, \s
bool is_py_decimal(char32_t code);  // str.isdecimal, \d
bool is_py_word(char32_t code);     // \w
// One character to one character: all of str.lower() except U+0130 and the final sigma.
char32_t py_lower_char(char32_t code);

// Takes one character from the front of text, which is not empty.
char32_t take_char(std::string_view& text);
void append_char(std::string& text, char32_t code);

// str.lower(), with U+0130 and the final sigma.
std::string py_lower(std::string_view text);
// str.strip()
std::string_view py_strip(std::string_view text);
// str.split(): the words between runs of whitespace.
std::vector<std::string_view> py_split(std::string_view text);
// str.replace(from, to); from is not empty.
std::string py_replace(std::string_view text, std::string_view from, std::string_view to);
// The first count characters: text[:count].
std::string_view py_prefix(std::string_view text, std::size_t count);

// round(value, digits): the nearest decimal, ties of the exact binary value to even.
double py_round(double value, int digits);
// "%.2f" for digits 2.
std::string py_fixed(double value, int digits);
// repr(value) of a float: the shortest digits that read back as value.
std::string py_repr(double value);

}  // namespace vmla

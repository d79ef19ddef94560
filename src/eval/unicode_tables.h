// What Python knows about characters; the tables are made by tools/unicode/make_unicode_tables.py.
#pragma once

#include <cstdint>
#include <span>

namespace vmla {

struct CodeRange {
  char32_t first;
  char32_t last;  // inclusive
};

// The lower case of first, first + step, … last is distance above it.
struct LowerRun {
  char32_t first;
  char32_t last;  // inclusive
  std::int32_t step;
  std::int32_t distance;
};

// All are sorted and disjoint.
std::span<const CodeRange> decimal_ranges();         // \d of re
std::span<const CodeRange> word_ranges();            // \w of re
std::span<const CodeRange> cased_ranges();           // Cased, without case_ignorable_ranges
std::span<const CodeRange> case_ignorable_ranges();  // Case_Ignorable
std::span<const LowerRun> lower_runs();              // without U+0130, whose lower case is two

}  // namespace vmla

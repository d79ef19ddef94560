#include <initializer_list>

#include "eval/answer_normalizer.h"
#include "eval/python_text.h"

namespace vmla {

namespace {

using Table = std::unordered_map<std::string, std::string>;

// Written without apostrophes, each of these is given them back.
constexpr std::string_view kSpellings =
    "ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's "
    "how'd how'll how's isn't it'd it'll ma'am mightn't might've mustn't must've needn't not've "
    "o'clock oughtn't shan't should've shouldn't somebody'll somebody's someone'd someone'll "
    "someone's something'd something'll that's there'd there're there's they'd they'll they're "
    "they've 'twas wasn't we've weren't what'll what're what's what've when's where'd where's "
    "where've who'd who'll who's who've why'll why're why's won't would've wouldn't y'all you'd "
    "you'll you're you've";

void add(Table& table, std::initializer_list<std::string> keys, const std::string& value) {
  for (const std::string& key : keys) table[key] = value;
}

Table make_table() {
  Table table;
  for (const std::string_view spelling : py_split(kSpellings)) {
    table[py_replace(spelling, "'", "")] = spelling;
  }
  for (const std::string verb : {"could", "might", "should", "would"}) {
    add(table, {verb + "n'tve", verb + "nt've"}, verb + "n't've");
  }
  add(table, {"hadnt've", "hadn'tve"}, "hadn't've");
  for (const std::string subject : {"he",
                                    "it",
                                    "she",
                                    "somebody",
                                    "someone",
                                    "something",
                                    "there",
                                    "they",
                                    "we",
                                    "who",
                                    "you"}) {
    add(table, {subject + "'dve", subject + "d've"}, subject + "'d've");
  }
  // The one entry that takes an apostrophe away; the evaluators agree on it.
  add(table, {"somebody'd"}, "somebodyd");
  add(table, {"let's"}, "let's");
  add(table, {"she's"}, "she's");
  add(table, {"ow's'at", "'ows'at", "'ow'sat"}, "'ow's'at");
  add(table, {"yall'll", "y'allll"}, "y'all'll");
  add(table, {"yall'd've", "y'alld've", "y'all'dve"}, "y'all'd've");
  return table;
}

}  // namespace

const std::unordered_map<std::string, std::string>& contractions() {
  static const Table table = make_table();
  return table;
}

}  // namespace vmla

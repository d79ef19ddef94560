// What the readers of benchmark files share.
#pragma once

#include <functional>
#include <string>
#include <unordered_set>
#include <vector>

#include "base/files.h"
#include "base/json.h"
#include "data/vqa_sample.h"

namespace vmla {

// subject names the file and the record in errors.
using RecordVisitor = std::function<void(const Json& record, const std::string& subject)>;
using MemberVisitor =
    std::function<void(const std::string& key, const Json& value, const std::string& subject)>;

// The elements of a list: the whole file, or what list_key holds in an object.
void for_each_record(const fs::path& path, const std::string& list_key, const RecordVisitor& visit);
// JSON Lines; a file that begins with '[' is read as a list all the same.
void for_each_line(const fs::path& path, const RecordVisitor& visit);
// The members of the object that the file holds.
void for_each_member(const fs::path& path, const MemberVisitor& visit);
// A string member of the object that the file holds, or fallback.
std::string file_text_value(const fs::path& path,
                            const std::string& key,
                            const std::string& fallback);

// An integer or a string.
QuestionId require_question_id(const Json& record,
                               const std::string& key,
                               const std::string& subject);
// A list of strings, or of objects with an "answer"; ten of them. Empty if the key is absent or
// null, as on test splits.
std::vector<std::string> read_ten_answers(const Json& record, const std::string& subject);
// A list of strings; empty if the key is absent or null.
std::vector<std::string> read_strings(const Json& record,
                                      const std::string& key,
                                      const std::string& subject);

// A member of GQA's question files, or a row with the same keys.
VqaSample read_gqa_question(const std::string& id, const Json& record, const std::string& subject);
// ScienceQA's "answer", an index into so many choices, as a letter.
std::string choice_letter(const Json& record, std::size_t choices, const std::string& subject);

// Refuses what it has seen before.
class UniqueKeys {
 public:
  // what: "question_id"
  explicit UniqueKeys(std::string what) : what_(std::move(what)) {}
  void add(const std::string& key, const std::string& subject);

 private:
  std::string what_;
  std::unordered_set<std::string> seen_;
};

}  // namespace vmla

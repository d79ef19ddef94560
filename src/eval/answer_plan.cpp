#include "eval/answer_plan.h"

#include <algorithm>
#include <map>
#include <unordered_map>
#include <utility>

#include "base/error.h"

namespace vmla {
namespace {

std::vector<std::int64_t> expanded_ids(const Processor& processor,
                                       const AnswerRequest& request,
                                       std::int64_t image_token) {
  std::vector<std::int64_t> ids;
  std::int64_t images = 0;
  for (const std::int64_t id : processor.tokenizer().encode(request.prompt)) {
    images += id == image_token ? 1 : 0;
    ids.insert(ids.end(),
               static_cast<std::size_t>(id == image_token ? processor.tokens_per_image() : 1),
               id);
  }
  check(images == (request.image.empty() ? 0 : 1),
        ErrorKind::Usage,
        "prompt of question {}: expected {} <image>, got {}",
        request.index,
        request.image.empty() ? 0 : 1,
        images);
  return ids;
}

// Up to and with the image: the same length for all images under one template, so that groups batch
// without padding.
std::size_t shareable_prefix(const QuestionGroup& group, std::int64_t image_token) {
  const auto& first = group.questions.front().ids;
  const auto last_image = std::find(first.rbegin(), first.rend(), image_token);
  const auto prefix = static_cast<std::size_t>(first.rend() - last_image);  // 0 without an image
  for (const auto& question : group.questions) {
    const bool same = question.ids.size() > prefix &&
                      std::equal(first.begin(),
                                 first.begin() + static_cast<std::ptrdiff_t>(prefix),
                                 question.ids.begin());
    if (!same) return 0;
  }
  return prefix;
}

}  // namespace

std::size_t QuestionGroup::longest_suffix() const {
  std::size_t longest = 0;
  for (const auto& question : questions) longest = std::max(longest, question.ids.size() - prefix);
  return longest;
}

std::int64_t AnswerBatch::questions() const {
  std::int64_t count = 0;
  for (const auto& group : groups) count += static_cast<std::int64_t>(group.questions.size());
  return count;
}

std::vector<AnswerBatch> plan_batches(const std::vector<AnswerRequest>& requests,
                                      const Processor& processor,
                                      std::int64_t image_token_id,
                                      std::int64_t batch_size,
                                      bool share_prefix) {
  const auto limit = static_cast<std::size_t>(batch_size);
  std::vector<QuestionGroup> groups;
  std::unordered_map<std::string, std::size_t>
      open_group;  // by image, the group that still has room
  for (std::size_t i = 0; i < requests.size(); ++i) {
    PlannedQuestion question{i, expanded_ids(processor, requests[i], image_token_id)};
    const std::string& image = requests[i].image.key;
    const auto found = image.empty() || !share_prefix ? open_group.end() : open_group.find(image);
    if (found != open_group.end() && groups[found->second].questions.size() < limit) {
      groups[found->second].questions.push_back(std::move(question));
      continue;
    }
    groups.push_back({requests[i].image, 0, {std::move(question)}});
    open_group[image] = groups.size() - 1;
  }
  std::map<std::size_t, std::vector<QuestionGroup>> by_prefix;
  for (auto& group : groups) {
    if (share_prefix) group.prefix = shareable_prefix(group, image_token_id);
    by_prefix[group.prefix].push_back(std::move(group));
  }
  std::vector<AnswerBatch> batches;
  for (auto& [prefix, same_prefix] : by_prefix) {
    // Rows of one batch are padded to the longest suffix, so like goes with like; but pictures of a
    // table are read from one stretch of it after the other.
    std::stable_sort(same_prefix.begin(), same_prefix.end(), [](const auto& a, const auto& b) {
      return std::pair(a.image.neighbourhood(), a.longest_suffix()) <
             std::pair(b.image.neighbourhood(), b.longest_suffix());
    });
    AnswerBatch batch;
    for (auto& group : same_prefix) {
      if (!batch.groups.empty() &&
          static_cast<std::size_t>(batch.questions()) + group.questions.size() > limit) {
        batches.push_back(std::move(batch));
        batch = {};
      }
      batch.groups.push_back(std::move(group));
    }
    if (!batch.groups.empty()) batches.push_back(std::move(batch));
  }
  return batches;
}

std::vector<AnswerBatch> batches_of_rank(std::vector<AnswerBatch> all,
                                         std::int64_t rank,
                                         std::int64_t ranks) {
  std::vector<AnswerBatch> own;
  for (auto i = static_cast<std::size_t>(rank); i < all.size();
       i += static_cast<std::size_t>(ranks)) {
    own.push_back(std::move(all[i]));
  }
  return own;
}

}  // namespace vmla

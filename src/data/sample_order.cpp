#include "data/sample_order.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <cstdlib>
#include <limits>

namespace vmla {

namespace {

using Indices = std::vector<std::int64_t>;

Indices permutation(std::int64_t count, const at::Generator& generator) {
  const at::Tensor order = at::randperm(count, generator, at::kLong);
  const auto* data = order.const_data_ptr<std::int64_t>();
  return {data, data + count};
}

std::vector<Indices> cut(const Indices& indices, std::size_t size) {
  std::vector<Indices> parts;
  for (std::size_t at = 0; at < indices.size(); at += size) {
    const auto begin = indices.begin() + static_cast<std::ptrdiff_t>(at);
    const std::size_t count = std::min(size, indices.size() - at);
    parts.emplace_back(begin, begin + static_cast<std::ptrdiff_t>(count));
  }
  return parts;
}

// Each index goes to the chunk that has the fewest words so far and still has room; what does not
// divide evenly is dealt round robin.
Indices deal_evenly(const Indices& indices, const Indices& lengths, std::size_t chunks) {
  std::vector<Indices> hands(chunks);
  if (indices.size() % chunks != 0) {
    for (std::size_t i = 0; i < indices.size(); ++i) hands[i % chunks].push_back(indices[i]);
  } else {
    const std::size_t room = indices.size() / chunks;
    Indices words(chunks, 0);
    for (const std::int64_t index : indices) {
      const auto lightest = std::min_element(words.begin(), words.end());
      Indices& hand = hands[static_cast<std::size_t>(lightest - words.begin())];
      hand.push_back(index);
      *lightest = hand.size() == room ? std::numeric_limits<std::int64_t>::max()
                                      : *lightest + lengths[static_cast<std::size_t>(index)];
    }
  }
  Indices out;
  for (const Indices& hand : hands) out.insert(out.end(), hand.begin(), hand.end());
  return out;
}

// Positions 0 .. lengths.size()-1, grouped.
Indices group(const Indices& lengths,
              std::int64_t batch_size,
              std::int64_t chunks,
              const at::Generator& generator) {
  const Indices shuffled = permutation(static_cast<std::int64_t>(lengths.size()), generator);
  Indices out;
  for (Indices& megabatch : cut(shuffled, static_cast<std::size_t>(batch_size * chunks))) {
    std::stable_sort(megabatch.begin(), megabatch.end(), [&](std::int64_t a, std::int64_t b) {
      return lengths[static_cast<std::size_t>(a)] > lengths[static_cast<std::size_t>(b)];
    });
    const Indices dealt = deal_evenly(megabatch, lengths, static_cast<std::size_t>(chunks));
    out.insert(out.end(), dealt.begin(), dealt.end());
  }
  return out;
}

}  // namespace

std::vector<std::int64_t> shuffled_order(std::int64_t count, std::uint64_t seed) {
  return permutation(count, at::detail::createCPUGenerator(seed));
}

std::vector<std::int64_t> modality_lengths(const std::vector<InstructSample>& samples) {
  std::vector<std::int64_t> lengths;
  lengths.reserve(samples.size());
  for (const InstructSample& sample : samples) {
    std::int64_t words = 0;
    for (const InstructTurn& turn : sample.conversations) {
      bool inside = false;
      for (const char c : turn.value) {
        const bool space = c == ' ' || (c >= '\t' && c <= '\r');
        words += !space && !inside ? 1 : 0;
        inside = !space;
      }
    }
    words = std::max<std::int64_t>(words, 1);  // the sign must survive
    lengths.push_back(sample.image.empty() ? -words : words);
  }
  return lengths;
}

std::vector<std::int64_t> length_grouped_order(const std::vector<std::int64_t>& modality_lengths,
                                               std::int64_t batch_size,
                                               std::int64_t chunks,
                                               std::uint64_t seed) {
  const at::Generator generator = at::detail::createCPUGenerator(seed);
  Indices with_image, text_only, image_words, text_words;
  for (std::size_t i = 0; i < modality_lengths.size(); ++i) {
    const bool image = modality_lengths[i] > 0;
    (image ? with_image : text_only).push_back(static_cast<std::int64_t>(i));
    (image ? image_words : text_words).push_back(std::abs(modality_lengths[i]));
  }
  if (with_image.empty() || text_only.empty()) {
    return group(with_image.empty() ? text_words : image_words, batch_size, chunks, generator);
  }
  std::vector<Indices> megabatches;
  Indices rest;
  const auto add = [&](const Indices& indices, const Indices& words) {
    Indices grouped;
    for (const std::int64_t at : group(words, batch_size, chunks, generator)) {
      grouped.push_back(indices[static_cast<std::size_t>(at)]);
    }
    std::vector<Indices> parts = cut(grouped, static_cast<std::size_t>(batch_size * chunks));
    rest.insert(rest.end(), parts.back().begin(), parts.back().end());
    parts.pop_back();
    megabatches.insert(megabatches.end(), parts.begin(), parts.end());
  };
  add(with_image, image_words);
  add(text_only, text_words);
  Indices out;
  for (const std::int64_t at :
       permutation(static_cast<std::int64_t>(megabatches.size()), generator)) {
    const Indices& megabatch = megabatches[static_cast<std::size_t>(at)];
    out.insert(out.end(), megabatch.begin(), megabatch.end());
  }
  std::sort(rest.begin(), rest.end());
  out.insert(out.end(), rest.begin(), rest.end());
  return out;
}

}  // namespace vmla
